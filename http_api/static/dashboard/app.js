// Entry point: creates the parts of the page and shows the view named by the URL.
import { html, render, useEffect, useState } from "./preact.js";
import { Calls } from "./calls.js";
import { Boundary } from "./failed.js";
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
  changed: (connection) => {
    if (connection.state === "refused") shutOut();
    world.connected(connection);
  },
});
const TITLES = { services: "Services", start: "Start" };
const kept = { form: null }; // the form's input so far

/** When the key is refused: leave the room and clear what is shown. */
function shutOut() {
  visits.leave();
  world.forget();
}

function Page() {
  useChanges(world);
  useChanges(visits);
  const route = useRoute();
  const isLetIn = world.connection.state !== "refused";
  const [filter, setFilter] = useState({ states: new Set(), text: "" });
  useEffect(() => {
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
  const title = titleOf(route, isLetIn);
  useEffect(() => void (document.title = title), [title]);
  const take = (value) => {
    key.set(value);
    world.forget();
    feed.start();
  };
  const forget = () => {
    visits.leave();
    kept.form = null;
    take("");
  };
  const view = isLetIn ? `view-${route.view} ${route.id ? "has-chosen" : ""}` : "view-gate";
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Header} ...${{ world, route, visits }} forgetKey=${key.isSet ? forget : null} />
    <${Banners} world=${world} retryNow=${() => feed.retryNow()} />
    <${News} world=${world} id=${route.id} />
    <main id="main" tabindex="-1" class=${view}>
      ${!isLetIn
        ? html`<${KeyForm} problem=${world.connection.problem} hadKey=${key.isSet} onKey=${take} />`
        : world.isTold
          ? html`<${Boundary} key=${route.view}><${View} ...${{ route, filter, setFilter }} /></${Boundary}>`
          : html`<${Loading} />`}
    </main>`;
}

function titleOf({ view, id }, isLetIn) {
  const session = isLetIn && id ? world.sessions.get(id) : null;
  const says = session ? `${session.room_name} · ${session.state}` : TITLES[view];
  return isLetIn && says ? `${says} · Session manager` : "Session manager";
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
      ${route.id
        ? html`<${Boundary} key=${route.id}><${SessionPane} ...${{ world, calls, visits }} id=${route.id} /></${Boundary}>`
        : html`<${NothingChosen} />`}
    </div>`;
}

const NothingChosen = () => html`
  <div class="empty">
    <h2>No session selected</h2>
    <p>Select one to see its timeline: which services were invited, which are awaited, and why.</p>
    <p class="quiet">
      <kbd>/</kbd> search, <kbd>↑</kbd> <kbd>↓</kbd> move, <kbd>Enter</kbd> open, <kbd>Esc</kbd> back.
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

/** `/` focuses the search field; Esc goes from the selected session back to its row. */
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
render(html`<${Boundary}><${Page} /></${Boundary}>`, place);
feed.start();
