// Creates a session, joins its room and shows its status: by polling until there is a token, then from the room's
// metadata, which only LiveKit's server can write.
import { DisconnectReason, Room, RoomEvent } from "./livekit-client.js";

const POLL_MS = 300;
const OVER = ["ended", "failed"];
const AT_WORK = { ASR: "the hearing", LLM: "the thinking", TTS: "the voice" };
const RECONNECTING_YOU = ["Reconnecting you…", "", "busy"];
const WHY = {
  closed: "It was ended.",
  user_left: "You left.",
  user_never_joined: "You did not join.",
  expired: "It reached its time limit.",
  room_closed: "The room was closed.",
  client_gone: "You left before it started.",
  ready_timeout: "Not all services were ready in time.",
  service_lost: "A service was lost and could not be replaced.",
  room_unavailable: "No room was available.",
};

const element = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let revision = 0; // of the shown status

/** Show the status of a session, from the API or the room's metadata. The newer revision wins. */
function show(status) {
  if (status.revision < revision) return;
  revision = status.revision;
  const [headline, detail, mood] = inWords(status);
  say(headline, detail, mood);
  element("services").replaceChildren(...status.services.map(lineOf));
}

function inWords({ state, services, reason }) {
  const missing = services.filter((service) => service.state !== "ready");
  const [all, here] = [services.length, services.length - missing.length];
  switch (state) {
    case "waiting":
      return ["Getting everything ready…", `${here} of ${all} ready`, "busy"];
    case "ready":
    case "active":
      return ["Everything is ready", "", "good"];
    case "degraded":
      return [`Reconnecting ${missing.map(nameOf).join(" and ")}…`, "This takes a moment.", "busy"];
    default: // ended or failed
      return ["The session is over", WHY[reason] ?? "", state === "failed" ? "bad" : ""];
  }
}

function nameOf({ service_id, type }) {
  return AT_WORK[type] ?? service_id ?? type;
}

function lineOf(service) {
  const line = document.createElement("li");
  const name = document.createElement("span");
  const state = document.createElement("span");
  name.textContent = service.service_id ?? service.type;
  state.textContent = service.reason ? `${service.state} (${service.reason.replaceAll("_", " ")})` : service.state;
  state.className = { ready: "good", lost: "bad", failed: "bad" }[service.state] ?? "busy";
  line.append(name, state);
  return line;
}

function say(headline, detail = "", mood = "") {
  // Screen readers repeat unchanged text, so change only what differs.
  if (element("headline").textContent !== headline) element("headline").textContent = headline;
  if (element("detail").textContent !== detail) element("detail").textContent = detail;
  element("headline").className = mood;
}

/** The server refused: do not retry. */
class Refused extends Error {}

async function ask(method, path) {
  const response = await fetch(path, { method }).catch(() => Promise.reject(new Error("The server does not respond.")));
  const answer = await response.json();
  if (!response.ok) throw new (response.status < 500 ? Refused : Error)(answer.detail);
  return answer;
}

/** Until the session is over: wait for the token, join, and join again after a lost connection. */
async function follow(id) {
  for (;;) {
    try {
      const session = await ask("GET", `session/${id}`);
      show(session);
      if (OVER.includes(session.state)) return;
      if (session.access_token) {
        const why = await stay(session);
        if (why === DisconnectReason.DUPLICATE_IDENTITY) return say("You are in this session in another window");
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
      console.warn("retrying:", error.message);
      say(...RECONNECTING_YOU);
    }
    await pause(POLL_MS);
  }
}

/** Join the room and stay until disconnected. Returns the reason. */
async function stay({ server_url, access_token }) {
  const room = new Room();
  const out = new Promise((resolve) => room.once(RoomEvent.Disconnected, resolve));
  const read = () => {
    const status = JSON.parse(room.metadata || "{}");
    // If the session ends during the join, this can be a new, empty room of the same name.
    if (status.session_manager === 1) show(status);
    else room.disconnect();
  };
  room.on(RoomEvent.RoomMetadataChanged, read);
  room.on(RoomEvent.Reconnecting, () => say(...RECONNECTING_YOU));
  room.on(RoomEvent.Reconnected, read);
  // autoSubscribe is off, since this page shows only the status. If the room is closed during the join, the event
  // arrives immediately, while connect() alone would wait about 15 seconds.
  await Promise.race([room.connect(server_url, access_token, { autoSubscribe: false }), out]);
  read(); // no event is sent for metadata written earlier
  return out;
}

/** The session's id is in the URL fragment, so that a reload continues the session. */
async function run(id) {
  element("start").hidden = true;
  try {
    if (!id) {
      say("One moment…");
      id = (await ask("POST", "session")).session_id;
      history.replaceState(null, "", `#${id}`);
    }
    element("end").hidden = false;
    element("end").onclick = () =>
      ask("DELETE", `session/${id}`).catch((error) => say("The session could not be ended", error.message, "bad"));
    await follow(id);
  } catch (error) {
    say("Something went wrong", error.message, "bad");
  }
  history.replaceState(null, "", location.pathname);
  revision = 0;
  element("end").hidden = true;
  element("start").hidden = false;
}

element("start").onclick = () => run();
if (location.hash) run(location.hash.slice(1));
