// The timeline of the selected session: fetched on selection, after each change, and periodically while it can change
// without an event; one call at a time. Also the session itself, if the feed does not include it.
import { useEffect, useState } from "./preact.js";
import { OVER } from "./words.js";

const AGAIN = 2_000;

/**
 * { timeline, session, problem, refresh } of this session; null until known. `session` is set if the feed does not
 * include it. A new revision or a reconnected feed triggers another fetch.
 */
export function useTimeline(world, calls, id) {
  const known = world.sessions.get(id);
  const [history] = useState(() => new History(calls, world.clock));
  const [, show] = useState(0);
  useEffect(() => history.listen(() => show((count) => count + 1)), []);
  useEffect(() => history.choose(id), [id]);
  useEffect(() => {
    history.isUntold = !known;
    history.refresh();
  }, [id, known?.revision, world.connection.state === "live"]);
  const isMoving = history.id === id && mayChangeUnannounced(known ?? history.session, history.timeline);
  useEffect(() => {
    if (!isMoving) return;
    const timer = setInterval(() => history.refreshIfIdle(), AGAIN);
    return () => clearInterval(timer);
  }, [id, isMoving]);
  return history.id === id ? history : { timeline: null, session: null, problem: null };
}

/** Whether the manager can join, or an invite can be repeated: neither changes the session's revision. */
function mayChangeUnannounced(session, timeline) {
  if (!session || OVER.has(session.state)) return false;
  if (session.state === "waiting" || session.state === "degraded") return true;
  if (!timeline) return false;
  return timeline.attempts.some(({ late }) => late) || !timeline.steps.some(({ name }) => name === "manager_joined");
}

class History {
  id = null;
  timeline = null;
  session = null;
  problem = null;
  isUntold = false; // not in the feed
  #calling = null;
  #isStale = false;
  #listener = () => {};

  constructor(calls, clock) {
    this.calls = calls;
    this.clock = clock;
  }

  listen(listener) {
    this.#listener = listener;
    return () => this.#calling?.abort();
  }

  choose(id) {
    if (id === this.id) return;
    this.#calling?.abort();
    Object.assign(this, { id, timeline: null, session: null, problem: null });
    this.#calling = null;
  }

  /** Changes during a call lead to one further call. */
  async refresh() {
    if (this.id === null) return;
    if (this.#calling) {
      this.#isStale = true;
      return;
    }
    const calling = (this.#calling = new AbortController());
    do {
      this.#isStale = false;
      await this.#ask(calling.signal);
    } while (this.#isStale && !calling.signal.aborted);
    if (this.#calling === calling) this.#calling = null;
  }

  refreshIfIdle() {
    if (!this.#calling) this.refresh();
  }

  async #ask(signal) {
    try {
      const timeline = await this.calls.session("GET", this.id, "/timeline", { signal });
      const session = this.isUntold ? await this.calls.session("GET", this.id, "", { signal }) : null;
      if (signal.aborted) return;
      this.clock.learn(timeline.now);
      Object.assign(this, { timeline, session, problem: null });
    } catch (problem) {
      if (signal.aborted) return;
      this.problem = problem;
    }
    this.#listener();
  }
}
