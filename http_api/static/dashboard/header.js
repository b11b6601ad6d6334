// The top of the page: views, connection, number of sessions by state, and warnings.
import { html, useEffect, useState } from "./preact.js";
import { Mark, State } from "./marks.js";
import { SERVICES, SESSIONS, START, sessionAt } from "./routes.js";
import { read, span, timeOfDay, useNow } from "./times.js";
import { DEPENDENCIES, DEPENDENCY_STATES, SESSION_STATES, STATE_MEANS, inWords, number } from "./words.js";

const VIEWS = [["sessions", SESSIONS, "Sessions"], ["services", SERVICES, "Services"], ["start", START, "Start"]];
const MEANS = {
  livekit: { away: "No session can start, and no participant can join a room." },
  redis: {
    away: "Sessions go on in their rooms, but none can start, and this page may be out of date.",
    refuses_writes: "Sessions go on and end, but none can start, and no user gets a token.",
  },
};

export function Header({ world, route, visits, forgetKey }) {
  const visit = visits.current;
  const isVisiting = visit !== null && visit.state !== "out";
  return html`
    <header class="top ${isVisiting ? "is-visiting" : ""}">
      <div class="brand">
        <h1>Session manager</h1>
        ${world.health && html`<span class="quiet number">${world.health.version}</span>`}
      </div>
      <nav aria-label="Views">
        ${VIEWS.map(([view, href, name]) => html`
          <a key=${view} href=${href} aria-current=${route.view === view ? "page" : null}>${name}</a>`)}
        <a href="docs">API</a>
      </nav>
      ${world.isTold ? html`<${Counts} counts=${world.counts} />` : html`<span class="counts"></span>`}
      <div class="top-right">
        ${isVisiting && html`
          <a class="visit" href=${sessionAt(visit.sessionId)} title=${visit.roomName}>
            <${Mark} state="active" />${visit.state === "joining" ? "Joining" : "In a room"}
          </a>`}
        <${Connection} connection=${world.connection} />
        ${forgetKey && html`
          <button class="small" onClick=${forgetKey} title=${world.caller && `Signed in as ${world.caller.name}`}>
            Forget key
          </button>`}
      </div>
    </header>`;
}

const Counts = ({ counts }) => html`
  <ul class="counts" aria-label="Sessions by state">
    ${SESSION_STATES.map((state) => html`
      <li key=${state} class=${counts[state] ? "" : "is-none"} title=${STATE_MEANS[state]}>
        <${State} state=${state}>
          <span class="number">${number(counts[state])}</span> <span class="word">${state}</span>
        </${State}>
      </li>`)}
  </ul>`;

function Connection({ connection }) {
  const now = useMonotonic(Boolean(connection.retryAt));
  const says = {
    live: "Live",
    connecting: "Connecting",
    refused: connection.problem?.status === 403 ? "Missing scope" : "Needs a key",
    broken: connection.retryAt ? `Reconnecting in ${span(connection.retryAt - now + 999)}` : "Reconnecting",
  };
  return html`<span class="connection"><${State} state=${connection.state}>${says[connection.state]}</${State}></span>`;
}

/** performance.now(), updated while `matters`. */
function useMonotonic(matters) {
  const [now, tick] = useState(performance.now());
  useEffect(() => {
    if (!matters) return;
    tick(performance.now());
    const timer = setInterval(() => tick(performance.now()), 250);
    return () => clearInterval(timer);
  }, [matters]);
  return Math.max(now, performance.now());
}

/** Dependencies are shown only while the connection is live; otherwise their state is unknown. */
export function Banners({ world, retryNow }) {
  const now = useNow(world.clock, 1_000);
  const { connection } = world;
  const failing = connection.state === "live" ? failingOf(world) : [];
  if (!failing.length && connection.state !== "broken") return null;
  return html`
    <aside aria-label="Warnings">
      ${connection.state === "broken" && html`
        <div class="banner"><${Mark} state="broken" />
          <p>
            <strong>Connection lost</strong> since ${timeOfDay(now - (performance.now() - connection.since))}:
            ${" "}${connection.why}. ${world.isTold ? "This page may be out of date." : ""}
          </p>
          <button class="small" onClick=${retryNow}>Try now</button>
        </div>`}
      ${failing.map(({ name, state, since, detail }) => html`
        <div class="banner" key=${name}><${Mark} state="away" />
          <p>
            <strong>${failure({ name, state })}</strong> since ${timeOfDay(read(since))}, for${" "}
            ${span(now - read(since))}${detail ? `: ${detail}` : ""}. ${MEANS[name]?.[state] ?? ""}
          </p>
        </div>`)}
    </aside>`;
}

const failure = ({ name, state }) => `${inWords(DEPENDENCIES, name)} ${inWords(DEPENDENCY_STATES, state)}`;

const failingOf = (world) => world.health?.dependencies.filter(({ state }) => state !== "up") ?? [];

/** For screen readers: changes of the connection, the dependencies and the selected session. */
export function News({ world, id }) {
  const session = world.sessions.get(id);
  const says = [
    { live: "Live.", broken: "Connection lost." }[world.connection.state],
    ...failingOf(world).map((one) => `${failure(one)}.`),
    session && `Session ${session.room_name}: ${[session.state, session.reason].filter(Boolean).join(", ")}.`,
  ].filter(Boolean);
  return html`<div class="unseen" aria-live="polite">${says.map((line) => html`<p key=${line}>${line}</p>`)}</div>`;
}
