// The stream of everything that happens (GET api/v1/events): opened, watched, and opened again when it broke.
import { refusalOf } from "./calls.js";
import { EventReader } from "./sse.js";

const ADDRESS = "api/v1/events";
const SILENCE_MAX = 40_000; // the server says something every 15 s
const [PAUSE_MIN, PAUSE_MAX] = [500, 15_000];

/**
 * Tells `told(event, data)` of each event and `changed(connection)` how it is connected, which is one of
 * { state: "connecting" }, { state: "live" }, { state: "broken", why, since, retryAt } with performance.now() instants,
 * and { state: "refused", problem }: then nothing more is tried until start().
 */
export class Feed {
  #stopped = new AbortController();
  #skipPause = () => {};

  constructor({ key, told, changed }) {
    Object.assign(this, { key, told, changed });
    addEventListener("online", () => this.retryNow());
  }

  start() {
    this.#stopped.abort();
    this.#stopped = new AbortController();
    this.#run(this.#stopped.signal);
  }

  retryNow() {
    this.#skipPause();
  }

  async #run(stopped) {
    let [failures, since] = [0, null];
    if (!stopped.aborted) this.changed({ state: "connecting" });
    while (!stopped.aborted) {
      const why = await this.#follow(stopped, () => ([failures, since] = [0, null]));
      if (stopped.aborted) return;
      if (why.isFinal) return this.changed({ state: "refused", problem: why.problem });
      const pause = pauseAfter(failures++, why.retryAfter);
      since ??= performance.now();
      this.changed({ state: "broken", why: why.says, since, retryAt: performance.now() + pause });
      await this.#pause(pause);
    }
  }

  /** Until it breaks; the answer is why. */
  async #follow(stopped, heard) {
    const silent = new AbortController();
    let watch;
    const rewind = () => {
      clearTimeout(watch);
      watch = setTimeout(() => silent.abort(), SILENCE_MAX);
    };
    try {
      rewind();
      const signal = AbortSignal.any([stopped, silent.signal]);
      const answer = await fetch(ADDRESS, { headers: this.key.header, cache: "no-store", signal });
      if (!answer.ok) return whyNot(await refusalOf(answer), answer);
      const reader = new EventReader();
      for await (const text of texts(answer.body)) {
        rewind();
        for (const { event, data } of reader.take(text)) {
          if (event === "snapshot") {
            heard();
            this.changed({ state: "live" });
          }
          this.told(event, JSON.parse(data));
        }
      }
      return { says: "the server ended it" };
    } catch (error) {
      if (silent.signal.aborted) return { says: "the server says nothing" };
      if (!(error instanceof TypeError || error.name === "AbortError")) console.error(error);
      return { says: "the server can't be reached" };
    } finally {
      clearTimeout(watch);
      silent.abort();
    }
  }

  #pause(ms) {
    return new Promise((done) => {
      const timer = setTimeout(done, ms);
      this.#skipPause = () => {
        clearTimeout(timer);
        done();
      };
    });
  }
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function whyNot(problem, answer) {
  if (answer.status === 401 || answer.status === 403) return { isFinal: true, problem };
  return { says: problem.title, retryAfter: Number(answer.headers.get("Retry-After")) * 1_000 || 0 };
}

/** Doubling, with a spread, so that not everybody comes back at once. */
function pauseAfter(failures, atLeast = 0) {
  const pause = Math.min(PAUSE_MAX, PAUSE_MIN * 2 ** failures);
  return Math.max(atLeast, pause * (0.75 + Math.random() / 2));
}
