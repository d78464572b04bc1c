// What the page knows, kept up to date by the coordinator's events. Views subscribe and read; nothing else
// writes here.

import * as api from "/web/api.js";

const KEPT_REQUESTS = 2000; // in memory; older ones are asked for when somebody scrolls to them
const RATE_WINDOW_MS = 10000;
const PAINT_EVERY_MS = 250;
const REOPEN_MS = 5000;

export const clients = new Map();
export const requests = new Map(); // by requestId; newest first when listed
export const batches = new Map();
const progress = new Map(); // requestId => [{ at, bytes }]

const readers = new Set();
let paintTimer = 0;
let reopenTimer = 0;
let source = null;
let told = null; // ids of devices and batches that events have told of while the lists are on their way

export const FINAL = new Set(["completed", "failed", "rejected", "cancelled", "expired"]);

// callback runs at most a few times a second, however many events come. Returns how to stop.
export function subscribe(callback) {
  readers.add(callback);
  return () => readers.delete(callback);
}

function changed() {
  paintTimer ||= setTimeout(() => {
    paintTimer = 0;
    for (const reader of [...readers]) reader();
  }, PAINT_EVERY_MS);
}

export function noteRequest(request) {
  const known = requests.get(request.requestId);
  if (known && known.updatedAt > request.updatedAt) return;
  requests.set(request.requestId, { ...known, ...request });
  if (FINAL.has(request.status)) {
    progress.delete(request.requestId);
  } else if (request.bytesReceived > 0) {
    const samples = progress.get(request.requestId) ?? [];
    const now = performance.now();
    samples.push({ at: now, bytes: request.bytesReceived });
    while (samples.length > 2 && now - samples[0].at > RATE_WINDOW_MS) samples.shift();
    progress.set(request.requestId, samples);
  }
  while (requests.size > KEPT_REQUESTS) requests.delete(requests.keys().next().value);
  changed();
}

// { rate, left } in bytes a second and seconds, or null while there is nothing to tell.
export function speed(request) {
  const samples = progress.get(request.requestId);
  if (!samples || samples.length < 2) return null;
  const first = samples[0];
  const last = samples[samples.length - 1];
  const seconds = (last.at - first.at) / 1000;
  const rate = seconds > 0 ? (last.bytes - first.bytes) / seconds : 0;
  if (rate <= 0) return null;
  return { rate, left: request.size === null ? null : (request.size - request.bytesReceived) / rate };
}

export function newestRequests() {
  return [...requests.values()].sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
}

function noteClient(client) {
  told?.add(client.id);
  clients.set(client.id, client);
  changed();
}

export function noteBatch(batch) {
  told?.add(batch.batchId);
  batches.set(batch.batchId, batch);
  changed();
}

// The list as it was when it was asked for, except for what has been heard since.
function replace(map, list, keyOf, heard) {
  for (const key of [...map.keys()]) if (!heard.has(key)) map.delete(key);
  for (const item of list) if (!heard.has(keyOf(item))) map.set(keyOf(item), item);
}

async function load() {
  const heard = (told = new Set());
  const [seenClients, page, seenBatches] = await Promise.all([
    api.clients(),
    api.requests({ limit: "100" }),
    api.batches(),
  ]);
  if (told !== heard) return; // logged out meanwhile, or asked again
  told = null;
  replace(clients, seenClients, (client) => client.id, heard);
  for (const request of [...page.downloads].reverse()) noteRequest(request);
  replace(batches, seenBatches, (batch) => batch.batchId, heard);
  changed();
}

const parse = (reader) => (event) => reader(JSON.parse(event.data));

function open(onState) {
  source?.close();
  source = new EventSource("/events");
  source.addEventListener("open", () => onState("live"));
  source.addEventListener("client", parse(noteClient));
  source.addEventListener("request", parse(noteRequest));
  source.addEventListener("batch", parse(noteBatch));
  source.addEventListener("reset", () => load().catch(() => onState("away")));
  source.addEventListener("error", () => {
    onState("away");
    if (source?.readyState === EventSource.CLOSED) reopenTimer = setTimeout(() => reopen(onState), REOPEN_MS);
  });
}

// The browser connects again by itself after a broken connection, but not after an answer such as 502 or 401.
async function reopen(onState) {
  let ours = source;
  try {
    await api.clients(); // tells whoever listens if we are logged out
    if (source !== ours) return;
    open(onState);
    ours = source;
    await load();
  } catch (error) {
    if (error.status !== 401 && source === ours) reopenTimer = setTimeout(() => reopen(onState), REOPEN_MS);
  }
}

// Opens the stream of events, then loads the lists: what happens in between is not missed. onState hears
// "live" or "away".
export async function start(onState) {
  stop();
  open(onState);
  await load();
}

export function stop() {
  clearTimeout(reopenTimer);
  source?.close();
  source = told = null;
  clients.clear();
  requests.clear();
  batches.clear();
  progress.clear();
}
