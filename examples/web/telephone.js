// A telephone without a framework: call, see how it goes, hang up.
import { DisconnectReason, Room, RoomEvent } from "livekit-client";
import {
  AWAY, create, ELSEWHERE, end, inTrouble, inWords, isOver, joinable, lineOf, ONE_MOMENT, pause, speak, statusIn,
} from "./session.js";

const element = (id) => document.getElementById(id);
let revision = 0; // of the shown status
let room = new Room(); // of the current call

/** Show a status, from the back end or the room. The newer revision wins. */
function show(status) {
  if (status?.revision < revision) return;
  revision = status?.revision ?? revision;
  say(inWords(status));
  if (status) element("services").replaceChildren(...status.services.map(entryOf));
}

function entryOf(service) {
  const { text, mood } = lineOf(service);
  const entry = document.createElement("li");
  const [name, state] = [document.createElement("span"), document.createElement("span")];
  [name.textContent, state.textContent, state.className] = [service.service_id ?? service.type, text, mood];
  entry.append(name, state);
  return entry;
}

function say({ headline, detail, mood }) {
  // Screen readers repeat unchanged text, so change only what differs.
  if (element("headline").textContent !== headline) element("headline").textContent = headline;
  if (element("detail").textContent !== detail) element("detail").textContent = detail;
  element("headline").className = mood;
}

/** Until the session is over: wait for the token, join, and join again after a lost connection. */
async function follow(id, hungUp) {
  for (;;) {
    const session = await joinable(id, show, hungUp);
    if (isOver(session)) return inWords(session);
    try {
      const why = await stay(id, session, hungUp);
      if (why === DisconnectReason.DUPLICATE_IDENTITY) return ELSEWHERE;
    } catch (error) {
      console.warn("retrying:", error.message);
      say(AWAY);
      await pause();
    }
  }
}

/** Join the room and stay until disconnected. Returns the reason. */
async function stay(id, { server_url, access_token }, hungUp) {
  room = new Room();
  const out = new Promise((resolve) => room.once(RoomEvent.Disconnected, resolve));
  const read = () => {
    const status = statusIn(room, id);
    if (status) show(status);
    else room.disconnect();
  };
  room.on(RoomEvent.RoomMetadataChanged, read);
  room.on(RoomEvent.Reconnecting, () => say(AWAY));
  room.on(RoomEvent.Reconnected, read);
  room.on(RoomEvent.TrackSubscribed, (track) => element("audio").append(track.attach()));
  room.on(RoomEvent.TrackUnsubscribed, (track) => track.detach().forEach((player) => player.remove()));
  // A browser may play sound only after a click: there is none after a reload.
  room.on(RoomEvent.AudioPlaybackStatusChanged, () => (element("sound").hidden = room.canPlaybackAudio));
  hungUp.addEventListener("abort", () => room.disconnect());
  // If the room is closed during the join, Disconnected comes at once, while connect() would wait about 15 seconds.
  await Promise.race([room.connect(server_url, access_token), out]);
  read(); // no event is sent for metadata written earlier
  speak(room).then((note) => (element("note").textContent = note));
  return out;
}

/** One call, from the click to its end. Its session is in the URL, so that a reload continues it. */
async function call(id) {
  const hangUp = new AbortController();
  element("call").hidden = true;
  say(ONE_MOMENT);
  let last;
  try {
    id ??= await create();
    history.replaceState(null, "", `#${id}`);
    element("hang-up").hidden = false;
    element("hang-up").onclick = () => {
      hangUp.abort();
      end(id);
    };
    last = await follow(id, hangUp.signal);
  } catch (error) {
    last = inTrouble(error);
  }
  history.replaceState(null, "", location.pathname);
  revision = 0;
  element("note").textContent = "";
  for (const name of ["hang-up", "sound"]) element(name).hidden = true;
  element("call").hidden = false;
  say(last);
}

element("call").onclick = () => call();
element("sound").onclick = () => room.startAudio();
if (location.hash) call(location.hash.slice(1));
