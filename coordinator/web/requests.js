// What was asked: the history with its filter, and one request with everything that is known of it.

import * as api from "/web/api.js";
import { el, Rows, setText } from "/web/dom.js";
import { bytes, duration, pathText, printable, time } from "/web/format.js";
import { FINAL, look, newestRequests, requests, subscribe } from "/web/live.js";
import { busy, explained, progressBar, requestActions, requestRow, STATUS_WORDS, statusBadge } from "/web/parts.js";

const PAGE = 50;
const PAGE_MAX = 500; // the coordinator's
const STATES = ["queued", "accepted", "running", "completed", "failed", "rejected", "cancelled", "expired"];

const filter = { status: "", client: "" }; // of the view of all requests; stays while one looks at one and comes back

function passes(request, wanted) {
  return (
    (!wanted.status || request.status === wanted.status) &&
    (!wanted.client || request.clientId === wanted.client) &&
    (!wanted.batch || request.batchId === wanted.batch)
  );
}

// A list of requests that grows downwards by pages of the history and upwards by events. wanted: { status, client, batch },
// looked at each time. Whoever shows it subscribes show and read.
export function requestList(wanted, { empty = "Nothing here.", ...options } = {}) {
  const list = el("ul", { class: "cards" });
  const none = el("p", { class: "quiet-text" }, empty);
  const more = el("button", { type: "button", hidden: true }, "Older ones");
  const problem = el("div");
  const rows = new Rows(list, (request) => requestRow(request, options));
  let limit = PAGE;
  let cursor = null; // of the next page; null: there is none
  let answered = false;
  let asked = 0; // an answer to a question that was asked before the last one is not for us

  function show() {
    const all = newestRequests().filter((request) => passes(request, wanted));
    rows.show(all.slice(0, limit), (request) => request.requestId);
    none.hidden = !answered || all.length > 0;
    more.hidden = cursor === null && all.length <= limit;
  }

  // count rows from the cursor on.
  async function pages(from, count) {
    const mine = ++asked;
    const found = [];
    let next = from;
    do {
      const size = Math.min(count - found.length, PAGE_MAX);
      const page = await api.requests({ ...wanted, limit: String(size), cursor: next });
      found.push(...page.downloads);
      next = page.nextCursor;
    } while (next !== null && found.length < count);
    if (mine !== asked) return {};
    cursor = next;
    answered = true;
    return { requests: found };
  }

  const read = () => explained(problem, () => pages(null, limit));

  function older() {
    limit += PAGE;
    show();
    if (!answered) return look(read);
    return cursor === null ? null : look(() => explained(problem, () => pages(cursor, PAGE)));
  }

  more.addEventListener("click", () => busy(more, older));
  return {
    node: el("div", {}, problem, list, none, more),
    show,
    read,
    restart() {
      limit = PAGE;
      cursor = null;
      answered = false;
      show();
      look(read);
    },
  };
}

export function requestsView(view) {
  const list = requestList(filter);
  const status = el(
    "select", { id: "status", "aria-label": "Status" },
    el("option", { value: "" }, "every status"),
    STATES.map((state) => el("option", { value: state, selected: state === filter.status }, state)),
  );
  const client = el("input", {
    type: "search", id: "client", value: filter.client, placeholder: "device", "aria-label": "Device", autocomplete: "off",
  });

  status.addEventListener("change", () => {
    filter.status = status.value;
    list.restart();
  });
  client.addEventListener("change", () => {
    filter.client = client.value.trim();
    list.restart();
  });
  view.append(el("h1", {}, "Requests"), el("div", { class: "tools" }, status, client), list.node);
  return subscribe(list.show, list.read);
}

const SENTENCES = {
  queued: "The device is offline or has not answered yet. The request waits for it and starts by itself.",
  accepted: "The device has agreed and will start as soon as it has a free place.",
  running: "The file is being sent. After a broken connection it goes on where it was.",
  completed: "The file is here, whole: its digest was computed on the device and again on arrival.",
};

