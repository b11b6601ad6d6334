// One stay in a room, with livekit-client, which is loaded when it is first needed. Everything LiveKit tells becomes
// plain values here; room.js shows them. Tokens are used and not kept.
import { Problem } from "./calls.js";

const MESSAGES_MAX = 100;
const TEXT_MAX = 500; // characters of a message that are shown
const CHAT = "lk.chat";
const TEXT_TOPICS = [CHAT, "lk.transcription"];
const CONNECT_TIMEOUT = 20_000;
const LOOK_AFTER = [
  "ParticipantConnected", "ParticipantDisconnected", "ParticipantAttributesChanged", "ActiveSpeakersChanged",
  "TrackPublished", "TrackUnpublished", "TrackMuted", "TrackUnmuted", "LocalTrackPublished", "LocalTrackUnpublished",
  "AudioPlaybackStatusChanged", "RoomMetadataChanged",
];

let loaded = null;

/** livekit-client as npm has it: a script that makes a global. */
function livekit() {
  loaded ??= import("./livekit-client.js").then(
    () => globalThis.LivekitClient,
    () => {
      loaded = null;
      throw new Problem({ title: "livekit-client could not be loaded", detail: "The server did not give it. Try again." });
    },
  );
  return loaded;
}



export class Visit {
  state = "joining"; // then "in", "reconnecting", and in the end "out"
  why = "";
  people = [];
  messages = [];
  status = null; // the newest that the room's metadata had
  microphone = "off"; // "on", "asking", or why it can't be had
  isSoundBlocked = false;
  #room = null;
  #lib = null;

  constructor({ session, maySpeak, changed }) {
    [this.sessionId, this.roomName] = [session.session_id, session.room_name];
    [this.maySpeak, this.changed] = [maySpeak, changed];
  }

  /** Raises Problem. */
  async join(url, token) {
    try {
      this.#lib = await livekit();
      const room = (this.#room = new this.#lib.Room({ disconnectOnPageLeave: true }));
      this.#listen(room);
      const late = new Promise((_, no) => setTimeout(no, CONNECT_TIMEOUT, new Error("it took too long")));
      await Promise.race([room.connect(url, token), late]);
      this.#set({ state: "in" });
      this.#look();
    } catch (error) {
      await this.#room?.disconnect();
      this.#set({ state: "out", why: "It could not be joined." });
      if (error instanceof Problem) throw error;
      throw new Problem({ title: "The room could not be joined", detail: `${url}: ${error.message}` });
    }
  }

  async leave() {
    if (this.state === "out") return;
    this.why = "You left.";
    await this.#room?.disconnect();
    this.#set({ state: "out" });
  }

  async useMicrophone(isWanted) {
    this.#set({ microphone: isWanted ? "asking" : "off" });
    try {
      await this.#room.localParticipant.setMicrophoneEnabled(isWanted);
      this.#set({ microphone: isWanted ? "on" : "off" });
    } catch (error) {
      const isRefused = error.name === "NotAllowedError";
      this.#set({ microphone: isRefused ? "The browser does not allow it." : `It can't be had: ${error.message}` });
    }
  }

  async startSound() {
    await this.#room.startAudio();
    this.#look();
  }

  async say(text) {
    await this.#room.localParticipant.sendText(text, { topic: CHAT });
    this.#hear(this.#room.localParticipant.identity, CHAT, text);
  }

  #listen(room) {
    const { RoomEvent, Track } = this.#lib;
    const look = () => this.#look();
    for (const event of LOOK_AFTER) room.on(RoomEvent[event], look);
    room.on(RoomEvent.TrackSubscribed, (track) => {
      if (track.kind === Track.Kind.Audio) document.getElementById("sound").append(track.attach());
      look();
    });
    room.on(RoomEvent.TrackUnsubscribed, (track) => {
      for (const element of track.detach()) element.remove();
      look();
    });
    room.on(RoomEvent.DataReceived, (payload, sender, _kind, topic) => {
      this.#hear(sender?.identity, topic, textOf(payload));
    });
    for (const topic of TEXT_TOPICS) {
      room.registerTextStreamHandler(topic, async (text, { identity }) => {
        this.#hear(identity, topic, await text.readAll());
      });
    }
    room.on(RoomEvent.Reconnecting, () => this.#set({ state: "reconnecting" }));
    room.on(RoomEvent.Reconnected, () => this.#set({ state: "in" }));
    room.on(RoomEvent.Disconnected, (reason) => this.#out(reason));
  }

  #out(reason) {
    const words = this.#lib.DisconnectReason[reason]?.toLowerCase().replaceAll("_", " ");
    document.getElementById("sound").replaceChildren();
    this.people = [];
    this.#set({ state: "out", why: this.why || (words ? `LiveKit ended it: ${words}.` : "The connection was lost.") });
  }

  #hear(from, topic, text) {
    const message = { at: Date.now(), from, topic, text: text.slice(0, TEXT_MAX), isCut: text.length > TEXT_MAX };
    this.#set({ messages: [...this.messages, message].slice(-MESSAGES_MAX) });
  }

  /** Everything that can be read off the room, as it is now. */
  #look() {
    const room = this.#room;
    if (this.state === "out" || !room) return;
    const people = [room.localParticipant, ...room.remoteParticipants.values()].filter(({ identity }) => identity);
    this.#set({
      people: people.map((participant) => this.#person(participant)),
      status: statusOf(room.metadata) ?? this.status,
      isSoundBlocked: !room.canPlaybackAudio,
    });
  }

  #person(participant) {
    const { Track } = this.#lib;
    const tracks = [...participant.trackPublications.values()];
    const pictures = tracks.filter(({ kind, track }) => kind === Track.Kind.Video && track);
    return {
      identity: participant.identity,
      name: participant.name ?? "",
      isYou: participant.isLocal,
      isAgent: participant.isAgent,
      isSpeaking: participant.isSpeaking,
      does: participant.attributes["lk.agent.state"] ?? participant.attributes["session.state"] ?? "",
      sounds: tracks.filter(({ kind, isMuted }) => kind === Track.Kind.Audio && !isMuted).length,
      pictures: pictures.map(({ trackSid, track }) => ({ sid: trackSid, track })),
    };
  }

  #set(values) {
    Object.assign(this, values);
    this.changed();
  }
}

/** Only the session manager's own: others may write there too, where it did not make the room. */
function statusOf(metadata) {
  try {
    const status = JSON.parse(metadata || "{}");
    return status.session_manager === 1 && Array.isArray(status.services) ? status : null;
  } catch {
    return null;
  }
}

function textOf(payload) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch {
    return `(${payload.length} bytes that are no text)`;
  }
}
