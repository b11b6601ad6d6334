// The page: puts its parts together, and shows the view that the address names.
import { html, render, useEffect, useState } from "./preact.js";
import { Calls } from "./calls.js";
import { Feed } from "./feed.js";
import { Banners, Header, News } from "./header.js";
import { Key, KeyForm } from "./key.js";
import { SESSIONS, useRoute } from "./routes.js";
import { ServiceList } from "./services.js";
import { SessionPane } from "./session.js";
import { SessionList } from "./sessions.js";
import { StartForm } from "./start.js";
import { Clock } from "./times.js";
import { Visits } from "./visits.js";
import { useChanges, World } from "./world.js";

const key = new Key();
const calls = new Calls(key);
const world = new World(new Clock());
const visits = new Visits(calls);
const feed = new Feed({
  key,
  told: (event, data) => {
    world.told(event, data);
    for (const session of { session: [data], snapshot: data.sessions }[event] ?? []) visits.notice(session);
  },
  changed: (connection) => world.connected(connection),
});
const kept = { form: null }; // what was typed into the form so far

function Page() {
  useChanges(world);
  useChanges(visits);
  const route = useRoute();
  const [filter, setFilter] = useState({ states: new Set(), text: "" });
  useEffect(() => {
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
  const take = (value) => {
    key.set(value);
    world.forget();
    feed.start();
  };
  const forget = () => {
    visits.leave();
    take("");
  };
  const isLetIn = world.connection.state !== "refused";
  const view = isLetIn ? `view-${route.view} ${route.id ? "has-chosen" : ""}` : "view-gate";
  return html`
    <a class="skip" href="#main" onClick=${skip}>To the content</a>
    <${Header} ...${{ world, route, visits }} forgetKey=${key.isSet ? forget : null} />
    <${Banners} world=${world} retryNow=${() => feed.retryNow()} />
    <${News} world=${world} id=${route.id} />
    <main id="main" tabindex="-1" class=${view}>
      ${!isLetIn
        ? html`<${KeyForm} problem=${world.connection.problem} hadKey=${key.isSet} onKey=${take} />`
        : world.isTold ? html`<${View} ...${{ route, filter, setFilter }} />` : html`<${Loading} />`}
    </main>`;
}

function View({ route, filter, setFilter }) {
  switch (route.view) {
    case "services":
      return html`<${ServiceList} world=${world} />`;
    case "start":
      return html`<${StartForm} ...${{ world, calls, visits, kept }} />`;
  }
  return html`
    <${SessionList} ...${{ world, filter, setFilter }} chosen=${route.id} />
    <div class="pane">
      ${route.id ? html`<${SessionPane} ...${{ world, calls, visits }} id=${route.id} />` : html`<${NothingChosen} />`}
    </div>`;
}

const NothingChosen = () => html`
  <div class="empty">
    <h2>No session is chosen</h2>
    <p>Choose one to see its timeline: who was invited, who is awaited, and why.</p>
    <p class="quiet">
      <kbd>/</kbd> finds, <kbd>↑</kbd> <kbd>↓</kbd> move, <kbd>Enter</kbd> chooses, <kbd>Esc</kbd> goes back.
    </p>
  </div>`;

const Loading = () => html`
  <div class="skeleton" role="status" aria-label="Loading">
    ${[1, 2, 3, 4, 5, 6].map((i) => html`<span key=${i}></span>`)}
  </div>`;

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

/** `/` goes to the search; Esc leaves the session that is chosen, back to its row. */
function pressed(event) {
  const isTyping = event.target.closest("input, textarea, select, dialog");
  if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.getElementById("search");
    if (!search) return;
    event.preventDefault();
    search.focus();
  }
  if (event.key === "Escape" && !isTyping && location.hash.startsWith(`${SESSIONS}/`)) {
    location.hash = SESSIONS;
    requestAnimationFrame(() => document.querySelector('.rows [tabindex="0"]')?.focus());
  }
}

const place = document.getElementById("page");
place.replaceChildren();
render(html`<${Page} />`, place);
feed.start();
