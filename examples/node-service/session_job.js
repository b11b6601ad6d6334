// One job: join the room, signal ready until the manager acknowledges it, leave when the session is over.

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
    this.done = this.#run();
  }

  /** End the job. Calling it again has no effect. @param {string} reason */
  end(reason) {
    this.#over.abort(reason);
  }

  async #run() {
    const { invite } = this;
    const room = this.#room;
    room.on(RoomEvent.Disconnected, (reason) => this.end(DisconnectReason[reason]));
    room.on(RoomEvent.RoomMetadataChanged, (metadata) => this.#findManager(metadata));
    // A reconnect may bring a new sid, which is a new participant for the manager. The SDK does not tell.
    room.on(RoomEvent.Reconnected, () => this.#sayReady());
    try {
      await room.connect(invite.server_url, invite.token, { autoSubscribe: false, dynacast: false });
      log('joined', { invite: invite.id, identity: invite.identity });
      this.#findManager(room.metadata);
      // A real service would load its model and publish its tracks here.
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

  /** The room's metadata names the current manager; signal ready to a new one too. @param {string} [metadata] */
  #findManager(metadata) {
    const manager = managerIn(metadata);
    if (!manager || manager === this.#manager) return;
    this.#manager = manager;
    this.#sayReady();
  }

  /** Repeat the ready signal until it is acknowledged. */
  async #sayReady() {
    this.#saying.abort();
    if (!this.#ready || !this.#manager || this.#over.signal.aborted) return;
    const saying = (this.#saying = new AbortController());
    // Short pauses at first: the manager may still be joining.
    for (let pause = 250; !saying.signal.aborted; pause = Math.min(pause * 2, 4_000)) {
      // Not awaited: this SDK takes seven seconds to report an absent participant; the manager may join sooner.
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
      // The manager is not in the room yet, or does not know this service yet: call again.
    }
  }
}

/** The current manager, from the room's metadata. @param {string} [metadata] @returns {string | null} */
function managerIn(metadata) {
  try {
    const status = JSON.parse(metadata ?? '');
    return status.session_manager === 1 ? status.manager_identity : null;
  } catch {
    return null; // not the session manager's metadata
  }
}

/** One line of JSON. @param {string} event @param {object} [fields] */
export function log(event, fields) {
  console.log(JSON.stringify({ event, ...fields }));
}
