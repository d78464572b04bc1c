// Many devices asked at once.

import * as api from "/web/api.js";
import { el, Rows, setAttribute, setText } from "/web/dom.js";
import { globMatches, printable, time } from "/web/format.js";
import { batches, clients, missing, noteBatch, subscribe } from "/web/live.js";
import { action, busy, errorNotice, explained, may, onlyLooking } from "/web/parts.js";
import { requestList } from "/web/requests.js";

const COUNTS = ["completed", "running", "queued", "unasked", "failed"];
const OVER = new Set(["done", "stopped", "cancelled"]);

// A bar of parts, one for each count, with the same said in words.
function countsBar() {
  const parts = Object.fromEntries(COUNTS.map((name) => [name, el("span", { "data-count": name })]));
  const bar = el("div", { class: "stack", role: "img" }, Object.values(parts));
  const words = el("p", { class: "figures" });
  return {
    node: el("div", {}, bar, words),
    update(batch) {
      const text = COUNTS.filter((name) => batch.counts[name] > 0).map((name) => `${batch.counts[name]} ${name}`).join(", ");
      for (const name of COUNTS) parts[name].style.setProperty("flex-grow", String(batch.counts[name]));
      setAttribute(bar, "aria-label", text);
      setText(words, `${text || "nobody asked yet"} of ${batch.matched}`);
    },
  };
}

function batchRow(batch) {
  const state = el("span", { class: "badge" });
  const bar = countsBar();
  const node = el(
    "li", { class: "card batch", "data-batch": batch.batchId },
    el("div", { class: "what" },
      el("a", { class: "file", href: `#/batch/${batch.batchId}` }, printable(batch.fileName)),
      el("span", { class: "from" }, batch.createdBy ?? "", el("time", { datetime: batch.createdAt }, time(batch.createdAt)))),
    el("div", { class: "state" }, state, bar.node),
  );
  return {
    node,
    update(now) {
      setText(state, now.state);
      setAttribute(state, "data-status", now.state);
      bar.update(now);
    },
  };
}

const KINDS = {
  pattern: { word: "names like", example: "restaurant_*" },
  label: { word: "with the label", example: "site=7" },
  all: { word: "all devices", example: "" },
};

function selection(kind, text) {
  if (kind === "all") return { all: true };
  if (kind === "pattern") return { clients: text.split(/[\s,]+/).filter(Boolean) };
  const [name, ...rest] = text.split("=");
  return { labels: { [name.trim()]: rest.join("=").trim() } };
}

function matched(wanted) {
  return [...clients.values()].filter(
    (client) =>
      wanted.all ||
      wanted.clients?.some((pattern) => globMatches(pattern, client.id)) ||
      (wanted.labels && Object.entries(wanted.labels).every(([name, value]) => client.labels?.[name] === value)),
  );
}

function batchForm() {
  const kind = el("select", { id: "kind", "aria-label": "Which devices" },
    Object.entries(KINDS).map(([value, { word }]) => el("option", { value }, word)));
  const text = el("input", { type: "text", id: "selector", required: true, "aria-label": "Names or label", autocomplete: "off", spellcheck: "false" });
  const path = el("input", { type: "text", id: "batch-path", required: true, placeholder: "/var/log/syslog", "aria-label": "File on each device",
    value: localStorage.getItem("beckon.path") ?? "", autocomplete: "off", spellcheck: "false" });
  const ramp = el("input", { type: "number", id: "ramp", min: "1", max: "1000", value: "50" });
  const failures = el("input", { type: "number", id: "max-failures", min: "1", placeholder: "never" });
  const button = el("button", { class: "primary" }, "Ask them");
  const answer = el("div", { "aria-live": "polite" });
  let key = crypto.randomUUID();

  function preview() {
    text.hidden = kind.value === "all";
    text.required = kind.value !== "all";
    text.placeholder = KINDS[kind.value].example;
    const known = text.hidden || text.value.trim() ? matched(selection(kind.value, text.value.trim())) : [];
    const up = known.filter((client) => client.online).length;
    setText(button, known.length ? `Ask ${known.length} device${known.length === 1 ? "" : "s"} (${up} online)` : "Ask them");
    key = crypto.randomUUID();
  }

  async function ask() {
    const wanted = { ...selection(kind.value, text.value.trim()), fileName: path.value, ramp: Number(ramp.value) };
    if (failures.value) wanted.maxFailures = Number(failures.value);
    const made = await api.ask(wanted, key);
    localStorage.setItem("beckon.path", path.value);
    noteBatch(await api.batch(made.batchId));
    location.hash = `#/batch/${made.batchId}`;
  }

  function submit(event) {
    event.preventDefault();
    answer.replaceChildren();
    busy(button, ask).catch((error) => answer.append(errorNotice(error)));
  }

  for (const input of [kind, text, path, ramp, failures]) input.addEventListener("input", preview);
  const form = el(
    "form", { class: "ask", onsubmit: submit },
    el("div", { class: "tools" }, kind, text),
    el("label", { for: "batch-path" }, "File on each device"),
    el("div", { class: "tools" }, path),
    el("div", { class: "tools" },
      el("label", { class: "check" }, "Ask at most", ramp, "a second"),
      el("label", { class: "check" }, "Stop after", failures, "failures"), button),
    answer,
  );
  preview();
  return form;
}

export function batchesView(view) {
  const list = el("ul", { class: "cards" });
  const none = el("p", { class: "quiet-text" });
  const rows = new Rows(list, batchRow);

  function show() {
    const all = [...batches.values()].sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
    rows.show(all.slice(0, 100), (batch) => batch.batchId);
    none.hidden = all.length > 0;
    setText(none, missing() || "No batch was made yet.");
  }
  view.append(el("h1", {}, "Batches"), el("p", {}, "Ask many devices for the same file. Those that are offline answer when they come back."),
    may("pull") ? batchForm() : onlyLooking(), el("h2", {}, "Before"), list, none);
  show();
  return subscribe(show);
}

export function batchView(view, id) {
  const title = el("h1", {}, id);
  const state = el("span", { class: "badge" });
  const bar = countsBar();
  const cancel = action("Cancel the rest", async () => noteBatch(await api.cancelBatch(id)), { class: "danger" });
  const list = requestList({ batch: id });
  const problem = el("div");

  function show() {
    const batch = batches.get(id);
    if (batch) {
      setText(title, printable(batch.fileName));
      setText(state, batch.state);
      setAttribute(state, "data-status", batch.state);
      bar.update(batch);
      cancel.hidden = OVER.has(batch.state) || !may("pull");
    }
    list.show();
  }

  const read = () =>
    explained(problem, async () => {
      const [batch, rows] = await Promise.all([api.batch(id), list.read()]);
      return { batches: [batch], ...rows };
    });

  view.append(
    el("nav", { class: "crumbs", "aria-label": "Where you are" }, el("a", { href: "#/batches" }, "Batches"), " / ", id),
    title, problem, el("div", { class: "panel" }, el("div", { class: "headline" }, state, cancel), bar.node),
    el("h2", {}, "Requests"), list.node,
  );
  show();
  return subscribe(show, read);
}
