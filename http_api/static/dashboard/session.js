// One session: summary, actions, room, timeline, details, log.
import { html, useEffect, useRef } from "./preact.js";
import { Actions } from "./actions.js";
import { CopyButton } from "./copy.js";
import { useTimeline } from "./history.js";
import { Log } from "./log.js";
import { State } from "./marks.js";
import { ProblemNote } from "./problem.js";
import { RoomPanel } from "./room.js";
import { SESSIONS } from "./routes.js";
import { Timeline } from "./timeline.js";
import { duration, instant, read, timeOfDay, useNow } from "./times.js";
import { verdictOf } from "./verdict.js";
import { OVER, STATE_MEANS } from "./words.js";

const LIVELY = matchMedia("(prefers-reduced-motion: reduce)").matches ? 1_000 : 250;

export function SessionPane({ world, calls, id, visits }) {
  const known = world.sessions.get(id);
  const history = useTimeline(world, calls, id);
  const { problem } = history;
  const last = useRef({});
  if (last.current.id !== id) last.current = { id, session: null };
  last.current.session = known ?? history.session ?? last.current.session;
  const { session } = last.current;
  const isForgotten = !known && problem?.status === 404;
  const isChanging = session && !isForgotten && !OVER.has(session.state) && session.state !== "active";
  const time = useNow(world.clock, isChanging ? LIVELY : 1_000);
  const again = () => history.refresh();
  if (!session) return html`<${Unseen} ...${{ world, id, problem, again }} />`;
  const timeline = upToDate(history.timeline, session);
  if (world.connection.state === "live") last.current.heardAt = time;
  const now = Math.max(last.current.heardAt ?? time, read(timeline?.now) ?? 0);
  const { headline, lines } = verdictOf(session, timeline, now);
  return html`
    <article class="session" aria-labelledby="session-title">
      <${Title} session=${session} />
      ${isForgotten && html`
        <p class="note" role="status">The server has forgotten this session. This is its last known state.</p>`}
      <div class="verdict verdict-${session.state}">
        <p class="headline">${headline}</p>
        ${lines.length > 0 && html`<ul>${lines.map((line) => html`<li>${line}</li>`)}</ul>`}
      </div>
      ${!isForgotten && html`<${Actions} key=${id} ...${{ world, calls, session, visits }} />`}
      <${RoomPanel} visit=${visits.of(id)} visits=${visits} />
      ${timeline && problem && !isForgotten && html`<${Old} timeline=${timeline} problem=${problem} again=${again} />`}
      ${timeline
        ? html`<${Timeline} timeline=${timeline} now=${now} />`
        : html`<${TimelineMissing} problem=${problem} again=${again} />`}
      <${Facts} session=${session} timeline=${timeline} />
      ${timeline && html`<${Log} entries=${timeline.log} from=${read(timeline.created_at)} />`}
    </article>`;
}

/** The feed may have a later state than the timeline. */
function upToDate(timeline, session) {
  if (!timeline || session.revision <= timeline.revision) return timeline;
  const { state, ready_at, ended_at } = session;
  return { ...timeline, state, ready_at, ended_at };
}

/** Takes the focus when another session is selected, so that screen readers announce it. */
function Title({ session }) {
  const title = useRef();
  useEffect(() => title.current.focus({ preventScroll: true }), [session.session_id]);
  return html`
    <header class="session-title">
      <a class="back" href=${SESSIONS}>All sessions</a>
      <h2 id="session-title" tabindex="-1" ref=${title} title=${session.room_name}>${session.room_name}</h2>
      <${State} state=${session.state} title=${STATE_MEANS[session.state]} />
    </header>`;
}

/** Note that the timeline below is out of date. */
const Old = ({ timeline, problem, again }) => html`
  <div class="note bar-of-title" role="status">
    <p>As of ${timeOfDay(read(timeline.now))}; could not be refreshed: ${problem.title}.</p>
    <button class="small" onClick=${again}>Try again</button>
  </div>`;

function TimelineMissing({ problem, again }) {
  if (problem) return html`<${ProblemNote} problem=${problem} /><button onClick=${again}>Try again</button>`;
  return html`
    <div class="skeleton" aria-label="Loading the timeline" role="status"><span></span><span></span><span></span></div>`;
}

/** A session that is not in the feed: not yet, no longer, or another caller's. */
function Unseen({ world, id, problem, again }) {
  if (!world.isTold || !problem) return html`<${TimelineMissing} />`;
  if (problem.status !== 404) {
    return html`<article class="session"><${TimelineMissing} problem=${problem} again=${again} /></article>`;
  }
  return html`
    <article class="session">
      <div class="empty">
        <h2>Session not found</h2>
        <p><code>${id}</code></p>
        <p>
          It may be over for longer than SESSION_RETENTION, or belong to another caller.
        </p>
        <a class="button" href=${SESSIONS}>All sessions</a>
      </div>
    </article>`;
}

function Facts({ session, timeline }) {
  const [created, ready, ended] = [session.created_at, session.ready_at, session.ended_at].map(read);
  const metadata = JSON.stringify(session.metadata, null, 2);
  return html`
    <section class="facts" aria-labelledby="facts-title">
      <h3 id="facts-title">Details</h3>
      <dl>
        <${Id} name="Session" id=${session.session_id} />
        <${Id} name="Room" id=${session.room_name} />
        <${Fact} name="User">${session.user_name} <code>${session.user_identity}</code></${Fact}>
        <${Fact} name="Created"><span title=${instant(created)}>${timeOfDay(created, true)}</span></${Fact}>
        ${ready === null
          ? html`<${Fact} name="Ready by">${timeOfDay(read(session.ready_deadline), true)}</${Fact}>`
          : html`<${Fact} name="Ready in">${duration(ready - created)}</${Fact}>`}
        ${ended !== null && html`<${Fact} name="Duration">${duration(ended - created)}</${Fact}>`}
        ${session.reason && html`<${Fact} name="Reason"><code>${session.reason}</code></${Fact}>`}
        <${Fact} name="Revision">${session.revision}</${Fact}>
        ${timeline?.trace_id && html`<${Id} name="Trace" id=${timeline.trace_id} />`}
      </dl>
      ${metadata !== "{}" && html`<details><summary>Metadata</summary><pre tabindex="0">${metadata}</pre></details>`}
    </section>`;
}

const Id = ({ name, id }) => html`
  <${Fact} name=${name}><code>${id}</code> <${CopyButton} text=${id} label="Copy: ${name}" /></${Fact}>`;

const Fact = ({ name, children }) => html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
