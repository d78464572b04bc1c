// Pieces that several views show.

import * as api from "/web/api.js";
import { el, setAttribute, setText, toast } from "/web/dom.js";
import { baseName, bytes, duration, pathText, printable, time } from "/web/format.js";
import { FINAL, noteRequest, speed } from "/web/live.js";

let scopes = new Set();

// What the session's token is for ("read pull"); an administrator may do everything.
export function setScope(text) {
  scopes = new Set(text.split(" "));
}

export function may(scope) {
  return scopes.has("admin") || scopes.has(scope);
}

export function onlyLooking() {
  return el("p", { class: "quiet-text" }, "Your token is for looking only. Asking for files needs one with the scope “pull”.");
}

export const STATUS_WORDS = {
  queued: "waiting for the device",
  accepted: "accepted",
  running: "on its way",
  completed: "complete and verified",
  failed: "failed",
  rejected: "refused by the device",
  cancelled: "cancelled",
  expired: "not in time",
};

export function presence(client) {
  return client.online ? "online" : "offline";
}

export function labelText(labels) {
  return Object.entries(labels ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");
}

// What is said beside a request's bar: "12.3 MB of 80 MB, 4.1 MB/s, 16 s left", or "12.3 MB of 80 MB, no progress for 12 s".
export function progressText(request) {
  if (request.status === "queued") return "";
  const parts = [];
  if (request.size !== null)
    parts.push(FINAL.has(request.status) ? bytes(request.size) : `${bytes(request.bytesReceived)} of ${bytes(request.size)}`);
  const now = speed(request);
  if (now?.idle) parts.push(`no progress for ${duration(now.idle)}`);
  if (now?.rate) parts.push(`${bytes(Math.round(now.rate))}/s`);
  if (now?.rate && now.left !== null) parts.push(`${duration(now.left)} left`);
  if (request.removedAt) parts.push("removed since");
  return parts.join(", ");
}

export function statusBadge() {
  const node = el("span", { class: "badge" });
  return {
    node,
    update(request) {
      const asked = request.cancelRequested && !FINAL.has(request.status);
      setText(node, asked ? "cancelling" : request.status);
      setAttribute(node, "data-status", request.status);
      setAttribute(node, "title", STATUS_WORDS[request.status] ?? request.status);
    },
  };
}

export function progressBar() {
  const bar = el("progress", { max: "100", "aria-label": "Progress" });
  const text = el("span", { class: "figures" });
  const node = el("div", { class: "progress" }, bar, text);
  return {
    node,
    update(request) {
      const running = !FINAL.has(request.status) && request.size !== null && request.bytesReceived > 0;
      bar.hidden = !running;
      if (running) bar.value = request.size === 0 ? 100 : (100 * request.bytesReceived) / request.size;
      setText(text, progressText(request));
    },
  };
}

// Keeps a button from being pressed twice while run() runs, without taking the keyboard's place from it.
export async function busy(button, run) {
  const held = document.activeElement === button;
  button.disabled = true;
  try {
    await run();
  } finally {
    button.disabled = false;
    if (held && document.activeElement === document.body) button.focus();
  }
}

// Does what a button says, and says what went wrong.
export function action(label, run, attributes = {}) {
  const button = el("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", () => busy(button, run).catch((error) => toast(error.message, true)));
  return button;
}

// With the limits of the first time, but for how long it may wait: that was counted from then.
const ASKED_AGAIN = ["clientId", "fileName", "maxSize", "rate", "receiver"];

export async function askAgain(request) {
  const wanted = ASKED_AGAIN.filter((name) => request[name] !== null).map((name) => [name, request[name]]);
  const answer = await api.ask(Object.fromEntries(wanted), crypto.randomUUID());
  location.hash = `#/request/${answer.requestId}`;
}

// A link like any other, but for a plain click: that looks first whether it will work, and says why not.
export function downloadLink(request) {
  const link = el(
    "a",
    { class: "button primary", href: api.contentUrl(request.requestId), download: baseName(request.fileName) },
    "Download",
  );
  let looked = false;
  link.addEventListener("click", async (event) => {
    if (looked || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    try {
      await api.mayFetch(request.requestId);
    } catch (error) {
      toast(error.message, true);
      return;
    }
    looked = true;
    link.click();
    looked = false;
  });
  return link;
}

async function remove(request) {
  if (window.confirm(`Remove ${printable(baseName(request.fileName))} of ${request.clientId} from the receiver? The device keeps its own.`))
    noteRequest(await api.remove(request.requestId));
}

// The buttons that make sense for a request as it is now, and for this session; made anew only when that changes. In a
// list there is none that takes away what can't be had again.
export function requestActions({ inList = false } = {}) {
  const node = el("div", { class: "actions", tabindex: "-1" });
  let shown = "";
  return {
    node,
    update(request) {
      const kind = `${request.status} ${request.cancelRequested} ${request.removedAt ?? ""}`;
      if (kind === shown) return;
      shown = kind;
      const held = node.contains(document.activeElement);
      node.replaceChildren();
      const kept = request.status === "completed" && !request.removedAt;
      if (kept && may("pull")) node.append(downloadLink(request));
      if (!FINAL.has(request.status) && !request.cancelRequested && may("pull"))
        node.append(action("Cancel", async () => noteRequest(await api.cancel(request.requestId)), { class: "danger" }));
      if (FINAL.has(request.status) && request.fileName !== null && may("pull")) node.append(action("Ask again", () => askAgain(request)));
      if (kept && !inList && may("admin")) node.append(action("Remove", () => remove(request), { class: "danger" }));
      if (held) node.focus(); // not the next button: what is pressed twice must not do something else
    },
  };
}

// One line of a list of requests.
export function requestRow(request, { withClient = true } = {}) {
  const badge = statusBadge();
  const bar = progressBar();
  const actions = requestActions({ inList: true });
  const problem = el("span", { class: "problem" });
  const file = el("a", { class: "file", href: `#/request/${request.requestId}` });
  const path = el("span", { class: "path" });
  const node = el(
    "li",
    { class: "card request", "data-request": request.requestId },
    el(
      "div",
      { class: "what" },
      file, path,
      el("span", { class: "from" }, withClient ? el("a", { href: `#/device/${request.clientId}` }, request.clientId) : null,
        el("time", { datetime: request.createdAt }, time(request.createdAt))),
    ),
    el("div", { class: "state" }, badge.node, bar.node, problem),
    actions.node,
  );
  return {
    node,
    update(now) {
      for (const part of [badge, bar, actions]) part.update(now);
      setText(file, pathText(baseName(now.fileName)));
      path.hidden = !now.fileName?.includes("/");
      setText(path, printable(now.fileName));
      setText(problem, now.error ? printable(now.error.message) : "");
    },
  };
}

export function errorNotice(error) {
  return el("p", { class: "notice error", role: "alert" }, printable(error.message));
}

// For live.subscribe(): what ask() finds, and in place what went wrong. A refusal that stays is an answer too: nothing.
export async function explained(place, ask) {
  try {
    const found = await ask();
    place.replaceChildren();
    return found;
  } catch (error) {
    if (error instanceof api.ApiError) place.replaceChildren(errorNotice(error));
    if (error.status >= 400 && error.status < 500 && error.status !== 429) return {};
    throw error;
  }
}
