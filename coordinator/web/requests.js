// What was asked: the history with its filter, and one request with everything that is known of it.

import * as api from "/web/api.js";
import { el, Rows, setText } from "/web/dom.js";
import { bytes, duration, printable, time } from "/web/format.js";
import { FINAL, newestRequests, noteRequest, requests, subscribe } from "/web/live.js";
import { errorNotice, progressBar, requestActions, requestRow, STATUS_WORDS, statusBadge } from "/web/parts.js";

const PAGE = 50;
const STATES = ["queued", "accepted", "running", "completed", "failed", "rejected", "cancelled", "expired"];

const filter = { status: "", client: "" }; // stays while one looks at a request and comes back

function passes(request, scope) {
  return (
    (!filter.status || request.status === filter.status) &&
    (!filter.client || request.clientId === filter.client) &&
    (!scope.batch || request.batchId === scope.batch)
  );
}

// A list of requests that grows downwards by pages of the history and upwards by events. scope: { batch }.
export function requestList(scope = {}) {
  const list = el("ul", { class: "cards" });
  const none = el("p", { class: "quiet-text" }, "Nothing here.");
  const more = el("button", { type: "button", hidden: true }, "Older ones");
  const problem = el("div");
  const rows = new Rows(list, (request) => requestRow(request));
  let limit = PAGE;
  let cursor = null; // of the next page; null: there is none
  let load = 0; // an answer to a question that was asked before the last one is not for us

  function show() {
    const all = newestRequests().filter((request) => passes(request, scope));
    rows.show(all.slice(0, limit), (request) => request.requestId);
    none.hidden = all.length > 0;
    more.hidden = cursor === null && all.length <= limit;
  }

  async function fetchPage() {
    const mine = ++load;
    try {
      const page = await api.requests({ ...filter, ...scope, limit: String(PAGE), cursor });
      if (mine !== load) return;
      cursor = page.nextCursor;
      page.downloads.reverse().forEach(noteRequest);
      problem.replaceChildren();
    } catch (error) {
      problem.replaceChildren(errorNotice(error));
    }
    show();
  }

  more.addEventListener("click", () => {
    limit += PAGE;
    if (cursor === null) show();
    else fetchPage();
  });
  fetchPage();
  return {
    node: el("div", {}, problem, list, none, more),
    show,
    restart() {
      limit = PAGE;
      cursor = null;
      show();
      fetchPage();
    },
  };
}

export function requestsView(view) {
  const list = requestList();
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
  return subscribe(list.show);
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

function factRows(request) {
  const seconds = (Date.parse(request.completedAt) - Date.parse(request.startedAt)) / 1000;
  return [
    ["Device", el("a", { href: `#/device/${request.clientId}` }, request.clientId)],
    ["File", printable(request.fileName)],
    ["Size", request.size === null ? "not known yet" : `${bytes(request.size)} (${request.size} bytes)`],
    ["SHA-256", request.sha256 ? el("code", {}, request.sha256) : null],
    ["Stored as", request.filePath ? printable(request.filePath) : null],
    ["Asked", `${time(request.createdAt)}${request.origin === "mqtt" ? ", by MQTT" : ""}`],
    ["Started", time(request.startedAt)],
    ["Completed", request.completedAt ? `${time(request.completedAt)}, in ${duration(seconds)}` : null],
    ["Removed", request.removedAt ? time(request.removedAt) : null],
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
  let shownAt = "";

  function show() {
    const request = requests.get(id);
    if (!request) return;
    for (const part of [badge, bar, actions]) part.update(request);
    setText(title, printable(request.fileName));
    setText(sentence, sentenceOf(request));
    sentence.classList.toggle("error", Boolean(request.error));
    const key = `${request.updatedAt} ${request.status} ${request.size} ${request.removedAt}`;
    if (key === shownAt) return;
    shownAt = key;
    table.replaceChildren(...factRows(request).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
    look(request.status);
  }

  let historyOf = "";
  async function look(status) {
    if (status && status === historyOf) return;
    historyOf = status ?? "";
    try {
      const request = await api.request(id);
      historyOf = request.status;
      steps.replaceChildren(...historyList(request.history ?? []));
      noteRequest(request);
      show();
    } catch (error) {
      problem.replaceChildren(errorNotice(error));
    }
  }

  view.append(
    el("nav", { class: "crumbs", "aria-label": "Where you are" }, el("a", { href: "#/requests" }, "Requests"), " / ", id),
    title, problem,
    el("div", { class: "panel" }, el("div", { class: "headline" }, badge.node, bar.node, actions.node), sentence, table),
    el("h2", {}, "History"), steps,
  );
  show();
  look();
  return subscribe(show);
}
