// The event stream (GET api/v1/events): opened, watched, and reopened when it breaks.
import { refusalOf } from "./calls.js";
import { EventReader } from "./sse.js";

const ADDRESS = "api/v1/events";
const SILENCE_MAX = 40_000; // the server sends something every 15 s
const ANSWER_MAX = 10_000; // until the response begins
const HIDDEN_MAX = 30_000; // then release the connection: over HTTP/1.1 a browser has six per server
const [PAUSE_MIN, PAUSE_MAX] = [500, 15_000];

/**
 * Calls `told(event, data)` for each event and `changed(connection)` for each change of the connection, which is one of
 * { state: "connecting" }, { state: "live" }, { state: "broken", why, since, retryAt } with performance.now() instants
 * (no retryAt: a retry is in progress), and { state: "refused", problem }: no retry until start(). A page that stays
 * hidden closes the stream until it is visible again.
 */
export class Feed {
  #stopped = new AbortController();
  #skip = () => {}; // ends the current wait: a pause, or a response that does not come
  #isRunning = false;
  #isResting = false;
  #resting = null;

  constructor({ key, told, changed }) {
    Object.assign(this, { key, told, changed });
    addEventListener("online", () => this.retryNow());
    document.addEventListener("visibilitychange", () => this.#seen());
    this.#seen();
  }

  start() {
    this.#stopped.abort();
    this.#stopped = new AbortController();
    [this.#isRunning, this.#isResting] = [true, false];
    this.#run(this.#stopped.signal);
  }

  retryNow() {
    this.#skip();
  }

  #seen() {
    clearTimeout(this.#resting);
    if (document.hidden) this.#resting = setTimeout(() => this.#rest(), HIDDEN_MAX);
    else if (this.#isResting) this.start();
  }

  #rest() {
    this.#isResting = this.#isRunning;
    if (this.#isResting) this.#stopped.abort();
  }

  async #run(stopped) {
    let [failures, since] = [0, null];
    if (!stopped.aborted) this.changed({ state: "connecting" });
    while (!stopped.aborted) {
      const why = await this.#follow(stopped, () => ([failures, since] = [0, null]));
      if (stopped.aborted) return;
      if (why.isFinal) {
        this.#isRunning = false;
        return this.changed({ state: "refused", problem: why.problem });
      }
      const pause = pauseAfter(failures++, why.retryAfter);
      since ??= performance.now();
      if (!why.isHurried) {
        this.changed({ state: "broken", why: why.says, since, retryAt: performance.now() + pause });
        await this.#pause(pause);
      }
      if (!stopped.aborted) this.changed({ state: "broken", why: why.says, since });
    }
  }

  /** Follow the stream until it breaks. Returns why. */
  async #follow(stopped, heard) {
    const silent = new AbortController();
    let [watch, isHurried] = [null, false];
    const rewind = (ms) => {
      clearTimeout(watch);
      watch = setTimeout(() => silent.abort(), ms);
    };
    try {
      rewind(ANSWER_MAX);
      this.#skip = () => {
        isHurried = true;
        silent.abort();
      };
      const signal = AbortSignal.any([stopped, silent.signal]);
      const answer = await fetch(ADDRESS, { headers: this.key.header, cache: "no-store", signal });
      this.#skip = () => {};
      if (!answer.ok) return whyNot(await refusalOf(answer), answer);
      const reader = new EventReader();
      for await (const text of texts(answer.body)) {
        rewind(SILENCE_MAX);
        for (const { event, data } of reader.take(text)) {
          if (event === "snapshot") {
            heard();
            this.changed({ state: "live" });
          }
          this.told(event, JSON.parse(data));
        }
      }
      return { says: "the server closed the stream" };
    } catch (error) {
      if (silent.signal.aborted) return { says: "the server sends nothing", isHurried };
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
      this.#skip = () => {
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

/** Doubling, with jitter, so that clients do not reconnect at the same time. */
function pauseAfter(failures, atLeast = 0) {
  const pause = Math.min(PAUSE_MAX, PAUSE_MIN * 2 ** failures);
  return Math.max(atLeast, pause * (0.75 + Math.random() / 2));
}
