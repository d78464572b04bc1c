// The list of devices, searched as one types; and one device: who it is, and what can be asked of it.

import * as api from "/web/api.js";
import { el, Rows, setAttribute, setText } from "/web/dom.js";
import { ago, printable, roughly } from "/web/format.js";
import { clients, missing, noteRequest, subscribe } from "/web/live.js";
import { busy, errorNotice, labelText, may, onlyLooking, presence } from "/web/parts.js";
import { requestList } from "/web/requests.js";

const SHOWN_AT_ONCE = 200; // a list that nobody reads to its end need not be laid out to its end
const PATH_KEY = "beckon.path"; // the path asked for last, per device and at all

let search = ""; // stays while one looks at a device and comes back
let onlyOnline = false;

function matches(client, words) {
  const text = `${client.id} ${labelText(client.labels)} ${client.version ?? ""}`.toLowerCase();
  return (!onlyOnline || client.online) && words.every((word) => text.includes(word));
}

function found() {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return [...clients.values()]
    .filter((client) => matches(client, words))
    .sort((a, b) => b.online - a.online || a.id.localeCompare(b.id, undefined, { numeric: true }));
}

// Heartbeats are no events: of a device that is online only the oldest time is known that its last one can have.
function heardText(client) {
  if (!client.lastHeartbeat) return "never heard";
  if (!client.online) return `heard ${ago(client.lastHeartbeat)}`;
  const seconds = (Date.now() - Date.parse(client.lastHeartbeat)) / 1000;
  return `heard in the last ${seconds < 60 ? "minute" : roughly(seconds)}`;
}

function deviceRow(client) {
  const dot = el("span", { class: "dot" });
  const state = el("span", { class: "quiet-text" });
  const labels = el("span", { class: "labels" });
  const node = el(
    "li",
    { class: "card device", "data-client": client.id },
    el("a", { href: `#/device/${client.id}` }, dot, el("strong", {}, client.id), labels, state),
  );
  return {
    node,
    update(now) {
      setAttribute(dot, "data-online", String(now.online));
      setText(labels, printable(labelText(now.labels)));
      setText(state, `${presence(now)}, ${printable(now.version) || "version unknown"}, ${heardText(now)}`);
    },
  };
}

export function devicesView(view) {
  const input = el("input", {
    type: "search", id: "search", value: search, placeholder: "Search: name, label, version", "aria-label": "Search devices",
    autocomplete: "off", spellcheck: "false",
  });
  const online = el("input", { type: "checkbox", id: "only-online", checked: onlyOnline });
  const count = el("p", { class: "quiet-text", role: "status" });
  const list = el("ul", { class: "cards" });
  const more = el("button", { type: "button", hidden: true }, "Show more");
  const rows = new Rows(list, deviceRow);
  let limit = SHOWN_AT_ONCE;

  function show() {
    const all = found();
    rows.show(all.slice(0, limit), (client) => client.id);
    more.hidden = all.length <= limit;
    const up = [...clients.values()].filter((client) => client.online).length;
    const seen = `${all.length} of ${clients.size} devices, ${up} online`;
    const why = missing();
    if (clients.size > 0) setText(count, why ? `${seen}. ${why}` : seen);
    else setText(count, why || "No device has ever been seen. Start an agent: it appears here by itself.");
  }
  input.addEventListener("input", () => {
    search = input.value;
    limit = SHOWN_AT_ONCE;
    show();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") list.querySelector("a")?.click();
  });
  online.addEventListener("change", () => {
    onlyOnline = online.checked;
    show();
  });
  more.addEventListener("click", () => {
    limit += SHOWN_AT_ONCE;
    show();
  });
  view.append(
    el("h1", {}, "Devices"),
    el("div", { class: "tools" }, input, el("label", { class: "check" }, online, "online only")),
    count, list, more,
  );
  show();
  return subscribe(show);
}

function rememberedPath(id) {
  return localStorage.getItem(`${PATH_KEY}.${id}`) ?? localStorage.getItem(PATH_KEY) ?? "";
}

function remember(id, path) {
  localStorage.setItem(`${PATH_KEY}.${id}`, path);
  localStorage.setItem(PATH_KEY, path);
}

function askForm(id) {
  const path = el("input", {
    type: "text", id: "path", value: rememberedPath(id), required: true, placeholder: "/var/log/syslog",
    autocomplete: "off", autocapitalize: "off", spellcheck: "false", maxlength: "4096",
  });
  const button = el("button", { class: "primary" }, "Ask for this file");
  const answer = el("div", { "aria-live": "polite" });
  let key = crypto.randomUUID();

  async function ask() {
    const made = await api.ask({ clientId: id, fileName: path.value }, key);
    remember(id, path.value);
    key = crypto.randomUUID();
    noteRequest(await api.request(made.requestId));
  }

  path.addEventListener("input", () => (key = crypto.randomUUID()));
  return el(
    "form",
    {
      class: "ask",
      onsubmit(event) {
        event.preventDefault();
        answer.replaceChildren();
        busy(button, ask).catch((error) => answer.append(errorNotice(error)));
      },
    },
    el("label", { for: "path" }, "File on the device"),
    el("div", { class: "tools" }, path, button),
    answer,
  );
}

function facts() {
  const online = el("dd");
  const since = el("dd");
  const heard = el("dd");
  const version = el("dd");
  const labels = el("dd");
  const node = el(
    "dl", { class: "facts" },
    el("dt", {}, "State"), online, el("dt", {}, "Connected"), since, el("dt", {}, "Last heartbeat"), heard,
    el("dt", {}, "Version"), version, el("dt", {}, "Labels"), labels,
  );
  return {
    node,
    update(client) {
      setText(online, presence(client));
      setText(since, ago(client.connectedAt));
      setText(heard, ago(client.lastHeartbeat));
      setText(version, printable(client.version) || "unknown");
      setText(labels, printable(labelText(client.labels)) || "none");
    },
  };
}

const LOOK_EVERY_MS = 5000; // heartbeats are no events: the one device that is looked at is asked about

export function deviceView(view, id) {
  const known = facts();
  const dot = el("span", { class: "dot" });
  const problem = el("div");
  const list = requestList({ client: id }, { withClient: false, empty: "Nothing was asked of this device yet." });
  let client = clients.get(id) ?? null;

  function show() {
    client = { ...client, ...clients.get(id), lastHeartbeat: client?.lastHeartbeat ?? clients.get(id)?.lastHeartbeat };
    if (client.id) known.update(client);
    setAttribute(dot, "data-online", String(Boolean(client.online)));
    list.show();
  }

  async function look() {
    try {
      client = await api.client(id);
      show();
    } catch (error) {
      if (error.status === 404) problem.replaceChildren(errorNotice(error));
    }
  }

  view.append(
    el("nav", { class: "crumbs", "aria-label": "Where you are" }, el("a", { href: "#/devices" }, "Devices"), " / ", id),
    el("h1", {}, dot, id), problem, known.node, may("pull") ? askForm(id) : onlyLooking(), el("h2", {}, "Requests"), list.node,
  );
  show();
  look();
  const timer = setInterval(look, LOOK_EVERY_MS);
  const unsubscribe = subscribe(show, list.read);
  return () => {
    clearInterval(timer);
    unsubscribe();
  };
}
