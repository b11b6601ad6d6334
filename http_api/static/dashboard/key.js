// The caller's key: where it is kept, and the form that asks for it. It is never in the address, and in the document
// only while it is typed.
import { html, useEffect, useRef, useState } from "./preact.js";

const NAME = "session-manager-key";
const VISIBLE = /^[\x21-\x7e]+$/; // what a header can have

/** Kept for this tab alone, until it is closed. */
export class Key {
  #value = "";

  constructor() {
    try {
      this.#value = sessionStorage.getItem(NAME) ?? "";
    } catch {
      // A browser that keeps nothing for pages asks again after each load.
    }
  }

  get isSet() {
    return this.#value !== "";
  }

  get header() {
    return this.isSet ? { Authorization: `Bearer ${this.#value}` } : {};
  }

  set(value) {
    this.#value = value;
    try {
      if (value) sessionStorage.setItem(NAME, value);
      else sessionStorage.removeItem(NAME);
    } catch {
      // as above
    }
  }
}

/** `problem`: why the server let nobody in, 401 or 403. */
export function KeyForm({ problem, hadKey, onKey }) {
  const field = useRef();
  const [complaint, complain] = useState("");
  useEffect(() => field.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    const value = field.current.value.trim();
    field.current.value = "";
    if (VISIBLE.test(value)) return onKey(value);
    complain(value ? "A key has no spaces, and no characters beyond ASCII." : "Type or paste a key first.");
  };
  return html`
    <section class="gate" aria-labelledby="gate-title">
      <h2 id="gate-title">${titleOf(problem, hadKey)}</h2>
      <p id="gate-why" role=${hadKey || complaint ? "alert" : null}>${complaint || whyOf(problem, hadKey)}</p>
      <form onSubmit=${submit}>
        <label for="key">API key</label>
        <input id="key" ref=${field} type="password" autocomplete="off" spellcheck=${false} maxlength="8192"
          aria-describedby="gate-why gate-note" />
        <button class="primary">Use this key</button>
      </form>
      <p id="gate-note" class="quiet">
        It needs the scope <code>sessions</code>; <code>services</code> shows the registered services, and${" "}
        <code>admin</code> everybody's sessions and their logs. It is kept in this tab, until that is closed.
      </p>
      <p class="quiet">
        To make one: <code>.venv/bin/session-manager key new NAME</code> on the server. It prints the key, and the entry
        that must be added to <code>API_KEYS</code> before the server is started again.
      </p>
    </section>`;
}

function titleOf(problem, hadKey) {
  if (problem.status === 403) return "This key is not enough";
  return hadKey ? "This key was refused" : "A key is needed";
}

function whyOf(problem, hadKey) {
  if (problem.status === 403) return `${sentence(problem.detail)} The key that was given does not have it.`;
  return hadKey ? sentence(problem.detail) : "This server shows its sessions to callers it knows.";
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "");
