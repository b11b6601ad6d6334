// A service in Node: registers with the session manager, accepts signed invites, and deregisters when it is stopped.
// session_job.js handles an invite.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { dispose } from '@livekit/rtc-node';
import { WebhookReceiver } from 'livekit-server-sdk';
import { SessionJob, log } from './session_job.js';

try {
  process.loadEnvFile(); // .env in the working directory; variables of the environment count more
} catch {
  // there is none
}
const env = process.env;
const SERVICE_ID = env.SERVICE_ID || 'node-service';
const MANAGER = env.SESSION_MANAGER_URL || 'http://localhost:8080';
const API_KEY = env.SESSION_MANAGER_API_KEY; // authenticates the registration; not needed in dev mode
const HOST = env.SERVICE_HOST || '127.0.0.1';
const PORT = Number(env.SERVICE_PORT || 0); // 0: any free port

const TIMEOUT = 2_000; // ms for a call to the manager
const GRACE = 5_000; // ms to leave all rooms when stopping
const REMEMBERED = 600_000; // ms to remember a finished job: its invite may be repeated until its signature expires
const BODY_MAX = 64 * 1024; // bytes; an invite without metadata is about 1,500

/** @type {Map<string, SessionJob>} by invite id, including recently finished jobs */
const jobs = new Map();
const stopping = new AbortController();
const receiver = makeReceiver();

/** Verifies the signature of invites. Everyone knows the keys of dev mode: they count only where no other machine calls. */
function makeReceiver() {
  const { INVITE_API_KEY: key, INVITE_API_SECRET: secret } = env;
  if (key && secret) return new WebhookReceiver(key, secret);
  const isHere = (host) => ['localhost', '127.0.0.1'].includes(host);
  if (isHere(new URL(MANAGER).hostname) && isHere(HOST)) return new WebhookReceiver('devkey', 'secret');
  throw new Error('INVITE_API_KEY and INVITE_API_SECRET are required beyond this machine');
}

/** Handle a message of the manager. Returns the HTTP status. @param {string} body @param {string} [signature] */
async function take(body, signature) {
  try {
    await receiver.receive(body, signature);
  } catch (error) {
    log('not_signed', { why: String(error) });
    return 401;
  }
  const message = JSON.parse(body); // receive() returns only the fields of LiveKit's own webhooks
  if (message.service_id !== SERVICE_ID) return 422;
  if (message.event === 'session_invited') return accept(message);
  if (message.event === 'session_ended') {
    for (const job of jobs.values()) {
      if (job.invite.identity === message.identity) job.end(message.reason);
    }
  }
  return 200;
}

/** Start a job, which continues after the response. @param {import('./session_job.js').Invite} invite */
function accept(invite) {
  if (jobs.has(invite.id)) return 200; // a repeated invite: respond as before, join once
  if (stopping.signal.aborted) return 503;
  const job = new SessionJob(invite);
  jobs.set(invite.id, job);
  job.done.then(() => setTimeout(() => jobs.delete(invite.id), REMEMBERED).unref());
  return 200;
}

const server = createServer({ requestTimeout: 10_000 }, async (request, response) => {
  const answer = (/** @type {number} */ status) => response.writeHead(status).end();
  try {
    const parts = [];
    let size = 0;
    for await (const part of request) {
      if ((size += part.length) > BODY_MAX) return answer(413);
      parts.push(part);
    }
    const body = Buffer.concat(parts).toString();
    answer(request.method === 'POST' ? await take(body, request.headers.authorization) : 405);
  } catch (error) {
    log('not_taken', { why: String(error) });
    answer(400);
  }
});

/** Retry until the manager is up. Throws if it refuses. */
async function register() {
  const metadata = { type: 'EXAMPLE', version: '1.0.0' };
  const entry = { service_id: SERVICE_ID, endpoint, ready_on: 'signal', metadata };
  for (let pause = 250; !stopping.signal.aborted; pause = Math.min(pause * 2, 5_000)) {
    const { status, text } = await callManager('POST', '/register', entry);
    if (status >= 200 && status < 300) return log('registered', { service_id: SERVICE_ID, endpoint });
    if (status === 401 || status === 403) throw new Error(`SESSION_MANAGER_API_KEY is not accepted: ${text}`);
    if (status >= 400 && status < 500 && status !== 429) throw new Error(`refused with ${status}: ${text}`);
    log('not_registered_yet', { why: text });
    await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {});
  }
}

/** @param {string} method @param {string} path @param {object} [body] */
async function callManager(method, path, body) {
  const proof = API_KEY && { Authorization: `Bearer ${API_KEY}` };
  const headers = { 'Content-Type': 'application/json', ...proof };
  const request = { method, headers, body: JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT) };
  return fetch(`${MANAGER}/api/v1/microservices${path}`, request)
    .then(async (answer) => ({ status: answer.status, text: await answer.text() }))
    .catch((error) => ({ status: 0, text: String(error.cause?.code ?? error) }));
}

/** Deregister, leave all rooms and exit. */
async function stop() {
  if (stopping.signal.aborted) return;
  stopping.abort();
  await registering;
  const instance = new URLSearchParams({ endpoint }); // not the one that may have taken its place
  const { status } = await callManager('DELETE', `/${encodeURIComponent(SERVICE_ID)}?${instance}`);
  log(status === 200 ? 'deregistered' : 'not_deregistered', { status });
  for (const job of jobs.values()) job.end('service_stopped');
  await Promise.race([Promise.all([...jobs.values()].map((job) => job.done)), sleep(GRACE)]);
  await dispose();
  process.exit();
}

await once(server.listen(PORT, HOST), 'listening');
const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
const endpoint = env.SERVICE_ENDPOINT || `http://${HOST}:${port}/`;
const registering = register().catch((error) => {
  log('not_registered', { why: String(error) });
  process.exitCode = 1;
  stop();
});
process.on('SIGINT', stop).on('SIGTERM', stop);
