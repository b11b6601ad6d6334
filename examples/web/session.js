// A session as both pages see it: through their back end until there is a token, then in the room's metadata, which only
// LiveKit's server can write. And the words in which they show it.

const PAUSE_MS = 300;
const AT_WORK = { ASR: "the hearing", LLM: "the thinking", TTS: "the voice" };
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

export const HUNG_UP = { state: "ended", services: [], reason: "user_left" };
export const WELCOME = { headline: "Talk to the assistant", detail: "", mood: "" };
export const ONE_MOMENT = { headline: "One moment…", detail: "", mood: "busy" };
export const AWAY = { headline: "Reconnecting you…", detail: "", mood: "busy" };
export const ELSEWHERE = { headline: "This call is open in another window", detail: "", mood: "" };

export const inTrouble = ({ message }) => ({ headline: "That did not work", detail: message, mood: "bad" });
export const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
export const isOver = ({ state }) => state === "ended" || state === "failed";

/** Create a session and return its id. */
export const create = async () => (await ask("POST", "session")).session_id;

/** End a session. If this fails it ends by itself, a while after its user has left. */
export const end = (id) => ask("DELETE", `session/${id}`, { keepalive: true }).catch(console.warn);

/** The session once it has a token or is over. Tells `show` its status on the way. Never rejects. */
export async function joinable(id, show, hungUp) {
  while (!hungUp.aborted) {
    try {
      const session = await ask("GET", `session/${id}`, { signal: hungUp });
      show(session);
      if (session.access_token || isOver(session)) return session;
    } catch (error) {
      if (error instanceof Refused) return { state: "failed", services: [], detail: error.message };
      if (hungUp.aborted) break;
      console.warn("retrying:", error.message);
      show(null);
    }
    await pause();
  }
  return HUNG_UP;
}

/** The status in a room's metadata. If the session ended during the join, this can be a new, empty room of the same
 *  name: then undefined. */
export function statusIn({ metadata }, id) {
  const status = JSON.parse(metadata || "{}");
  return status.session_id === id ? status : undefined;
}

/** What the user is shown. `status`: from the back end or the room; null if the back end does not answer. */
export function inWords(status) {
  if (!status) return AWAY;
  const missing = status.services.filter(({ state }) => state !== "ready");
  const [all, here] = [status.services.length, status.services.length - missing.length];
  switch (status.state) {
    case "waiting":
      return { headline: "Getting everything ready…", detail: `${here} of ${all} ready`, mood: "busy" };
    case "ready":
      return { headline: "Connecting you…", detail: "", mood: "busy" };
    case "active":
      return { headline: "You are connected", detail: "", mood: "good" };
    case "degraded":
      return { headline: `Connecting ${missing.map(nameOf).join(" and ")}…`, detail: "One moment.", mood: "busy" };
    default: { // ended or failed
      const [detail, mood] = [status.detail ?? WHY[status.reason] ?? "", status.state === "failed" ? "bad" : ""];
      return { headline: "The call is over", detail, mood };
    }
  }
}

/** Turn the microphone on. Returns what to tell the user, who can go on listening without one. */
export async function speak(room) {
  if (room.state !== "connected") return "";
  try {
    await room.localParticipant.setMicrophoneEnabled(true);
    return "";
  } catch (error) {
    return room.state === "connected" ? `Your microphone is off: ${error.message}` : "";
  }
}

/** A service's state in words, and the class of their color. */
export function lineOf({ state, reason }) {
  const text = reason ? `${state} (${reason.replaceAll("_", " ")})` : state;
  return { text, mood: { ready: "good", lost: "bad", failed: "bad" }[state] ?? "busy" };
}

function nameOf({ service_id, type }) {
  return AT_WORK[type] ?? service_id ?? type;
}

/** The server refused: do not retry. */
class Refused extends Error {}

async function ask(method, path, options) {
  const response = await fetch(path, { method, ...options });
  const answer = await response.json();
  if (!response.ok) throw new (response.status < 500 ? Refused : Error)(answer.detail);
  return answer;
}
