// What happens to the index while the page is visible: a strip of newly indexed pictures, and events for other views.

import { apiUrl, request } from "./client.js";
import { openDetail } from "./detail.js";
import { $, button, el } from "./dom.js";
import { baseName, count } from "./format.js";
import { pictureStrip } from "./picture.js";
import { changeSetting, onSettingChange, settings } from "./settings.js";

const MAX_PICTURES = 16;
// During a scan there are hundreds of events per second; only the latest of each interval are displayed.
const MAX_NEW_PICTURES = 6;
const SHOW_INTERVAL_MS = 1000;
const MAX_RETRY_MS = 60e3;

let source = null;
let retryMs = 2000;
let waiting = [];
let pictures = [];
let indexed = 0;
let timer = 0;
const listeners = [];

// Calls `listener` with every event of a type while the page is visible.
export function onIndexEvent(type, listener) {
  listeners.push([type, listener]);
}

function connect() {
  const isWanted = !document.hidden;
  if (isWanted === Boolean(source)) return;
  if (!isWanted) {
    source.close();
    source = null;
    return;
  }
  source = new EventSource(apiUrl("/v1/events"));
  source.addEventListener("open", () => { retryMs = 2000; });
  source.addEventListener("error", reconnect);
  for (const type of ["indexed", "removed", "match", "dropped"]) source.addEventListener(type, (event) => handleEvent(type, JSON.parse(event.data)));
}

// Browsers reconnect by themselves, except after a response with an error.
function reconnect() {
  if (source?.readyState !== EventSource.CLOSED) return;
  source = null;
  setTimeout(connect, retryMs);
  retryMs = Math.min(MAX_RETRY_MS, retryMs * 2);
}

function handleEvent(type, event) {
  for (const [wanted, listener] of listeners) if (wanted === type) listener(event);
  if (type === "indexed") {
    indexed += 1;
    waiting = [event.id, ...waiting.filter((id) => id !== event.id)].slice(0, MAX_NEW_PICTURES);
  } else if (type === "removed") {
    waiting = waiting.filter((id) => id !== event.id);
    pictures = pictures.filter((image) => image.id !== event.id);
  }
  timer ||= setTimeout(showWaiting, SHOW_INTERVAL_MS);
}

async function showWaiting() {
  const ids = waiting;
  waiting = [];
  const images = settings.live === "on" ? await Promise.all(ids.map((id) => request(`/v1/images/${id}`).catch(() => null))) : [];
  timer = 0;
  pictures = [...images.filter(Boolean), ...pictures.filter((image) => !ids.includes(image.id))].slice(0, MAX_PICTURES);
  showStrip();
}

// Displayed above the library only: next to the results of a search, it would distract.
let isLibraryView = true;

export function showLiveStrip(isLibrary) {
  isLibraryView = isLibrary;
  showStrip();
}

function showStrip() {
  const isShown = isLibraryView && settings.live === "on" && pictures.length > 0;
  // Its first appearance must not shift what the person looks at.
  if (isShown && $("live").hidden && window.scrollY > 0) return;
  $("live").hidden = !isShown;
  if (!isShown) return;
  const focused = [...$("live").querySelectorAll("button")].indexOf(document.activeElement);
  const present = pictures;
  $("live").replaceChildren(
    el("div", { class: "live-head" }, el("h2", {}, "Just indexed"), el("span", { class: "quiet small" }, count(indexed, "picture")),
      button("Hide", () => changeSetting("live", "off"), { class: "link", title: "The settings show it again" })),
    pictureStrip(present, "Just indexed", (image) => ({ "aria-label": `Show ${baseName(image.path)} large`, title: `${image.library}/${image.path}`, onclick: () => openDetail(image, present) })));
  if (focused >= 0) $("live").querySelectorAll("button")[focused]?.focus();
}

export function startLive() {
  document.addEventListener("visibilitychange", connect);
  onSettingChange((name) => { if (name === "live") showStrip(); });
  connect();
}
