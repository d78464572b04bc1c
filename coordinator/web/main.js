// Start, log-in, and which view is shown for which address.

import * as api from "/web/api.js";
import { batchesView, batchView } from "/web/batches.js";
import { devicesView, deviceView } from "/web/devices.js";
import { el, setText, toast } from "/web/dom.js";
import * as live from "/web/live.js";
import { setScope } from "/web/parts.js";
import { requestsView, requestView } from "/web/requests.js";

const view = document.getElementById("view");
const bar = document.getElementById("bar");
const liveMark = document.getElementById("live");

const ROUTES = [
  [/^#\/devices$/, devicesView],
  [/^#\/device\/([A-Za-z0-9._-]+)$/, deviceView],
  [/^#\/requests$/, requestsView],
  [/^#\/request\/([A-Za-z0-9_-]+)$/, requestView],
  [/^#\/batches$/, batchesView],
  [/^#\/batch\/([A-Za-z0-9_-]+)$/, batchView],
];

let leave = () => {};
let loggedIn = false;

function clear() {
  leave();
  leave = () => {};
  view.replaceChildren();
}

function markNavigation() {
  const section = location.hash.replace(/^#\/(device|request|batch)(e?s)?\b.*/, "$1");
  for (const link of bar.querySelectorAll("nav a"))
    if (link.hash.startsWith(`#/${section}`)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
}

// Whoever reads by ear or walks by keyboard is where the page is.
function focusHeading() {
  const heading = view.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  heading?.focus({ preventScroll: true });
}

function route() {
  if (!loggedIn) return;
  clear();
  for (const [pattern, show] of ROUTES) {
    const match = pattern.exec(location.hash);
    if (!match) continue;
    leave = show(view, ...match.slice(1)) ?? (() => {});
    markNavigation();
    document.title = `${view.querySelector("h1")?.textContent ?? ""} · Beckon`;
    window.scrollTo(0, 0);
    return;
  }
  history.replaceState(null, "", "#/devices");
  route();
}

const LIVE_WORDS = { live: "live", loading: "loading…", away: "connecting again…", failed: "could not load, trying again…" };

function showLive(state) {
  setText(liveMark, LIVE_WORDS[state]);
  liveMark.dataset.state = state;
}

function enter(session) {
  loggedIn = true;
  bar.hidden = false;
  setScope(session.scope);
  setText(document.getElementById("user"), session.user || "shared token");
  live.start(showLive);
  route();
}

function logInView(error) {
  loggedIn = false;
  live.stop();
  clear();
  bar.hidden = true;
  document.title = "Beckon";
  const token = el("input", { type: "password", id: "token", required: true, autocomplete: "current-password", spellcheck: "false" });
  const problem = el("p", { class: "notice error", role: "alert", hidden: !error }, error ?? "");
  view.append(
    el(
      "form",
      {
        class: "login",
        async onsubmit(event) {
          event.preventDefault();
          try {
            const session = await api.logIn(token.value.trim());
            enter(session);
            focusHeading();
          } catch (failure) {
            problem.hidden = false;
            setText(problem, failure.message);
            token.select();
          }
        },
      },
      el("img", { src: "/web/icon.svg", alt: "", width: "56", height: "56" }),
      el("h1", {}, "Beckon"),
      el("input", { type: "text", autocomplete: "username", value: "beckon", hidden: true }), // for password managers
      el("label", { for: "token" }, "Your token"),
      token,
      el("button", { class: "primary" }, "Log in"),
      problem,
      el("p", { class: "quiet-text" }, "An administrator makes one with ", el("code", {}, "beckon token create"), "."),
    ),
  );
  token.focus();
}

// "/" goes to the search, Escape up one level.
function onKey(event) {
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = view.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  } else if (event.key === "Escape") {
    if (typing) typing.blur();
    else view.querySelector(".crumbs a")?.click();
  }
}

document.getElementById("logout").addEventListener("click", async () => {
  try {
    await api.logOut();
    logInView();
  } catch (error) {
    toast(`You are still logged in. ${error.message}`, true); // only the coordinator can take the cookie back
  }
});
document.addEventListener("keydown", onKey);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part behind # is the route's
  view.focus();
});
window.addEventListener("hashchange", () => {
  route();
  if (loggedIn) focusHeading();
});
api.whenLoggedOut(() => loggedIn && logInView("Your session has ended. Log in again."));
api.session().then(
  (session) => (session.loggedIn ? enter(session) : logInView()),
  (error) => logInView(error.message),
);
