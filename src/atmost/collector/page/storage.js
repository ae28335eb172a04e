// What the reader chose, kept in this browser; where storage is forbidden, for this page only.

const PREFIX = "atmost.";

/** A choice made earlier, or `fallback`. */
export function readChoice(name, fallback) {
  try {
    return localStorage.getItem(PREFIX + name) ?? fallback;
  } catch {
    return fallback;
  }
}

/** Keeps a choice. */
export function writeChoice(name, text) {
  try {
    localStorage.setItem(PREFIX + name, text);
  } catch {
    // Full or forbidden: the choice lasts as long as the page.
  }
}
