// What the page knows, kept up to date by the coordinator's events. Views subscribe and read; nothing else
// writes here.
//
// After a gap in the events nothing that was known before it counts: the lists, and what the shown view has asked
// for beyond them, are loaded anew, and the rest is forgotten. Where one gap follows another the lists of a moment ago
// are shown meanwhile.

import * as api from "/web/api.js";

const KEPT_REQUESTS = 2000; // in memory; older ones are asked for when somebody scrolls to them
const RATE_WINDOW_MS = 10000;
const IDLE_MS = 5000;
const PAINT_EVERY_MS = 250;
const TICK_MS = 2000;
const REPAINT_MS = 10000; // while nothing runs; "3 min ago" grows old too
const RETRY_MS = 5000;
const LOAD_EVERY_MS = 2000; // and no sooner, however many gaps there are
const PATIENCE_MS = 30000; // with a load that does not end, once there is a gap

export const clients = new Map();
export const requests = new Map(); // by requestId; newest first when listed
export const batches = new Map();
const progress = new Map(); // requestId => [{ at, bytes }], one for each time that there were more

const readers = new Set(); // { paint, read }
let report = () => {};
let paintTimer = 0;
let tickTimer = 0;
let paintedAt = 0;
let retryTimer = 0;
let reopenTimer = 0;
let source = null;
let opened = false; // the events flow
let resumable = false; // an event has come: after a broken connection the coordinator goes on behind it, or says that it can't
let loaded = false; // the lists are true
let failure = null; // why they could not be loaded
let loads = 0; // how often they were asked for
let loading = false; // they are on their way
let begunAt = -Infinity; // the last load
let loadTimer = 0; // the next one, if there was a gap since
const questions = new Set(); // for each that is on its way, the ids that were heard of since

export const FINAL = new Set(["completed", "failed", "rejected", "cancelled", "expired"]);

// paint runs at most a few times a second, however many events come. read, if there is one, asks for what the lists
// do not have: a promise of { requests, batches }. It is called now, and after each gap. Returns how to stop.
export function subscribe(paint, read = null) {
  const reader = { paint, read };
  readers.add(reader);
  if (read) look(read);
  return () => readers.delete(reader);
}

function changed() {
  paintTimer ||= setTimeout(() => {
    paintTimer = 0;
    paintedAt = performance.now();
    for (const { paint } of [...readers]) paint();
  }, PAINT_EVERY_MS);
}

// "" if the lists are true, or a sentence.
export function missing() {
  if (loaded) return "";
  return failure ? `The list could not be loaded: ${failure.message} Trying again…` : "Loading…";
}

function showState() {
  if (!opened) report("away");
  else if (loaded) report("live");
  else report(failure ? "failed" : "loading");
}

// --- how fast ---

function sample(request) {
  if (request.status !== "running" || request.bytesReceived === 0) {
    progress.delete(request.requestId);
    return;
  }
  const now = performance.now();
  let samples = progress.get(request.requestId) ?? [];
  if (samples.at(-1)?.bytes > request.bytesReceived) samples = []; // it has begun anew
  if (samples.at(-1)?.bytes !== request.bytesReceived) samples.push({ at: now, bytes: request.bytesReceived });
  while (samples.length > 2 && now - samples[0].at > RATE_WINDOW_MS) samples.shift();
  progress.set(request.requestId, samples);
}

// While the events did not flow nobody knows how fast it was.
function restartSamples() {
  const at = performance.now();
  for (const samples of progress.values()) samples.splice(0, samples.length, { at, bytes: samples.at(-1).bytes });
}

// { rate, left } in bytes a second and seconds (left: null if the size is not known); { idle }, for how many seconds
// nothing has come, if that is long; or null while there is nothing to tell.
export function speed(request) {
  const samples = progress.get(request.requestId);
  if (!samples || !opened || request.bytesReceived === request.size) return null;
  const now = performance.now();
  const first = samples[0];
  const last = samples.at(-1);
  const usual = samples.length > 1 ? (last.at - first.at) / (samples.length - 1) : 0;
  if (now - last.at > Math.max(IDLE_MS, 3 * usual)) return { idle: (now - last.at) / 1000 };
  if (samples.length < 2) return null;
  const rate = (1000 * (last.bytes - first.bytes)) / (now - first.at);
  return { rate, left: request.size === null ? null : (request.size - request.bytesReceived) / rate };
}

// --- what is told ---

function hear(id) {
  for (const heard of questions) heard.add(id);
}

export function noteRequest(request) {
  const known = requests.get(request.requestId);
  if (known && known.updatedAt > request.updatedAt) return;
  hear(request.requestId);
  requests.set(request.requestId, { ...known, ...request });
  sample(request);
  while (requests.size > KEPT_REQUESTS) {
    const [oldest] = requests.keys();
    requests.delete(oldest);
    progress.delete(oldest);
  }
  changed();
}

export function newestRequests() {
  return [...requests.values()].sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
}

function noteClient(client) {
  hear(client.id);
  clients.set(client.id, client);
  changed();
}

export function noteBatch(batch) {
  hear(batch.batchId);
  batches.set(batch.batchId, batch);
  changed();
}

