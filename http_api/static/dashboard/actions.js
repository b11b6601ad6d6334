// Actions on a session: join its room as the user or as a listener, end it.
import { html, useLayoutEffect, useRef, useState } from "./preact.js";
import { ProblemNote } from "./problem.js";
import { GIVES_TOKENS, OVER } from "./words.js";

export function Actions({ world, calls, session, visits }) {
  const [problem, say] = useState(null);
  const [question, askFirst] = useState(null);
  const visit = visits.of(session.session_id);
  const isHere = visit !== null && visit.state !== "out";
  const user = session.user_identity;
  const tried = (work) => async () => {
    say(null);
    await work().catch(say);
  };
  const end = tried(async () => world.learnt(await calls.session("DELETE", session.session_id)));
  const joinAsUser = tried(() => visits.joinAsUser(session));
  const listen = tried(() => visits.listenIn(session));
  const askToEnd = () =>
    askFirst({
      says: `End the session in ${session.room_name}? This disconnects all participants and deletes the room.`,
      yes: "End the session",
      done: end,
    });
  const askToJoin = () =>
    askFirst({
      says: `${user} is in the room. Joining with the same identity disconnects ${user}.`,
      yes: "Join anyway",
      done: joinAsUser,
    });
  const isOver = OVER.has(session.state);
  const box = useRef();
  const hadFocus = question !== null || box.current?.contains(document.activeElement);
  useLayoutEffect(() => {
    if (isOver && hadFocus) toTheTitle();
  }, [isOver]);
  const shown = problem ?? (visits.problem?.id === session.session_id ? visits.problem.problem : null);
  if (isOver) return shown && html`<${ProblemNote} problem=${shown} />`;
  return html`
    <div class="actions" ref=${box}>
      ${!isHere && GIVES_TOKENS.has(session.state) && html`
        <button class="primary" onClick=${session.state === "active" ? askToJoin : joinAsUser}>Join as ${user}</button>
        <button onClick=${listen} title="Join with a separate identity, subscribing only">Listen in</button>`}
      <button class="danger" onClick=${askToEnd}>End the session…</button>
    </div>
    ${shown && html`<${ProblemNote} problem=${shown} />`}
    ${question && html`<${Question} ...${question} close=${() => askFirst(null)} />`}`;
}

const toTheTitle = () => document.getElementById("session-title")?.focus({ preventScroll: true });

/** Esc and Cancel close it without doing anything. */
function Question({ says, yes, done, close }) {
  const dialog = useRef();
  const open = (element) => {
    dialog.current = element;
    if (element && !element.open) element.showModal();
  };
  const agree = () => {
    dialog.current.close();
    toTheTitle(); // the button that opened the dialog may be gone
    done();
  };
  return html`
    <dialog ref=${open} onClose=${close} aria-labelledby="question">
      <p id="question">${says}</p>
      <div class="actions">
        <button onClick=${() => dialog.current.close()} autofocus>Cancel</button>
        <button class="danger" onClick=${agree}>${yes}</button>
      </div>
    </dialog>`;
}
