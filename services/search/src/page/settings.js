// What a visitor may change. This browser remembers it.

import { createSheet } from "./dialog.js";
import { $, el } from "./dom.js";

const STORAGE_KEY = "lookalike";

// The first value of each setting is its default.
const CHOICES = {
  theme: { label: "Colours", values: { auto: "As the system", light: "Light", dark: "Dark" } },
  size: { label: "Pictures", values: { medium: "Medium", small: "Small", large: "Large" } },
  fold: { label: "Copies in searches", values: { none: "Show all", content: "Fold identical files", near: "Fold all copies" } },
  live: { label: "Newly indexed pictures", values: { on: "Show them above the library", off: "Hide" } },
};

export const settings = Object.fromEntries(Object.entries(CHOICES).map(([name, { values }]) => [name, Object.keys(values)[0]]));

const listeners = [];

// Calls `listener` with the name of each setting that changes.
export function onSettingChange(listener) {
  listeners.push(listener);
}

function loadSettings() {
  let stored;
  try {
    stored = JSON.parse(localStorage.getItem(STORAGE_KEY)) ?? {};
  } catch {
    stored = {};
  }
  for (const [name, { values }] of Object.entries(CHOICES)) if (Object.hasOwn(values, stored[name])) settings[name] = stored[name];
}

function applySettings() {
  document.documentElement.dataset.theme = settings.theme;
  document.documentElement.dataset.size = settings.size;
}

export function changeSetting(name, value) {
  settings[name] = value;
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(settings));
  } catch {
    // Without storage, the settings last until the page is closed.
  }
  applySettings();
  for (const listener of listeners) listener(name);
}

function choiceNode(name, { label, values }) {
  const option = ([value, text]) => el("label", { class: "option" },
    el("input", { type: "radio", name, value, checked: settings[name] === value, onchange: () => changeSetting(name, value) }), el("span", {}, text));
  return el("fieldset", { class: "choice" }, el("legend", {}, label), ...Object.entries(values).map(option));
}

export function startSettings() {
  loadSettings();
  applySettings();
  const { dialog, body } = createSheet("settings", "Settings", "narrow");
  $("open-settings").addEventListener("click", () => {
    body.replaceChildren(...Object.entries(CHOICES).map(([name, choice]) => choiceNode(name, choice)),
      el("p", { class: "quiet small" }, "Only this browser remembers these."));
    dialog.showModal();
  });
}
