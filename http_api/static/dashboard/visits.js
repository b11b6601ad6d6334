// Being in a session's room: one at a time, whichever part of the page is shown.
import { Problem } from "./calls.js";
import { Visit } from "./visit.js";
import { GIVES_TOKENS, OVER } from "./words.js";

export class Visits {
  current = null;
  problem = null; // { id, problem }: the room that was to be joined by itself, and was not
  #expected = new Set();
  #listeners = new Set();

  constructor(calls) {
    this.calls = calls;
  }

  of(id) {
    return this.current?.sessionId === id ? this.current : null;
  }

  /** This session was asked for here, to be joined once it is ready. */
  expect(id) {
    this.#expected.add(id);
  }

  /** To be told of each session that is new or has changed: joins the room of one that was waited for. */
  async notice(session) {
    if (OVER.has(session.state)) this.#expected.delete(session.session_id);
    if (!GIVES_TOKENS.has(session.state) || !this.#expected.delete(session.session_id)) return;
    await this.joinAsUser(session).catch((problem) => {
      this.problem = { id: session.session_id, problem };
      this.changed();
    });
  }

  async joinAsUser(session) {
    const { server_url, access_token } = await this.#ownersOnly(session, "/token");
    await this.#join(session, server_url, access_token);
  }

  async listenIn(session) {
    const identity = `listener-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
    const body = { identity, name: "Listener", grants: { can_publish: false, can_publish_data: false } };
    const { server_url, access_token } = await this.#ownersOnly(session, "/participants", { body });
    await this.#join(session, server_url, access_token);
  }

  async leave() {
    await this.current?.leave();
  }

  /** Takes away what is left of a visit that is over. */
  dismiss() {
    this.current = null;
    this.changed();
  }

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed() {
    for (const listener of this.#listeners) listener();
  }

  /** Tokens are for who asked for the session; to others who can see it, the server says that there is none. */
  #ownersOnly(session, path, options) {
    return this.calls.session("POST", session.session_id, path, options).catch((problem) => {
      if (problem.status !== 404) throw problem;
      const detail = "Only who asked for it gets tokens for its room.";
      throw new Problem({ title: "This session is another caller's", detail });
    });
  }

  async #join(session, url, token) {
    await this.leave();
    this.problem = null;
    this.current = new Visit({ session, changed: () => this.changed() });
    this.changed();
    await this.current.join(url, token);
  }
}
