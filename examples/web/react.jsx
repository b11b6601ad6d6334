// The same telephone with LiveKit's React components and `useSession`.
import { RoomAudioRenderer, SessionProvider, StartAudio, useRoomInfo, useSession } from "@livekit/components-react";
import { DisconnectReason, RoomEvent, TokenSource } from "livekit-client";
import { StrictMode, useEffect, useRef, useState } from "react";
import { createRoot } from "react-dom/client";
import {
  AWAY, create, ELSEWHERE, end, HUNG_UP, inTrouble, inWords, isOver, joinable, lineOf, ONE_MOMENT, pause, speak,
  statusIn, WELCOME,
} from "./session.js";

function App() {
  const [id, setId] = useState(location.hash.slice(1)); // of the session; in the URL, so that a reload continues it
  const [words, say] = useState(id ? ONE_MOMENT : WELCOME);
  const [services, setServices] = useState([]);
  const [isCreating, setCreating] = useState(false);
  const revision = useRef(0); // of the shown status

  const show = (status) => { // from the back end or the room: the newer one wins
    if (status?.revision < revision.current) return;
    revision.current = status?.revision ?? revision.current;
    say(inWords(status));
    if (status) setServices(status.services);
  };
  const enter = (session) => {
    history.replaceState(null, "", session ? `#${session}` : location.pathname);
    revision.current = 0;
    setId(session);
  };
  const leave = (last) => {
    enter("");
    say(last);
  };
  const call = () => {
    setCreating(true);
    say(ONE_MOMENT);
    create().then(enter, (error) => say(inTrouble(error))).finally(() => setCreating(false));
  };
  const hangUp = () => {
    end(id);
    leave(inWords(HUNG_UP));
  };

  return (
    <main>
      <h1>Telephone in React</h1>
      <div role="status">
        <p id="headline" className={words.mood}>{words.headline}</p>
        <p id="detail">{words.detail}</p>
      </div>
      <ul aria-label="Services">
        {services.map((service, entry) => (
          <li key={entry}>
            <span>{service.service_id ?? service.type}</span>
            <span className={lineOf(service).mood}>{lineOf(service).text}</span>
          </li>
        ))}
      </ul>
      {id && <Call key={id} id={id} show={show} say={say} onOver={leave} />}
      {id ? <button onClick={hangUp}>Hang up</button> : isCreating || <button onClick={call}>Call</button>}
    </main>
  );
}

/** Until the session is over: wait for the token, be in the room, and join again after a lost connection. */
function Call({ id, show, say, onOver }) {
  const [token, setToken] = useState(null);

  useEffect(() => {
    if (token) return;
    const left = new AbortController();
    joinable(id, show, left.signal).then((session) => {
      if (left.signal.aborted) return;
      if (isOver(session)) onOver(inWords(session));
      else setToken(TokenSource.literal({ serverUrl: session.server_url, participantToken: session.access_token }));
    });
    return () => left.abort();
  }, [token]);

  const out = async (why) => {
    if (why === DisconnectReason.DUPLICATE_IDENTITY) return onOver(ELSEWHERE);
    await pause();
    setToken(null);
  };
  return token && <InRoom id={id} token={token} show={show} say={say} onOut={out} />;
}

/** `useSession` asks its source for a token when it is mounted, when it starts and when it is disconnected. This one
 *  gives the same each time; `TokenSource.endpoint` would open, and reserve services for, a session that is not used. */
function InRoom({ id, token, show, say, onOut }) {
  const session = useSession(token);
  const { room, connectionState, isConnected } = session;
  const { metadata } = useRoomInfo({ room });
  const [note, setNote] = useState("");

  useEffect(() => {
    let isHere = true;
    const out = (why) => {
      if (isHere) onOut(why);
      isHere = false;
    };
    room.once(RoomEvent.Disconnected, out);
    session.start({ tracks: {} }).then(() => speak(room)).then(setNote).catch(out);
    return () => {
      isHere = false;
      room.off(RoomEvent.Disconnected, out);
    };
  }, []);

  useEffect(() => {
    if (connectionState === "connected") {
      const status = statusIn(room, id);
      if (status) show(status);
      else room.disconnect();
    } else if (isConnected) say(AWAY); // and reconnecting
  }, [metadata, connectionState]);

  return (
    <SessionProvider session={session}>
      <RoomAudioRenderer />
      <p id="note">{note}</p>
      <StartAudio label="Turn the sound on" />
    </SessionProvider>
  );
}

createRoot(document.getElementById("root")).render(<StrictMode><App /></StrictMode>);
