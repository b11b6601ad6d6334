// The caller's API key: its storage and its form. It is never in a URL, and in the document only while it is typed.
import { html, useEffect, useRef, useState } from "./preact.js";

const NAME = "session-manager-key";
const VISIBLE = /^[\x21-\x7e]+$/; // characters allowed in a header

/** Kept in this tab's session storage, until the tab is closed. */
export class Key {
  #value = "";

  constructor() {
    try {
      this.#value = sessionStorage.getItem(NAME) ?? "";
    } catch {
      // Storage is blocked: the key has to be entered after each load.
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

/** `problem`: the server's 401 or 403. */
export function KeyForm({ problem, hadKey, onKey }) {
  const field = useRef();
  const [complaint, complain] = useState("");
  useEffect(() => field.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    const value = field.current.value.trim();
    field.current.value = "";
    if (VISIBLE.test(value)) return onKey(value);
    complain(value ? "A key consists of ASCII characters without spaces." : "Enter a key.");
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
        The key needs the scope <code>sessions</code>. <code>services</code> adds the registered services,${" "}
        <code>admin</code> all sessions and their logs. It is kept in this tab until the tab is closed.
      </p>
      <p class="quiet">
        To make one, run <code>.venv/bin/session-manager key new NAME</code> on the server. It prints the key and its
        entry for <code>API_KEYS</code>; add the entry and restart the server.
      </p>
    </section>`;
}

function titleOf(problem, hadKey) {
  if (problem.status === 403) return "This key lacks a scope";
  return hadKey ? "This key was refused" : "Authentication required";
}

function whyOf(problem, hadKey) {
  if (problem.status === 403) return `${sentence(problem.detail)} This key does not have it.`;
  return hadKey ? sentence(problem.detail) : "This server is not in dev mode.";
}

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "");
