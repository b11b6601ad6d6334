// One job: join the room, signal ready until the manager has heard it, leave when the session is over.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { DisconnectReason, Room, RoomEvent } from '@livekit/rtc-node';

/** @typedef {{ id: string, identity: string, token: string, server_url: string, manager_identity?: string }} Invite */

export class SessionJob {
  #room = new Room();
  #over = new AbortController();
  #saying = new AbortController();
  #ready = false;
  #manager;

  /** @param {Invite} invite */
  constructor(invite) {
    this.invite = invite;
    this.#manager = invite.manager_identity;
    /** Resolves, and never rejects, when the room is left. */
    this.done = this.#attend();
  }

  /** Lets the job be over. Again changes nothing. @param {string} reason */
  end(reason) {
    this.#over.abort(reason);
  }

  async #attend() {
    const { invite } = this;
    const room = this.#room;
    room.on(RoomEvent.Disconnected, (reason) => this.end(DisconnectReason[reason]));
    room.on(RoomEvent.RoomMetadataChanged, (metadata) => this.#findManager(metadata));
    // Whoever comes back with a new sid is somebody new to the manager, and the SDK does not tell which it was.
    room.on(RoomEvent.Reconnected, () => this.#sayReady());
    try {
      await room.connect(invite.server_url, invite.token, { autoSubscribe: false, dynacast: false });
      log('joined', { invite: invite.id, identity: invite.identity });
      this.#findManager(room.metadata);
      // Here a model would be loaded, and tracks be published.
      this.#ready = true;
      this.#sayReady();
      if (!this.#over.signal.aborted) await once(this.#over.signal, 'abort');
    } catch (error) {
      log('visit_failed', { invite: invite.id, why: String(error) });
    } finally {
      this.#saying.abort();
      await room.disconnect().catch((error) => log('not_left_in_order', { invite: invite.id, why: String(error) }));
      log('left', { invite: invite.id, reason: this.#over.signal.reason });
    }
  }

  /** The room's metadata names the manager in charge; a new one is told as well. @param {string} [metadata] */
  #findManager(metadata) {
    const manager = managerIn(metadata);
    if (!manager || manager === this.#manager) return;
    this.#manager = manager;
    this.#sayReady();
  }

  /** Says it as if nobody had heard it yet, again and again until somebody has. */
  async #sayReady() {
    this.#saying.abort();
    if (!this.#ready || !this.#manager || this.#over.signal.aborted) return;
    const saying = (this.#saying = new AbortController());
    // Often at first: the manager is on its way into the room itself.
    for (let pause = 250; !saying.signal.aborted; pause = Math.min(pause * 2, 4_000)) {
      // Not awaited: this SDK takes seven seconds to see that nobody is there, and the manager may come before that.
      this.#callManager(this.#manager, saying);
      await sleep(pause, undefined, { signal: saying.signal }).catch(() => {});
    }
  }

  /** One call. @param {string} manager @param {AbortController} saying aborted once it is acknowledged */
  async #callManager(manager, saying) {
    try {
      const call = { destinationIdentity: manager, method: 'session-manager', payload: '{"type": "ready"}' };
      const answer = await this.#room.localParticipant?.performRpc(call);
      if (saying.signal.aborted || JSON.parse(answer ?? '{}').ok !== true) return;
      saying.abort();
      log('ready', { invite: this.invite.id, manager });
    } catch {
      // Nobody is there yet, or nobody who knows us: a later call may do better.
    }
  }
}

/** The manager in charge, by the metadata of its room. @param {string} [metadata] @returns {string | null} */
function managerIn(metadata) {
  try {
    const status = JSON.parse(metadata ?? '');
    return status.session_manager === 1 ? status.manager_identity : null;
  } catch {
    return null; // somebody else's metadata
  }
}

/** One line of JSON. @param {string} event @param {object} [fields] */
export function log(event, fields) {
  console.log(JSON.stringify({ event, ...fields }));
}
