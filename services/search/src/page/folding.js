// The choice whether a search folds copies into one hit.

import { openAddress } from "./address.js";
import { el } from "./dom.js";
import { changeSetting, onSettingChange, settings } from "./settings.js";

// Services without folding have no cursor in the answer to a search.
export function foldToggle(state, answer) {
  if (answer.cursor === undefined) return null;
  return el("label", { class: "toggle" },
    el("input", { type: "checkbox", checked: settings.fold !== "none", onchange: (event) => changeSetting("fold", event.currentTarget.checked ? "near" : "none") }),
    el("span", {}, "Fold copies"));
}

export function startFolding() {
  onSettingChange((name) => {
    if (name === "fold" && /^#\/(like|picture|find)/.test(location.hash)) openAddress(location.hash);
  });
}
