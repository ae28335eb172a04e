// The state of the connection, told once a change; while it is broken the page says that what it shows is old. Asks for the token.

import { byId, setText } from "./dom.js";
import { clock } from "./format.js";

let lastHeard = null;
let countdown = null;

/** Shows a state of the connection: connecting, live, or waiting {seconds, message}. */
export function showLink(state, { seconds, message } = {}) {
  clearInterval(countdown);
  document.documentElement.dataset.link = state;
  byId("link-retry").hidden = state !== "waiting";
  setText(byId("link-wait"), "");
  if (state === "live") {
    setText(byId("link-status"), "Live");
    byId("stale").hidden = true;
    document.documentElement.dataset.stale = "false";
    return;
  }
  if (state === "connecting") {
    if (lastHeard === null) setText(byId("link-status"), "Connecting");
    return;
  }
  setText(byId("link-status"), "Not connected");
  document.documentElement.dataset.stale = "true";
  const since = lastHeard === null ? "Start it with: atmost collect" : `This is its last answer, from ${clock(lastHeard)}.`;
  setText(byId("stale"), `${message} ${since}`);
  byId("stale").hidden = false;
  const until = performance.now() + seconds * 1000;
  const tick = () => setText(byId("link-wait"), `next try in ${Math.max(0, Math.ceil((until - performance.now()) / 1000))} s`);
  tick();
  countdown = setInterval(tick, 1000);
}

/** Remembers that the collector spoke, at its time. */
export function heard(time) {
  lastHeard = time;
}

/** Asks for the token until one is given. */
export function askToken(message) {
  const dialog = byId("token");
  setText(byId("token-note"), `${message} It is kept for this tab only.`);
  setText(byId("link-status"), "Token wanted");
  byId("token-text").value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    const submit = (event) => {
      event.preventDefault();
      const text = byId("token-text").value.trim();
      if (!text) return;
      byId("token-form").removeEventListener("submit", submit);
      dialog.close();
      resolve(text);
    };
    byId("token-form").addEventListener("submit", submit);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
  });
}
