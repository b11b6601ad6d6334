// API calls. They return JSON or throw a Problem.

const UNREACHABLE = {
  title: "The server can't be reached",
  detail: "No response. The server may be stopped or restarting.",
};

const UNREADABLE = { title: "The response is not JSON", detail: "The response may come from another server." };
const TIMEOUT = 20_000;

const tooLate = (ms) => ({
  title: "The server does not respond",
  detail: `No response within ${ms / 1_000} seconds. The request may still be processed.`,
});

/** Why a call failed (RFC 9457): title, detail, status, errors by field, services with their reasons. */
export class Problem extends Error {
  constructor(said) {
    super(said.title);
    Object.assign(this, { status: 0, detail: "", errors: [], services: [], request_id: "", ...said });
  }
}

/** The problem in a response that is not 2xx. */
export async function refusalOf(answer) {
  const said = await answer.json().catch(() => ({}));
  return new Problem({ title: `The server responded with ${answer.status}`, ...said, status: answer.status });
}

export class Calls {
  constructor(key) {
    this.key = key;
  }

  /** `path` is below api/v1/, `timeout` in milliseconds. Throws a Problem, also on a timeout. */
  async ask(method, path, { body, headers = {}, signal, timeout = TIMEOUT } = {}) {
    const sent = { ...this.key.header, ...headers };
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const late = AbortSignal.timeout(timeout);
    const until = signal ? AbortSignal.any([signal, late]) : late;
    const request = { method, headers: sent, cache: "no-store", signal: until, body: body && JSON.stringify(body) };
    try {
      const answer = await fetch(`api/v1/${path}`, request);
      if (!answer.ok) throw await refusalOf(answer);
      return await answer.json();
    } catch (error) {
      if (error instanceof Problem || error.name === "AbortError") throw error;
      if (error.name === "SyntaxError") throw new Problem(UNREADABLE);
      throw new Problem(error.name === "TimeoutError" ? tooLate(timeout) : UNREACHABLE);
    }
  }

  session(method, id, more = "", options = {}) {
    return this.ask(method, `sessions/${encodeURIComponent(id)}${more}`, options);
  }
}
