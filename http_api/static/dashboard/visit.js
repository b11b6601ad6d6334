// One visit to a room with livekit-client, which is loaded on first use. Converts LiveKit's objects to plain values for
// room.js. Tokens are not kept.
import { Problem } from "./calls.js";

const MESSAGES_MAX = 100;
const TEXT_MAX = 500; // characters shown of a message
const CHAT = "lk.chat";
const TEXT_TOPICS = [CHAT, "lk.transcription"];
const CONNECT_TIMEOUT = 20_000;
const LOOK_AFTER = [
  "ParticipantConnected", "ParticipantDisconnected", "ParticipantAttributesChanged", "ActiveSpeakersChanged",
  "TrackPublished", "TrackUnpublished", "TrackMuted", "TrackUnmuted", "LocalTrackPublished", "LocalTrackUnpublished",
  "AudioPlaybackStatusChanged", "RoomMetadataChanged", "ParticipantPermissionsChanged",
];

let loaded = null;

/** livekit-client's UMD build: a script that defines a global. */
function livekit() {
  loaded ??= import("./livekit-client.js").then(
    () => globalThis.LivekitClient,
    () => {
      loaded = null;
      const detail = "The server did not deliver it. Try again.";
      throw new Problem({ title: "livekit-client could not be loaded", detail });
    },
  );
  return loaded;
}

export class Visit {
  state = "joining"; // then "in", "reconnecting", finally "out"
  why = "";
  people = [];
  messages = [];
  status = null; // last status in the room's metadata
  microphone = "off"; // "on", "asking", or why it is not available
  isSoundBlocked = false;
  soundProblem = "";
  maySpeak = false; // from the token's grants, known after joining
  mayWrite = false;
  #isLeft = false;
  #room = null;
  #lib = null;
  #voice = null; // the microphone's track while in use

  constructor({ session, changed }) {
    [this.sessionId, this.roomName, this.changed] = [session.session_id, session.room_name, changed];
  }

  /** Does nothing if the visit was left meanwhile. Throws a Problem. */
  async join(url, token) {
    try {
      this.#lib = await livekit();
      if (this.#isLeft) return;
      const room = (this.#room = new this.#lib.Room({ disconnectOnPageLeave: true }));
      this.#listen(room);
      const late = new Promise((_, no) => setTimeout(no, CONNECT_TIMEOUT, new Error("timed out")));
      const closed = new Promise((_, no) => {
        room.once(this.#lib.RoomEvent.Disconnected, () => no(new Error("LiveKit closed the connection")));
      });
      await Promise.race([room.connect(url, token), late, closed]);
      this.#set({ state: "in" });
      this.#look();
    } catch (error) {
      if (this.#isLeft) return;
      await this.#room?.disconnect();
      this.#set({ state: "out", why: "Joining failed." });
      if (error instanceof Problem) throw error;
      throw new Problem({ title: "The room could not be joined", detail: `${url}: ${error.message}` });
    }
  }

  async leave() {
    if (this.state === "out") return;
    this.#isLeft = true;
    this.why = "You left.";
    await this.#room?.disconnect();
    this.#set({ state: "out" });
  }

  async useMicrophone(isWanted) {
    this.#set({ microphone: isWanted ? "asking" : "off" });
    try {
      await (isWanted ? this.#speak() : this.#hush());
      this.#set({ microphone: isWanted ? "on" : "off" });
    } catch (error) {
      this.#release();
      const isRefused = error.name === "NotAllowedError";
      this.#set({ microphone: isRefused ? "The browser denied access to the microphone." : `The microphone is not available: ${error.message}` });
    }
  }

  async startSound() {
    try {
      await this.#room.startAudio();
      this.#set({ soundProblem: "" });
    } catch (error) {
      this.#set({ soundProblem: `Audio could not be started: ${error.message}` });
    }
    this.#look();
  }

  /** If the room was left while the browser asked for permission, release the microphone again. */
  async #speak() {
    const voice = await this.#lib.createLocalAudioTrack();
    if (this.state === "out") return voice.stop();
    this.#voice = voice;
    await this.#room.localParticipant.publishTrack(voice);
  }

  async #hush() {
    const voice = this.#voice;
    this.#release();
    if (voice) await this.#room.localParticipant.unpublishTrack(voice);
  }

  #release() {
    this.#voice?.stop();
    this.#voice = null;
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
    this.#release();
    this.people = [];
    this.#set({ state: "out", why: this.why || (words ? `Disconnected by LiveKit: ${words}.` : "The connection was lost.") });
  }

  #hear(from, topic, text) {
    const message = { at: Date.now(), from, topic, text: text.slice(0, TEXT_MAX), isCut: text.length > TEXT_MAX };
    this.#set({ messages: [...this.messages, message].slice(-MESSAGES_MAX) });
  }

  /** Update everything that is read from the room. */
  #look() {
    const room = this.#room;
    if (this.state === "out" || !room) return;
    const people = [room.localParticipant, ...room.remoteParticipants.values()].filter(({ identity }) => identity);
    this.#set({
      people: people.map((participant) => this.#person(participant)),
      status: statusOf(room.metadata) ?? this.status,
      isSoundBlocked: !room.canPlaybackAudio,
      ...this.#allowed(room.localParticipant.permissions),
    });
  }

  /** An empty `canPublishSources` means all sources. */
  #allowed({ canPublish = false, canPublishData = false, canPublishSources: sources = [] } = {}) {
    const microphone = this.#lib.Track.sourceToProto(this.#lib.Track.Source.Microphone);
    return {
      maySpeak: canPublish && (sources.length === 0 || sources.includes(microphone)),
      mayWrite: canPublishData,
    };
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

/** Only a status of the session manager: a room that it did not create can have other metadata. */
function statusOf(metadata) {
  try {
    const status = JSON.parse(metadata || "{}");
    const isOurs = status.session_manager === 1 && typeof status.state === "string" && Array.isArray(status.services);
    return isOurs && status.services.every(isService) ? status : null;
  } catch {
    return null;
  }
}

const isService = (entry) =>
  typeof entry?.state === "string" && typeof (entry.service_id ?? entry.type) === "string";

function textOf(payload) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(payload);
  } catch {
    return `(${payload.length} bytes of binary data)`;
  }
}
