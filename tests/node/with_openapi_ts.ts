// Creates a session and reads it, with the client that @hey-api/openapi-ts makes of the OpenAPI document.
import { sessionsCreate, sessionsShow, tokenSourceGive } from "./openapi-ts";
import { client } from "./openapi-ts/client.gen";

declare const process: { argv: [string, string, string] };

client.setConfig({ baseUrl: process.argv[2] });
const created = await sessionsCreate({
  body: { user_identity: "alice", required_services: [], metadata: { nested: { list: [1, null] } } },
});
if (created.data === undefined) throw new Error(created.error.detail);
const read = await sessionsShow({ path: { session_id: created.data.session_id } });
const token = await tokenSourceGive({ body: { room_name: created.data.room_name } });
const refused = await sessionsCreate({
  body: { user_identity: "alice", required_services: ["gone", { type: "ASR", optional: true }] },
});
console.log(JSON.stringify({
  created: created.data.session_id,
  read: read.data?.session_id,
  metadata: read.data?.metadata,
  token: token.data?.participant_token,
  problem: refused.error?.type,
}));
