// The stream of everything that happens (GET api/v1/events): opened, watched, and opened again when it broke.
import { refusalOf } from "./calls.js";
import { EventReader } from "./sse.js";

const ADDRESS = "api/v1/events";
const SILENCE_MAX = 40_000; // the server says something every 15 s
const ANSWER_MAX = 10_000; // until it begins to
const HIDDEN_MAX = 30_000; // then others may need the connection: over HTTP/1.1 a browser has six for a server
const [PAUSE_MIN, PAUSE_MAX] = [500, 15_000];

/**
 * Tells `told(event, data)` of each event and `changed(connection)` how it is connected, which is one of
 * { state: "connecting" }, { state: "live" }, { state: "broken", why, since, retryAt } with performance.now() instants
 * (no retryAt: it is being tried), and { state: "refused", problem }: then nothing more is tried until start(). Nobody
 * who does not see the page is told anything: a page that is hidden for long lets go of the stream, until it is seen.
 */
export class Feed {
  #stopped = new AbortController();
  #skip = () => {}; // what is waited for: a pause, or an answer that does not come
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

  /** Until it breaks; the answer is why. */
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
      return { says: "the server ended it" };
    } catch (error) {
      if (silent.signal.aborted) return { says: "the server says nothing", isHurried };
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

/** Doubling, with a spread, so that not everybody comes back at once. */
function pauseAfter(failures, atLeast = 0) {
  const pause = Math.min(PAUSE_MAX, PAUSE_MIN * 2 ** failures);
  return Math.max(atLeast, pause * (0.75 + Math.random() / 2));
}