// --- what is asked for ---

function retry() {
  retryTimer ||= setTimeout(load, RETRY_MS);
}

// What ask() finds, and a set of what was heard of meanwhile, which may be newer.
async function question(ask) {
  const heard = new Set();
  questions.add(heard);
  try {
    return { seen: await ask(), heard };
  } finally {
    questions.delete(heard);
  }
}

// Notes what read() finds. If it fails, everything is asked for again after a pause.
export async function look(read) {
  const then = loads;
  try {
    const { seen, heard } = await question(read);
    if (then !== loads) return; // it may be from before a gap
    for (const request of [...(seen.requests ?? [])].reverse()) if (!heard.has(request.requestId)) noteRequest(request);
    for (const batch of seen.batches ?? []) if (!heard.has(batch.batchId)) noteBatch(batch);
    changed();
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    if (then === loads && source) retry();
  }
}

// The list as it was when it was asked for, except for what has been heard since.
function replace(map, list, keyOf, heard) {
  const newer = [...map].filter(([key]) => heard.has(key));
  map.clear();
  for (const item of list) map.set(keyOf(item), item);
  for (const [key, item] of newer) map.set(key, item);
}

function askForAll() {
  const views = [...readers].filter(({ read }) => read).map(({ read }) => read());
  return Promise.all([api.clients(), api.requests({ limit: "100" }), api.batches(), ...views]);
}

async function loadNow() {
  loadTimer = 0;
  loading = true;
  begunAt = performance.now();
  const ours = ++loads;
  try {
    const { seen, heard } = await question(askForAll);
    if (ours !== loads) return; // logged out meanwhile
    const [seenClients, page, seenBatches, ...views] = seen;
    const rows = [...page.downloads, ...views.flatMap((view) => view.requests ?? [])].reverse();
    replace(clients, seenClients, (client) => client.id, heard);
    replace(requests, rows, (request) => request.requestId, heard);
    replace(batches, [...seenBatches, ...views.flatMap((view) => view.batches ?? [])], (batch) => batch.batchId, heard);
    for (const id of progress.keys()) if (!requests.has(id)) progress.delete(id);
    requests.forEach(sample);
    loaded = true;
    failure = null;
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    if (ours !== loads) return;
    failure = error;
    retry();
  } finally {
    if (ours === loads) loading = false;
  }
  if (loadTimer) load();
  showState();
  changed();
}

// A load that is under way may come to its end, or with one gap after another none ever would.
function load() {
  clearTimeout(retryTimer);
  clearTimeout(loadTimer);
  retryTimer = loadTimer = 0;
  const wait = begunAt + (loading ? PATIENCE_MS : LOAD_EVERY_MS) - performance.now();
  if (wait <= 0) loadNow();
  else loadTimer = setTimeout(loadNow, wait);
}

function loadAnew() {
  load();
  if (!loadTimer) {
    loaded = false;
    failure = null;
  }
  showState();
}

// --- the stream ---

const parse = (reader) => (event) => {
  resumable = true;
  reader(JSON.parse(event.data));
};

function open() {
  source?.close();
  const stream = (source = new EventSource("/events"));
  opened = resumable = false;
  stream.addEventListener("open", () => {
    opened = true;
    restartSamples();
    if (!resumable) loadAnew(); // only now: what happens from here on is told
    showState();
  });
  stream.addEventListener("client", parse(noteClient));
  stream.addEventListener("request", parse(noteRequest));
  stream.addEventListener("batch", parse(noteBatch));
  stream.addEventListener("reset", parse(loadAnew));
  stream.addEventListener("error", () => {
    opened = false;
    if (stream.readyState === EventSource.CLOSED) {
      loaded = false;
      reopenTimer = setTimeout(reopen, RETRY_MS);
    }
    if (!loaded) retry(); // better the lists of a moment ago than none
    showState();
    changed();
  });
}

// The browser connects again by itself after a broken connection, but not after an answer such as 502 or 401.
async function reopen() {
  const ours = source;
  try {
    await api.requests({ limit: "1" }); // tells whoever listens if we are logged out
    if (source === ours) open();
  } catch (error) {
    if (error.status !== 401 && source === ours) reopenTimer = setTimeout(reopen, RETRY_MS);
  }
}

function tick() {
  if (progress.size > 0 || performance.now() - paintedAt >= REPAINT_MS) changed();
}

// Opens the stream of events and loads the lists. onState hears "live"; "away": nothing is told; "loading"; or "failed":
// the lists could not be loaded, which is tried again.
export function start(onState) {
  stop();
  report = onState;
  open();
  showState();
  tickTimer = setInterval(tick, TICK_MS);
}

export function stop() {
  clearInterval(tickTimer);
  clearTimeout(retryTimer);
  clearTimeout(reopenTimer);
  clearTimeout(loadTimer);
  source?.close();
  source = failure = null;
  retryTimer = loadTimer = 0;
  begunAt = -Infinity;
  opened = loaded = loading = false;
  report = () => {};
  loads++;
  clients.clear();
  requests.clear();
  batches.clear();
  progress.clear();
}
