// Light, dark, or as the system says.

import { byId } from "./dom.js";
import { readChoice, writeChoice } from "./storage.js";

/** Applies the choice made earlier, and every later one. */
export function startTheme() {
  const select = byId("theme");
  const chosen = readChoice("theme", "auto");
  select.value = ["light", "dark"].includes(chosen) ? chosen : "auto";
  apply(select.value);
  select.addEventListener("change", () => {
    writeChoice("theme", select.value);
    apply(select.value);
  });
}

function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}