function sentenceOf(request) {
  if (request.error) return printable(request.error.message);
  if (request.removedAt) return "The file was complete and verified, and has been removed from the receiver since. The device may still have it: ask again.";
  return SENTENCES[request.status] ?? STATUS_WORDS[request.status];
}

function limitsText(request) {
  const limits = [];
  if (request.maxSize !== null) limits.push(`not above ${bytes(request.maxSize)}`);
  if (request.rate !== null) limits.push(`at most ${bytes(request.rate)}/s`);
  if (request.receiver !== null) limits.push(`to its receiver ${printable(request.receiver)}`);
  return limits.join(", ");
}

function factRows(request) {
  const seconds = (Date.parse(request.completedAt) - Date.parse(request.startedAt)) / 1000;
  return [
    ["Device", el("a", { href: `#/device/${request.clientId}` }, request.clientId)],
    ["File", pathText(request.fileName)],
    ["Size", request.size === null ? !FINAL.has(request.status) && "not known yet" : `${bytes(request.size)} (${request.size} bytes)`],
    ["SHA-256", request.sha256 ? el("code", {}, request.sha256) : null],
    ["Stored as", request.filePath ? printable(request.filePath) : null],
    ["Asked", `${time(request.createdAt)}${request.origin === "mqtt" ? ", by MQTT" : ""}`],
    ["Started", time(request.startedAt)],
    ["Completed", request.completedAt ? `${time(request.completedAt)}, in ${duration(seconds)}` : null],
    ["Removed", request.removedAt ? time(request.removedAt) : null],
    ["Limits", limitsText(request)],
    ["Waits until", FINAL.has(request.status) ? null : time(request.expiresAt)],
    ["Batch", request.batchId ? el("a", { href: `#/batch/${request.batchId}` }, request.batchId) : null],
    ["Id", el("code", {}, request.requestId)],
  ].filter(([, value]) => value);
}

function historyList(history) {
  return history.map((step) =>
    el("li", {}, el("time", { datetime: step.at }, time(step.at)), ` ${step.event}`, step.reason ? ` (${printable(step.reason)})` : ""),
  );
}

export function requestView(view, id) {
  const title = el("h1", {}, id);
  const badge = statusBadge();
  const bar = progressBar();
  const actions = requestActions();
  const sentence = el("p", { class: "sentence" });
  const table = el("dl", { class: "facts" });
  const steps = el("ol", { class: "history" });
  const problem = el("div");
  const panel = el("div", { class: "panel", hidden: true }, el("div", { class: "headline" }, badge.node, bar.node, actions.node), sentence, table);
  let shownAt = "";
  let historyOf = ""; // the status that the history ends with

  function show() {
    const request = requests.get(id);
    if (!request) return;
    panel.hidden = false;
    for (const part of [badge, bar, actions]) part.update(request);
    setText(title, pathText(request.fileName));
    setText(sentence, sentenceOf(request));
    sentence.classList.toggle("error", Boolean(request.error));
    const key = `${request.updatedAt} ${request.status} ${request.size} ${request.removedAt}`;
    if (key === shownAt) return;
    shownAt = key;
    table.replaceChildren(...factRows(request).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    if (request.status === historyOf) return;
    historyOf = request.status;
    look(read);
  }

  let asked = 0;
  async function fetchIt() {
    const mine = ++asked;
    try {
      const request = await api.request(id);
      if (mine !== asked) return {};
      historyOf = request.status;
      steps.replaceChildren(...historyList(request.history));
      return { requests: [request] };
    } catch (error) {
      if (error.status === 404) panel.hidden = true; // it may have been forgotten since
      throw error;
    }
  }

  const read = () => explained(problem, fetchIt);

  view.append(
    el("nav", { class: "crumbs", "aria-label": "Where you are" }, el("a", { href: "#/requests" }, "Requests"), " / ", id),
    title, problem, panel, el("h2", {}, "History"), steps,
  );
  historyOf = requests.get(id)?.status ?? "";
  show();
  return subscribe(show, read);
}
