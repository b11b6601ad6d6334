// Creates a session and reads it, with the types that openapi-typescript makes of the OpenAPI document.
import createClient from "openapi-fetch";
import type { paths } from "./openapi-typescript";

declare const process: { argv: [string, string, string] };

const client = createClient<paths>({ baseUrl: process.argv[2] });
const created = await client.POST("/api/v1/sessions", {
  body: { user_identity: "alice", required_services: [], metadata: { nested: { list: [1, null] } } },
});
if (created.data === undefined) throw new Error(created.error.detail);
const read = await client.GET("/api/v1/sessions/{session_id}", {
  params: { path: { session_id: created.data.session_id } },
});
const token = await client.POST("/api/v1/token", { body: { room_name: created.data.room_name } });
const refused = await client.POST("/api/v1/sessions", {
  body: { user_identity: "alice", required_services: ["gone", { type: "ASR", optional: true }] },
});
console.log(JSON.stringify({
  created: created.data.session_id,
  read: read.data?.session_id,
  metadata: read.data?.metadata,
  token: token.data?.participant_token,
  problem: refused.error?.type,
}));
