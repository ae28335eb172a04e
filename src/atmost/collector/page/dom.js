// Builds elements. Text from senders only ever becomes text nodes: nothing here, nor anywhere else in the page, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

// Control characters but newline and tab, direction overrides, and separators that browsers draw as nothing.
// A run of the same kind is one match, and becomes one element: a text of nothing else must not become a million of them.
const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]+/gu;

/** An element. Attributes whose name begins with "on" are listeners; false, null and undefined leave an attribute out. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A text for people: what could hide or reorder it stands there as an escape, marked as one. Newline and tab stay. */
export function visible(text) {
  const parts = document.createDocumentFragment();
  let from = 0;
  for (const found of text.matchAll(HARMFUL)) {
    parts.append(text.slice(from, found.index), escaped(found[0]));
    from = found.index + found[0].length;
  }
  parts.append(text.slice(from));
  return parts;
}

/** The same as a plain string on one line, for titles, labels and options. */
export function plain(text) {
  return text.replace(HARMFUL, escapesOf).replaceAll("\n", "\\n").replaceAll("\t", "\\t");
}

/** Sets an element's text only where it differs, so that a selection in it survives an update that changes nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replaces an element's children. */
export function replace(element, ...children) {
  element.replaceChildren(...children.filter((child) => child !== null));
}

/** Puts `nodes` into `parent` in this order, and moves only what stands elsewhere: focus and selections stay. */
export function arrange(parent, nodes) {
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function escapesOf(run) {
  return Array.from(run, escapeOf).join("");
}

function escapeOf(character) {
  const code = character.codePointAt(0);
  const digits = code.toString(16);
  if (code < 256) return `\\x${digits.padStart(2, "0")}`;
  return code > 0xffff ? `\\U${digits.padStart(8, "0")}` : `\\u${digits.padStart(4, "0")}`;
}

function escaped(run) {
  const first = run.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  const others = run.length > 1 ? ` and ${run.length - 1} more` : "";
  return el("span", { class: "escape", title: `U+${first}${others}` }, escapesOf(run));
}
