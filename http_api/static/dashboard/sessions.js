// The list of sessions, filtered by state and text.
import { html, useMemo } from "./preact.js";
import { Copyable } from "./copy.js";
import { withKey } from "./curl.js";
import { Mark, State } from "./marks.js";
import { sessionAt, START } from "./routes.js";
import { Rows } from "./rows.js";
import { instant, read, span, useNow } from "./times.js";
import {
  OVER, SESSION_STATES, STATE_MEANS, WHY_NOT_READY, WHY_OVER, capital, inWords, nameOf, number, plural,
} from "./words.js";

const ROW_HEIGHT = 58;
const MARKS_MAX = 4; // services named in a row; beyond that, counts by state

const CURL = `curl -s ${new URL("api/v1/sessions", location.href)} -H 'Content-Type: application/json' \\
  -d '{"user_identity": "alice", "required_services": []}'`;

/** `filter` is { states: Set, text }: owned by the page, so that it survives a change of view. */
export function SessionList({ world, chosen, filter, setFilter }) {
  const now = useNow(world.clock, 1_000);
  const all = world.newestFirst;
  const found = useMemo(() => all.filter((session) => matches(session, filter)), [all, filter]);
  const showAll = () => {
    setFilter({ states: new Set(), text: "" });
    document.getElementById("search").focus();
  };
  return html`
    <section class="list" aria-labelledby="list-title">
      <h2 id="list-title" class="unseen">Sessions</h2>
      <${Filter} counts=${world.counts} filter=${filter} setFilter=${setFilter} />
      <p class="list-count">${capital(countOf(found.length, all.length, world.isCut))}</p>
      ${all.length === 0 && html`<${NoSessions} caller=${world.caller} />`}
      ${all.length > 0 && found.length === 0 && html`
        <div class="empty">
          <p>None of the ${world.isCut ? "newest " : ""}${plural(all.length, "session")} matches.</p>
          <button onClick=${showAll}>Show all</button>
        </div>`}
      ${found.length > 0 && html`
        <${Rows} key=${[...filter.states, filter.text].join()} label="Sessions, newest first"
          items=${found} keyOf=${(session) => session.session_id}
          height=${ROW_HEIGHT} current=${chosen} row=${(session, props) => html`
            <${Row} session=${session} now=${now} isChosen=${session.session_id === chosen} props=${props} />`} />`}
    </section>`;
}

/** `isCut`: there may be older sessions than those in the feed's snapshot. */
function countOf(found, all, isCut) {
  const those = `${isCut ? "the newest " : ""}${plural(all, "session")}`;
  return found === all ? those : `${number(found)} of ${those}`;
}

function Filter({ counts, filter, setFilter }) {
  const toggle = (state) => {
    const states = new Set(filter.states);
    if (!states.delete(state)) states.add(state);
    setFilter({ ...filter, states });
  };
  return html`
    <div class="filter" role="search">
      <input type="search" id="search" aria-label="Search by room, user, service, reason or id"
        placeholder="Room, user, service, reason, id" maxlength="200" autocomplete="off" spellcheck=${false}
        value=${filter.text}
        onInput=${(event) => setFilter({ ...filter, text: event.target.value })} />
      <div class="chips" role="group" aria-label="Filter by state">
        ${SESSION_STATES.map((state) => html`
          <button class="chip" key=${state} aria-pressed=${filter.states.has(state) ? "true" : "false"}
            title=${STATE_MEANS[state]} onClick=${() => toggle(state)}>
            <${Mark} state=${state} />${state} <span class="number">${number(counts[state])}</span>
          </button>`)}
      </div>
    </div>`;
}

/** Whether the session has one of the states and contains every word of the text. PURE. */
export function matches(session, { states, text }) {
  if (states.size && !states.has(session.state)) return false;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const { room_name, user_identity, user_name, session_id, reason, state } = session;
  const services = session.services.flatMap(({ service_id, type, state, reason }) => [service_id, type, state, reason]);
  const said = [room_name, user_identity, user_name, session_id, reason, state, ...services].join("\n").toLowerCase();
  return words.every((word) => said.includes(word));
}

function Row({ session, now, isChosen, props }) {
  const over = OVER.has(session.state);
  const at = read(session.created_at);
  return html`
    <a class="row ${over ? "is-over" : ""}" href=${sessionAt(session.session_id)}
      aria-current=${isChosen ? "true" : null} ...${props}>
      <span class="row-state"><${State} state=${session.state} title=${STATE_MEANS[session.state]} /></span>
      <span class="row-room" title=${session.room_name}>${session.room_name}</span>
      <span class="row-age" title=${instant(at)}>${span(now - at)}<span class="unseen"> ago</span></span>
      <span class="row-more">
        <span class="row-user" title=${session.user_identity}>${session.user_name || session.user_identity}</span>
        ${over && session.reason
          ? html`<span class="row-reason" title=${inWords(WHY_OVER, session.reason)}>${inWords({}, session.reason)}</span>`
          : html`<${Services} services=${session.services} />`}
      </span>
    </a>`;
}

function Services({ services }) {
  if (!services.length) return html`<span class="quiet">no services</span>`;
  if (services.length <= MARKS_MAX) {
    return services.map((service) => html`
      <span class="service state-${service.state}" title=${describe(service)}><${Mark} state=${service.state} />
        ${service.type ?? nameOf(service)} <span class="unseen">${service.state}</span></span>`);
  }
  const counts = new Map();
  for (const { state } of services) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => html`
    <span class="service state-${state}"><${Mark} state=${state} />${count} ${state}</span>`);
}

const describe = (service) =>
  `${nameOf(service)}: ${service.state}${service.reason ? `, ${inWords(WHY_NOT_READY, service.reason)}` : ""}`;

function NoSessions({ caller }) {
  return html`
    <div class="empty">
      <h3>No sessions yet</h3>
      <p>
        New sessions appear here. <a href=${START}>Start a test session</a>, or create one with curl:
      </p>
      <${Copyable} text=${withKey(CURL, caller)} label="Copy the command" />
    </div>`;
}
