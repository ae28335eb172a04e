// What an empty panel says: why it is empty, and the command that fills it, to be copied.

import { el, plain } from "./dom.js";

/** A note with commands; each is shown whole and can be copied. */
export function emptyState(text, ...commands) {
  return el("div", { class: "empty" }, el("p", {}, text), ...commands.map(command));
}

/** Where this collector takes datagrams of a kind, or null when that listener is off. */
export function addressOf(overview, kind, scheme = "udp://") {
  const found = overview?.listeners.find((one) => one.kind === kind && one.address.startsWith(scheme));
  return found ? reachable(found.address) : null;
}

/** The host and port of a udp:// address, for programs that take them apart. */
export function hostAndPort(address) {
  const [, host, port] = /^udp:\/\/(.*):(\d+)$/.exec(address) ?? [null, "127.0.0.1", ""];
  return [host.replace(/^\[|\]$/g, ""), port];
}

/** An address to send to: one that means every interface is not one. */
function reachable(address) {
  return address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
}

function command(text) {
  const code = el("code", { tabindex: "0" }, plain(text));
  const button = el("button", { type: "button", "aria-label": `Copy: ${plain(text)}`, onclick: copy }, "Copy");
  return el("p", { class: "command" }, code, button);

  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
}
