// The timeline of the session that is chosen: asked for when it is chosen, after each change, and from time to time
// while it may change unannounced; one call at a time.
import { useEffect, useState } from "./preact.js";

const AGAIN = 2_000;

/** { timeline, problem }: what is known of this session; null while nothing is. Another `news` has it asked for again. */
export function useTimeline(calls, id, news) {
  const [history] = useState(() => new History(calls));
  const [, show] = useState(0);
  useEffect(() => history.listen(() => show((count) => count + 1)), []);
  useEffect(() => history.choose(id), [id]);
  useEffect(() => {
    history.refresh();
  }, [id, news]);
  const isMoving = history.id === id && mayChangeUnannounced(history.timeline);
  useEffect(() => {
    if (!isMoving) return;
    const timer = setInterval(() => history.refreshIfIdle(), AGAIN);
    return () => clearInterval(timer);
  }, [id, isMoving]);
  return history.id === id ? history : { timeline: null, problem: null };
}

/** Whether the manager may come, or an invite be sent again, which no other revision of the session tells. */
function mayChangeUnannounced(timeline) {
  if (!timeline || timeline.ended_at) return false;
  return timeline.attempts.some(({ late }) => late) || !timeline.steps.some(({ name }) => name === "manager_joined");
}

class History {
  id = null;
  timeline = null;
  problem = null;
  #calling = null;
  #isStale = false;
  #listener = () => {};

  constructor(calls) {
    this.calls = calls;
  }

  listen(listener) {
    this.#listener = listener;
    return () => this.#calling?.abort();
  }

  choose(id) {
    if (id === this.id) return;
    this.#calling?.abort();
    Object.assign(this, { id, timeline: null, problem: null });
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
      if (!signal.aborted) Object.assign(this, { timeline, problem: null });
    } catch (problem) {
      if (signal.aborted) return;
      this.problem = problem;
    }
    this.#listener();
  }
}
