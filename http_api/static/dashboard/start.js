// The form for a test session. After submitting, the session's own view shows its progress and joins its room.
import { html, useEffect, useRef, useState } from "./preact.js";
import { Mark } from "./marks.js";
import { ProblemNote } from "./problem.js";
import { sessionAt } from "./routes.js";
import { bodyOf, emptyForm, errorsOf, FIELDS, isEmpty, profileOf } from "./test_session.js";
import { plural } from "./words.js";

/** `kept`: the input so far, kept when the view changes. */
export function StartForm({ world, calls, visits, kept }) {
  const [form, setForm] = useState(kept.form ?? emptyForm());
  const [problem, say] = useState(null);
  const [errors, mark] = useState({});
  const [isAsking, ask] = useState(false);
  const element = useRef();
  const refusal = useRef();
  const request = useRef({ said: "", key: "" });
  const isShown = useRef(true);
  useEffect(() => () => (isShown.current = false), []);
  useEffect(() => {
    if (problem && !Object.keys(errors).length) refusal.current.focus();
  }, [problem]);
  const change = (more) => setForm((kept.form = { ...form, ...more }));

  const submit = async (event) => {
    event.preventDefault();
    if (isAsking) return;
    const { body, errors } = bodyOf(form, world);
    mark(errors);
    say(null);
    if (Object.keys(errors).length) return showFirst(element.current);
    ask(true);
    request.current = sameAgain(request.current, body);
    const headers = { Prefer: "respond-async", "Idempotency-Key": request.current.key };
    try {
      const session = await calls.ask("POST", "sessions", { body, headers });
      if (form.isToBeJoined) visits.expect(session.session_id);
      world.learnt(session);
      visits.notice(session);
      if (isShown.current) location.hash = sessionAt(session.session_id);
    } catch (problem) {
      if (problem.status) request.current = { said: "", key: "" };
      mark(errorsOf(problem));
      say(problem);
      ask(false);
      showFirst(element.current);
    }
  };

  return html`
    <section class="start" aria-labelledby="start-title">
      <h2 id="start-title">Start a test session</h2>
      <p class="quiet">
        The services are invited as for any session. When all are ready, this page can join the room.
      </p>
      <form ref=${element} onSubmit=${submit} novalidate>
        <${Field} name="user_identity" label="Identity" error=${errors.user_identity}>
          ${(props) => html`<input ...${props} required maxlength="256" autocomplete="off" spellcheck=${false}
            value=${form.user_identity} onInput=${(event) => change({ user_identity: event.target.value })} />`}
        </${Field}>
        <${Field} name="user_name" label="Name" hint="optional" error=${errors.user_name}>
          ${(props) => html`<input ...${props} value=${form.user_name} maxlength="256" autocomplete="off"
            onInput=${(event) => change({ user_name: event.target.value })} />`}
        </${Field}>
        ${world.profiles.length > 0 && html`
          <${Field} name="profile" label="Profile" hint="a named list of services from the SERVICES_FILE" error=${errors.profile}>
            ${(props) => html`
              <select ...${props} value=${profileOf(form, world.profiles)} onChange=${(event) => change({ profile: event.target.value })}>
                <option value="">none</option>
                ${world.profiles.map((name) => html`<option value=${name}>${name}</option>`)}
              </select>`}
          </${Field}>`}
        <${ServiceChoice} world=${world} form=${form} change=${change} />
        ${isEmpty(form, world) && html`<p class="note" role="status">No services are chosen: the user's room will be empty.</p>`}
        <${Field} name="metadata" label="Metadata" hint="JSON, passed to the services and the user" error=${errors.metadata}>
          ${(props) => html`<textarea ...${props} rows="3" spellcheck=${false} placeholder='{"language": "en"}'
            value=${form.metadata} onInput=${(event) => change({ metadata: event.target.value })}></textarea>`}
        </${Field}>
        <${Field} name="ready_timeout" label="Ready within" hint="seconds, 1 to 600; empty for the server's default"
          error=${errors.ready_timeout}>
          ${(props) => html`<input ...${props} inputmode="decimal" autocomplete="off" value=${form.ready_timeout}
            onInput=${(event) => change({ ready_timeout: event.target.value })} />`}
        </${Field}>
        <label class="choice">
          <input type="checkbox" checked=${form.isToBeJoined}
            onChange=${(event) => change({ isToBeJoined: event.target.checked })} />
          Join the room when the session is ready
        </label>
        ${problem && html`
          <div tabindex="-1" ref=${refusal}><${ProblemNote} problem=${problem} without=${FIELDS} /></div>`}
        <div class="actions">
          <button class="primary" aria-disabled=${isAsking ? "true" : null}>${isAsking ? "Creating…" : "Start the session"}</button>
        </div>
      </form>
    </section>`;
}

/** Reuse the key if the same request is sent again after no response, so that the server creates one session. */
function sameAgain(last, body) {
  const said = JSON.stringify(body);
  if (last.said === said) return last;
  return { said, key: [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-") };
}

const showFirst = (form) => requestAnimationFrame(() => form?.querySelector("[aria-invalid=true]")?.focus());

function Field({ name, label, hint, error, children }) {
  const says = [hint && `${name}-hint`, error && `${name}-error`].filter(Boolean).join(" ") || null;
  return html`
    <div class="field">
      <label for=${name}>${label}${hint && html` <span class="quiet" id=${`${name}-hint`}>${hint}</span>`}</label>
      ${children({ id: name, name, "aria-describedby": says, "aria-invalid": error ? "true" : null })}
      ${error && html`<p class="bad" id=${`${name}-error`}>${error}</p>`}
    </div>`;
}

function ServiceChoice({ world, form, change }) {
  const services = world.services;
  const toggle = (list, value) => {
    const others = form[list].filter((one) => one !== value);
    change({ [list]: others.length < form[list].length ? others : [...others, value] });
  };
  return html`
    <fieldset>
      <legend>Services</legend>
      ${services === null && html`
        <label for="other">Service ids, separated by commas</label>
        <input id="other" autocomplete="off" spellcheck=${false} value=${form.other}
          onInput=${(event) => change({ other: event.target.value })} />`}
      ${services?.length === 0 && html`<p class="quiet">No services are registered.</p>`}
      ${services?.length > 0 && html`
        <div class="choices">${services.map((service) => html`
          <${Choice} key=${service.service_id} list="services" value=${service.service_id} ...${{ form, toggle }}>
            <${Mark} state=${service.state} /> ${service.service_id}${" "}
            <span class="quiet">${service.type}${service.state === "healthy" ? "" : `, ${service.state}`}</span>
          </${Choice}>`)}
        </div>
        <p class="quiet">or any service of a type</p>
        <div class="choices">${types(services).map(([type, count]) => html`
          <${Choice} key=${type} list="types" value=${type} ...${{ form, toggle }}>
            any ${type} <span class="quiet">${plural(count, "service")}</span>
          </${Choice}>`)}
        </div>`}
    </fieldset>`;
}

const Choice = ({ list, value, form, toggle, children }) => html`
  <label class="choice">
    <input type="checkbox" checked=${form[list].includes(value)} onChange=${() => toggle(list, value)} />
    <span>${children}</span>
  </label>`;

/** The number of services of each type, without expired ones. */
function types(services) {
  const counts = new Map();
  for (const { type, state } of services) counts.set(type, (counts.get(type) ?? 0) + (state === "expired" ? 0 : 1));
  return [...counts].sort();
}
