// Pieces that several views show.

import * as api from "/web/api.js";
import { el, setAttribute, setText, toast } from "/web/dom.js";
import { baseName, bytes, duration, printable, time } from "/web/format.js";
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

// What is said beside a request's bar: "12.3 MB of 80 MB, 4.1 MB/s, 16 s left".
export function progressText(request) {
  if (request.status === "queued") return "";
  const parts = [];
  if (request.size !== null)
    parts.push(FINAL.has(request.status) ? bytes(request.size) : `${bytes(request.bytesReceived)} of ${bytes(request.size)}`);
  const now = speed(request);
  if (now) parts.push(`${bytes(Math.round(now.rate))}/s`);
  if (now && now.left !== null) parts.push(`${duration(now.left)} left`);
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

// Does what a button says, keeps it from being pressed twice, and says what went wrong.
export function action(label, run, attributes = {}) {
  const button = el("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await run();
    } catch (error) {
      toast(error.message, true);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

export async function askAgain(request) {
  const answer = await api.ask({ clientId: request.clientId, fileName: request.fileName }, crypto.randomUUID());
  location.hash = `#/request/${answer.requestId}`;
}

export function downloadLink(request) {
  return el(
    "a",
    { class: "button primary", href: api.contentUrl(request.requestId), download: baseName(request.fileName) },
    "Download",
  );
}

async function remove(request) {
  if (window.confirm(`Remove ${printable(baseName(request.fileName))} of ${request.clientId} from the receiver? The device keeps its own.`))
    noteRequest(await api.remove(request.requestId));
}

// The buttons that make sense for a request as it is now, and for this session; made anew only when that changes.
export function requestActions() {
  const node = el("div", { class: "actions" });
  let shown = "";
  return {
    node,
    update(request) {
      const kind = `${request.status} ${request.cancelRequested} ${request.removedAt ?? ""}`;
      if (kind === shown) return;
      shown = kind;
      node.replaceChildren();
      const kept = request.status === "completed" && !request.removedAt;
      if (kept && may("pull")) node.append(downloadLink(request));
      if (!FINAL.has(request.status) && !request.cancelRequested && may("pull"))
        node.append(action("Cancel", async () => noteRequest(await api.cancel(request.requestId)), { class: "danger" }));
      if (FINAL.has(request.status) && may("pull")) node.append(action("Ask again", () => askAgain(request)));
      if (kept && may("admin")) node.append(action("Remove", () => remove(request), { class: "danger" }));
    },
  };
}

// One line of a list of requests.
export function requestRow(request, { withClient = true } = {}) {
  const badge = statusBadge();
  const bar = progressBar();
  const actions = requestActions();
  const problem = el("span", { class: "problem" });
  const node = el(
    "li",
    { class: "card request", "data-request": request.requestId },
    el(
      "div",
      { class: "what" },
      el("a", { class: "file", href: `#/request/${request.requestId}` }, printable(baseName(request.fileName))),
      request.fileName.includes("/") && el("span", { class: "path" }, printable(request.fileName)),
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
      setText(problem, now.error ? printable(now.error.message) : "");
    },
  };
}

export function errorNotice(error) {
  return el("p", { class: "notice error", role: "alert" }, printable(error.message));
}
