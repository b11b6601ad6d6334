// The visit to a session's room: one at a time, independent of the view.
import { Problem } from "./calls.js";
import { Visit } from "./visit.js";
import { GIVES_TOKENS, OVER } from "./words.js";

export class Visits {
  current = null;
  problem = null; // { id, problem }: a room that could not be joined automatically
  #expected = new Set();
  #listeners = new Set();

  constructor(calls) {
    this.calls = calls;
  }

  of(id) {
    return this.current?.sessionId === id ? this.current : null;
  }

  /** Join this session's room when it is ready. */
  expect(id) {
    this.#expected.add(id);
  }

  /** Call it for each new or changed session: joins the room of an expected one. */
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

  /** Remove a visit that is over. */
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

  /** Only the session's owner gets tokens; others that can see the session get 404. */
  #ownersOnly(session, path, options) {
    return this.calls.session("POST", session.session_id, path, options).catch((problem) => {
      if (problem.status !== 404) throw problem;
      const detail = "Only the caller that created it gets tokens for its room.";
      throw new Problem({ title: "This session belongs to another caller", detail });
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
