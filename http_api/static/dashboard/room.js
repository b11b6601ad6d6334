// The room that the page has joined: participants, media, messages, and the status in its metadata.
import { html, useEffect, useRef, useState } from "./preact.js";
import { Mark, State } from "./marks.js";
import { timeOfDay } from "./times.js";
import { nameOf, plural } from "./words.js";

const STATES = {
  joining: "joining…", in: "connected", reconnecting: "reconnecting…", out: "disconnected",
};

const NEAR_THE_END = 24; // pixels

export function RoomPanel({ visit, visits }) {
  const title = useFocus(visit);
  if (!visit) return null;
  const isIn = visit.state === "in" || visit.state === "reconnecting";
  const isOut = visit.state === "out";
  return html`
    <section class="room" aria-labelledby="room-title">
      <div class="bar-of-title">
        <h3 id="room-title" tabindex="-1" ref=${title}>The room</h3>
        <span role="status">${STATES[visit.state]}${isOut ? `. ${visit.why}` : ""}</span>
        <span class="to-the-right">
          ${visit.state === "joining" && html`<button onClick=${() => visits.leave()}>Cancel</button>`}
          ${isIn && html`<button onClick=${() => visits.leave()}>Leave</button>`}
          ${isOut && html`<button onClick=${() => visits.dismiss()}>Close</button>`}
        </span>
      </div>
      ${isIn && html`<${Sound} visit=${visit} />`}
      ${isIn && html`<${People} people=${visit.people} />`}
      ${visit.status && html`<${Status} status=${visit.status} isOld=${isOut} />`}
      ${(isIn || visit.messages.length > 0) && html`<${Messages} messages=${visit.messages} />`}
      ${isIn && visit.mayWrite && html`<${Say} visit=${visit} />`}
    </section>`;
}

/** Moves the focus to the title after joining or leaving: the pressed button is gone. */
function useFocus(visit) {
  const title = useRef();
  const before = useRef(visit?.state);
  useEffect(() => {
    const isOther = before.current !== visit?.state && (visit?.state === "in" || visit?.state === "out");
    const wasReconnecting = before.current === "reconnecting";
    before.current = visit?.state;
    const isFree = document.activeElement === document.body || document.activeElement.id === "session-title";
    if (isOther && !wasReconnecting && isFree) title.current?.focus({ preventScroll: true });
  }, [visit?.state]);
  return title;
}

function Sound({ visit }) {
  const { microphone } = visit;
  const isOn = microphone === "on";
  const complaints = [["on", "off", "asking"].includes(microphone) ? "" : microphone, visit.soundProblem];
  const complaint = complaints.filter(Boolean).join(" ");
  return html`
    <div class="actions">
      ${visit.isSoundBlocked && html`
        <button class="primary" onClick=${() => visit.startSound()}>Start audio</button>`}
      ${visit.maySpeak && html`
        <button aria-pressed=${isOn ? "true" : "false"} disabled=${microphone === "asking"}
          onClick=${() => visit.useMicrophone(!isOn)}>Microphone</button>`}
      ${complaint && html`<span class="bad" role="alert">${complaint}</span>`}
    </div>`;
}

const People = ({ people }) => html`
  <ul class="people" aria-label="Participants">
    ${people.map((person) => html`
      <li key=${person.identity} class=${person.isSpeaking ? "is-speaking" : ""}>
        <span class="person-name">${person.name || person.identity}</span>
        <span class="quiet">${saidOf(person)}</span>
        ${person.pictures.map(({ sid, track }) => html`
          <${Picture} key=${sid} track=${track} whose=${person.identity} />`)}
      </li>`)}
  </ul>`;

function saidOf({ isYou, isAgent, isSpeaking, sounds, does, name, identity }) {
  const kind = isYou ? "you" : isAgent ? "service" : "human";
  const sound = sounds ? (isSpeaking ? "speaking" : "has audio") : "";
  return [kind, sound, does, name && name !== identity ? identity : ""].filter(Boolean).join(", ");
}

function Picture({ track, whose }) {
  const place = useRef();
  useEffect(() => {
    const element = track.attach();
    element.setAttribute("aria-label", `Video of ${whose}`);
    place.current.append(element);
    return () => track.detach(element).remove();
  }, [track]);
  return html`<div class="picture" ref=${place}></div>`;
}

/** As any participant can read it. */
const Status = ({ status, isOld }) => html`
  <div class="room-status">
    <h4>Status in the room's metadata${isOld ? ", as last seen" : ""}</h4>
    <p><${State} state=${status.state} /> <span class="quiet number">revision ${status.revision}</span></p>
    <ul>${status.services.map((service) => html`
      <li class="service">
        <${Mark} state=${service.state} />${nameOf(service)} <span class="quiet">${service.state}</span>
      </li>`)}
    </ul>
  </div>`;

function Messages({ messages }) {
  const list = useRef();
  const isAtEnd = useRef(true);
  const scrolled = ({ target: { scrollHeight, scrollTop, clientHeight } }) => {
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
  };
  useEffect(() => {
    if (isAtEnd.current) list.current?.scrollTo(0, list.current.scrollHeight);
  }, [messages.at(-1)]);
  return html`
    <h4>Messages ${messages.length > 0 && html`<span class="quiet">${plural(messages.length, "message")}</span>`}</h4>
    ${messages.length === 0 && html`<p class="quiet">No messages yet.</p>`}
    ${messages.length > 0 && html`
      <ol class="entries messages" ref=${list} onScroll=${scrolled} tabindex="0"
        aria-label="Messages in the room, oldest first">
        ${messages.map(({ at, from, topic, text, isCut }) => html`
          <li class="entry">
            <span class="number">${timeOfDay(at)}</span>
            <span class="level">${topic || "no topic"}</span>
            <span class="said"><b>${from || "server or unknown sender"}</b> ${text}${isCut ? "…" : ""}</span>
          </li>`)}
      </ol>`}`;
}

function Say({ visit }) {
  const field = useRef();
  const isSending = useRef(false);
  const [complaint, complain] = useState("");
  const submit = async (event) => {
    event.preventDefault();
    const text = field.current.value.trim();
    if (!text || isSending.current || visit.state !== "in") return;
    isSending.current = true;
    try {
      await visit.say(text);
      complain("");
      if (field.current?.value.trim() === text) field.current.value = "";
    } catch (error) {
      complain(`Not sent: ${error.message}`);
    } finally {
      isSending.current = false;
    }
  };
  return html`
    <form class="say" onSubmit=${submit}>
      <label for="say" class="unseen">Write to the room, on the topic lk.chat</label>
      <input id="say" ref=${field} aria-describedby=${complaint ? "say-error" : null} maxlength="500"
        autocomplete="off" placeholder="Write to the room (lk.chat)" />
      <button disabled=${visit.state !== "in"}>Send</button>
    </form>
    ${complaint && html`<p class="bad" id="say-error" role="alert">${complaint}</p>`}`;
}
