// The state received from the feed: sessions, services, health. Listeners are called at most once per frame.
import { useLayoutEffect, useState } from "./preact.js";
import { SESSION_STATES } from "./words.js";

const ABOUT_SESSIONS = new Set(["snapshot", "session", "forgotten"]);
const TOLD_MAX = 1_000; // sessions in a snapshot at most: the newest
const KEPT_MAX = 5_000; // sessions; the oldest that are over are dropped first

export class World {
  sessions = new Map(); // by id
  profiles = [];
  caller = null;
  health = null;
  connection = { state: "connecting" };
  isTold = false; // whether a snapshot was received
  isCut = false; // there may be older sessions
  #services = null; // by id; null: the caller may not see them
  #order = null;
  #listeners = new Set();
  #isDue = false;

  constructor(clock) {
    this.clock = clock;
  }

  /** Apply an event of the feed. Unknown ones come from a newer server and are ignored. */
  told(event, data) {
    switch (event) {
      case "snapshot":
        this.sessions = new Map(data.sessions.map((session) => [session.session_id, session]));
        this.isCut = data.sessions.length >= TOLD_MAX;
        this.#services = data.services && new Map(data.services.map((service) => [service.service_id, service]));
        [this.profiles, this.caller] = [data.profiles, data.caller];
        this.#learnHealth(data.health);
        this.isTold = true;
        break;
      case "session":
        if (this.#isNews(data)) this.sessions.set(data.session_id, data);
        break;
      case "forgotten":
        this.sessions.delete(data.session_id);
        break;
      case "service":
        this.#services?.set(data.service_id, data);
        break;
      case "service_gone":
        this.#services?.delete(data.service_id);
        break;
      case "health":
        this.#learnHealth(data);
    }
    if (ABOUT_SESSIONS.has(event)) this.#order = null;
    this.changed();
  }

  connected(connection) {
    this.connection = connection;
    this.changed();
  }

  /** Apply the response of a call: it may be older or newer than the feed. */
  learnt(session) {
    this.told("session", session);
  }

  /** Clear everything: another caller sees other sessions. */
  forget() {
    [this.sessions, this.#services, this.caller, this.health] = [new Map(), null, null, null];
    [this.isTold, this.#order] = [false, null];
    this.changed();
  }

  /** All sessions, newest first. */
  get newestFirst() {
    if (this.#order === null) {
      this.#order = [...this.sessions.values()].sort(byAge);
      for (let i = this.#order.length; this.#order.length > KEPT_MAX && i--; ) {
        if (this.#order[i].ended_at) this.sessions.delete(this.#order.splice(i, 1)[0].session_id);
      }
    }
    return this.#order;
  }

  /** The registered services by id; null: the caller may not see them. */
  get services() {
    return this.#services && [...this.#services.values()].sort((a, b) => (a.service_id < b.service_id ? -1 : 1));
  }

  /** The number of sessions in each state. */
  get counts() {
    const counts = Object.fromEntries(SESSION_STATES.map((state) => [state, 0]));
    for (const session of this.sessions.values()) counts[session.state] = (counts[session.state] ?? 0) + 1;
    return counts;
  }

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  changed() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      for (const listener of this.#listeners) listener();
    });
  }

  #learnHealth(health) {
    this.health = health;
    this.clock.learn(health.time);
  }

  #isNews(session) {
    const known = this.sessions.get(session.session_id);
    return !known || session.revision >= known.revision;
  }
}

const ageOf = (session) => session.created_at + session.session_id; // sortable as text
const byAge = (a, b) => (ageOf(a) < ageOf(b) ? 1 : -1);

/** Re-render the component when the source changes. A layout effect, because a change between rendering and
 *  subscribing would be missed. */
export function useChanges(source) {
  const [, show] = useState(0);
  useLayoutEffect(() => source?.listen(() => show((count) => count + 1)), [source]);
}
