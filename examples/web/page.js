// Asks for a session, joins its room, and shows how it is doing: while the page waits by asking for it, and from then
// on by reading the room's metadata, which only LiveKit's server can write.
import { DisconnectReason, Room, RoomEvent } from "./livekit-client.js";

const POLL_MS = 300;
const OVER = ["ended", "failed"];
const AT_WORK = { ASR: "the hearing", LLM: "the thinking", TTS: "the voice" };
const RECONNECTING_YOU = ["Reconnecting you…", "", "busy"];
const WHY = {
  closed: "It was ended.",
  user_left: "You left.",
  user_never_joined: "You did not come in.",
  expired: "Its time was up.",
  room_closed: "The room was closed.",
  client_gone: "You left before it began.",
  ready_timeout: "Not everybody came in time.",
  service_lost: "Somebody was lost and could not be replaced.",
  room_unavailable: "There was no room.",
};

const element = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let revision = 0; // of the status that is shown

/** What a session, or the metadata of its room, means to the user. Two sources tell it: the newer one counts. */
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
      return ["Getting everything ready…", `${here} of ${all} are here`, "busy"];
    case "ready":
    case "active":
      return ["Everybody is here", "", "good"];
    case "degraded":
      return [`Reconnecting ${missing.map(nameOf).join(" and ")}…`, "It goes on in a moment.", "busy"];
    default: // the metadata does not know why; the session does
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
  // Nothing is said aloud again that has not changed.
  if (element("headline").textContent !== headline) element("headline").textContent = headline;
  if (element("detail").textContent !== detail) element("detail").textContent = detail;
  element("headline").className = mood;
}

/** Somebody answered, and said no: to ask again is no use. */
class Refused extends Error {}

async function ask(method, path) {
  const response = await fetch(path, { method }).catch(() => Promise.reject(new Error("The server does not answer.")));
  const answer = await response.json();
  if (!response.ok) throw new (response.status < 500 ? Refused : Error)(answer.detail);
  return answer;
}

/** Until the session is over: waits for the token, joins, and joins again if the connection was lost for good. */
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
      console.warn("once more:", error.message);
      say(...RECONNECTING_YOU);
    }
    await pause(POLL_MS);
  }
}

/** In the room, until we are out of it; the answer is why. */
async function stay({ server_url, access_token }) {
  const room = new Room();
  const out = new Promise((resolve) => room.once(RoomEvent.Disconnected, resolve));
  const read = () => {
    const status = JSON.parse(room.metadata || "{}");
    // A session that ends while we join can leave us in a new, empty room of that name.
    if (status.session_manager === 1) show(status);
    else room.disconnect();
  };
  room.on(RoomEvent.RoomMetadataChanged, read);
  room.on(RoomEvent.Reconnecting, () => say(...RECONNECTING_YOU));
  room.on(RoomEvent.Reconnected, read);
  // Without autoSubscribe, as this page is about the status alone: it neither hears nor speaks. A room that is closed
  // while we join is told by the event at once; connect() alone would wait for it in vain, some 15 seconds.
  await Promise.race([room.connect(server_url, access_token, { autoSubscribe: false }), out]);
  read(); // what was written before we came is no event
  return out;
}

/** The id is kept in the address: a page that is loaded again goes on with its session. */
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
      ask("DELETE", `session/${id}`).catch((error) => say("It could not be ended", error.message, "bad"));
    await follow(id);
  } catch (error) {
    say("That did not work", error.message, "bad");
  }
  history.replaceState(null, "", location.pathname);
  revision = 0;
  element("end").hidden = true;
  element("start").hidden = false;
}

element("start").onclick = () => run();
if (location.hash) run(location.hash.slice(1));
