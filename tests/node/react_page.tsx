// A page with LiveKit's React components, as their documentation shows it. The address has the token endpoint and the
// options of useSession; without them the page is empty.
import { useAgent, useSession } from "@livekit/components-react";
import { TokenSource } from "livekit-client";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const { endpoint, options } = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
const source = TokenSource.endpoint(endpoint);
const quiet = { tracks: { microphone: { enabled: false } } };

function Page() {
  const session = useSession(source, options);
  const agent = useAgent(session);
  const [error, setError] = useState("");
  const attempt = (work: Promise<unknown>) => { work.catch((failed: Error) => setError(failed.message)); };
  return (
    <>
      <button id="start" onClick={() => attempt(session.start(quiet))}>Start</button>
      <button id="end" onClick={() => attempt(session.end())}>End</button>
      <p id="connection">{session.connectionState}</p>
      <p id="room">{session.isConnected ? session.room.name : ""}</p>
      <p id="agent">{agent.state}</p>
      <p id="failures">{(agent.failureReasons ?? []).join()}</p>
      <p id="error">{error}</p>
    </>
  );
}

if (endpoint) createRoot(document.getElementById("root")!).render(<Page />);
