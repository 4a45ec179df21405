// Keys that work everywhere, and the list of all keys.

import { createSheet } from "./dialog.js";
import { $, el } from "./dom.js";
import { closeFacets } from "./facets.js";
import { clearSelection, hasSelection } from "./selection.js";

const KEYS = [
  ["Everywhere", [["?", "Show these keys"], ["/", "Describe a picture, or choose a filter"], ["Ctrl V", "Search by the picture in the clipboard"], ["g p", "The library"], ["g c", "Copies"], ["g s", "Saved searches"], ["Esc", "Close, or clear the selection"]]],
  ["Pictures", [["Arrow keys", "Move between pictures"], ["Enter", "Find similar pictures"], ["o", "Show the picture large"], ["x", "Select the picture; with Shift, all up to it"], ["b", "Move to the bar of selected pictures"], ["+ −", "More or less like the picture"]]],
  ["A large picture", [["← →", "The previous or the next picture"], ["s", "Find similar pictures"], ["c", "Compare with the picture that is searched by"], ["p", "Copy its path"], ["x", "Select it"]]],
];

let sheet = null;
let isAfterG = false;

function openShortcuts() {
  sheet ??= createSheet("shortcuts", "Keys", "narrow");
  sheet.body.replaceChildren(...KEYS.map(([title, keys]) => el("section", { class: "key-list" }, el("h3", {}, title),
    el("dl", {}, keys.flatMap(([key, text]) => [el("dt", {}, key.split(" ").map((part) => el("kbd", {}, part))), el("dd", {}, text)])))));
  sheet.dialog.showModal();
}

// Presses a button of the card that has the focus.
function pressOnCard(selector, event) {
  const pressed = document.activeElement?.closest(".card")?.querySelector(selector);
  pressed?.dispatchEvent(new MouseEvent("click", { shiftKey: event.shiftKey }));
  return Boolean(pressed);
}

function focusSearch() {
  const text = $("text-form").hidden ? $("filter-fields").querySelector("button:not([hidden])") : $("text-input");
  text?.focus();
}

const ACTIONS = {
  "?": openShortcuts,
  "/": focusSearch,
  o: (event) => pressOnCard(".large", event),
  x: (event) => pressOnCard(".select", event),
  X: (event) => pressOnCard(".select", event),
  // In the order of the Tab key, the bar follows a grid that grows while it is scrolled.
  b: () => $("selection").querySelector("button:not(:disabled)").focus(),
  "+": (event) => pressOnCard(".steer", event),
  "-": (event) => pressOnCard(".steer + .steer", event),
};

function goTo(key) {
  const view = { p: "", c: "duplicates", s: "saved" }[key];
  if (view === undefined || (view && $(`view-${view}`).hidden)) return;
  location.hash = `#/${view}`;
}

function handleKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select")) return;
  if (event.key === "Escape") {
    if (!closeFacets(true) && !document.querySelector("dialog[open]") && hasSelection()) clearSelection();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (isAfterG) goTo(event.key);
  const action = isAfterG ? null : ACTIONS[event.key];
  isAfterG = !isAfterG && event.key === "g";
  if (!action) return;
  event.preventDefault();
  action(event);
}

export function startShortcuts() {
  document.addEventListener("keydown", handleKey);
  $("open-shortcuts").addEventListener("click", openShortcuts);
}
