// Calls of the API. What comes back is its JSON, or a Problem is thrown.

const UNREACHABLE = {
  title: "The server can't be reached",
  detail: "Nothing came back. It may be stopped, or starting again.",
};

const UNREADABLE = { title: "The answer is no JSON", detail: "Something other than the server may have answered." };
const PATIENCE = 20_000;

const tooLate = (ms) => ({
  title: "The server does not answer",
  detail: `Nothing came back within ${ms / 1_000} seconds. What was asked for may still be done.`,
});

/** Why a call was not done (RFC 9457): title, detail, status, errors by field, services with their reasons. */
export class Problem extends Error {
  constructor(said) {
    super(said.title);
    Object.assign(this, { status: 0, detail: "", errors: [], services: [], request_id: "", ...said });
  }
}

/** The problem in an answer that is none of the 2xx. */
export async function refusalOf(answer) {
  const said = await answer.json().catch(() => ({}));
  return new Problem({ title: `The server answered ${answer.status}`, ...said, status: answer.status });
}

export class Calls {
  constructor(key) {
    this.key = key;
  }

  /** `path` is below api/v1/. Raises Problem, also when nobody answers, within `patience` milliseconds. */
  async ask(method, path, { body, headers = {}, signal, patience = PATIENCE } = {}) {
    const sent = { ...this.key.header, ...headers };
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const late = AbortSignal.timeout(patience);
    const until = signal ? AbortSignal.any([signal, late]) : late;
    const request = { method, headers: sent, cache: "no-store", signal: until, body: body && JSON.stringify(body) };
    try {
      const answer = await fetch(`api/v1/${path}`, request);
      if (!answer.ok) throw await refusalOf(answer);
      return await answer.json();
    } catch (error) {
      if (error instanceof Problem || error.name === "AbortError") throw error;
      if (error.name === "SyntaxError") throw new Problem(UNREADABLE);
      throw new Problem(error.name === "TimeoutError" ? tooLate(patience) : UNREACHABLE);
    }
  }

  session(method, id, more = "", options = {}) {
    return this.ask(method, `sessions/${encodeURIComponent(id)}${more}`, options);
  }
}
