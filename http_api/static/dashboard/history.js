// The timeline of the session that is chosen: asked for when it is chosen, after each change, and from time to time
// while it may change unannounced; one call at a time. And the session itself, if the feed does not tell of it.
import { useEffect, useState } from "./preact.js";
import { OVER } from "./words.js";

const AGAIN = 2_000;

/**
 * { timeline, session, problem, refresh }: what is known of this session; null while nothing is. `session` is there for
 * one that the feed does not tell of. Another revision, and a feed that is live again, have it asked for again.
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

/** Whether the manager may come, or an invite be sent again, which no other revision of the session tells. */
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
  isUntold = false; // by the feed
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

  /** Changes that come while a call is under way are one further call. */
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
