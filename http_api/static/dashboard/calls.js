// Calls of the API. What comes back is its JSON, or a Problem is thrown.

const UNREACHABLE = {
  title: "The server can't be reached",
  detail: "Nothing came back. It may be stopped, or starting again.",
};

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

  /** `path` is below api/v1/. Raises Problem, also when nobody answers. */
  async ask(method, path, { body, headers = {}, signal } = {}) {
    const sent = { ...this.key.header, ...headers };
    if (body !== undefined) sent["Content-Type"] = "application/json";
    const request = { method, headers: sent, cache: "no-store", signal, body: body && JSON.stringify(body) };
    const answer = await fetch(`api/v1/${path}`, request).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem(UNREACHABLE);
    });
    if (!answer.ok) throw await refusalOf(answer);
    return answer.json();
  }

  session(method, id, more = "", options = {}) {
    return this.ask(method, `sessions/${encodeURIComponent(id)}${more}`, options);
  }
}
