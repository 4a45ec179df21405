// The grid of the present view, and the message that replaces it.

import { hasFilters, openState, parseAddress } from "./address.js";
import { imageCard } from "./card.js";
import { $, button, el } from "./dom.js";
import { sentence } from "./format.js";
import { CardGrid } from "./grid.js";
import { libraryRoots } from "./libraries.js";

// What is displayed now: whether an error message replaces the pictures, and how to load more.
export const results = { failed: false, loadMore: () => {} };

// Every image displayed so far, by id: the chips of a combined search show their names and thumbnails.
export const knownImages = new Map();
// A long session must not keep every image forever.
const MAX_KNOWN_IMAGES = 5000;

export let grid;

export function rememberImages(images) {
  for (const image of images) {
    if (knownImages.size >= MAX_KNOWN_IMAGES) knownImages.delete(knownImages.keys().next().value);
    knownImages.set(image.id, image);
  }
}

function emptyResults() {
  grid.show([]);
  $("groups").replaceChildren();
  $("grid").removeAttribute("aria-busy");
  $("message").hidden = true;
  $("loading-more").hidden = true;
}

export function showSkeletons() {
  emptyResults();
  const { columns, width } = CardGrid.place($("grid"));
  const cards = Array.from({ length: columns * Math.max(2, Math.round(window.innerHeight / (width + 80))) },
    () => el("li", { class: "skeleton", "aria-hidden": "true" }, el("span", { class: "frame" })));
  $("grid").replaceChildren(...cards);
  $("grid").dataset.columns = columns;
  $("grid").style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  $("grid").setAttribute("aria-busy", "true");
  $("results-summary").textContent = "Searching …";
}

export const isLoading = () => $("grid").getAttribute("aria-busy") === "true";

// Separates similar pictures from those that are only the nearest ones.
function findDivider(images, before) {
  const at = images.findIndex((image) => image.band === "no_match");
  if (at < 0) return null;
  return { at: before + at, text: before + at === 0 ? "Nothing here looks similar. The nearest pictures:" : "The pictures below do not look similar" };
}

export function showImages(images, { append = false } = {}) {
  rememberImages(images);
  if (!append) emptyResults();
  if (append) grid.append(images, findDivider(images, grid.items.length));
  else grid.show(images, findDivider(images, 0));
  results.failed = false;
}

export function showGroups(...nodes) {
  emptyResults();
  $("groups").replaceChildren(...nodes);
  results.failed = false;
}

export function showMessage(kind, title, ...parts) {
  emptyResults();
  $("message").className = `message ${kind}`;
  $("message").replaceChildren(el("h3", {}, title), ...parts.filter((part) => part !== null));
  $("message").hidden = false;
  $("results-summary").textContent = "";
}

// Problems of the search itself: a retry would fail the same way.
const PERMANENT_CODES = new Set(["invalid_request", "invalid_parameter", "model_without_text", "cancels_out", "too_large", "not_an_image",
  "unsupported_format", "unsupported_feature", "empty", "too_many_pixels", "too_much_memory", "truncated", "corrupt", "too_slow", "no_such_image", "no_such_route"]);

export function showProblem(problem, retry) {
  results.failed = true;
  const isPermanent = PERMANENT_CODES.has(problem.code);
  if (isPermanent) $("results-title").textContent = "Nothing to show";
  showMessage("error", problem.title || "Something went wrong", el("p", {}, ...sentence(problem.message)),
    isPermanent || !retry ? null : button("Try again", retry),
    problem.requestId ? el("small", {}, `${problem.code ?? ""} · request ${problem.requestId}`) : null);
}

export function clearFilters() {
  openState({ ...parseAddress(), filters: parseAddress("#/").filters });
}

// Why a list is empty: the filters, or the index.
export function showNothing() {
  if (hasFilters(parseAddress())) {
    showMessage("empty", "No picture matches these filters", el("p", {}, "Remove one of them, or all."), button("Clear the filters", clearFilters));
    return;
  }
  const roots = libraryRoots().map((root) => el("p", {}, el("code", {}, root)));
  showMessage("empty", "No pictures in the index yet",
    el("p", {}, roots.length ? "Add pictures to this folder; they appear here within seconds:" : "Pictures appear here as soon as a watched folder contains some."),
    ...roots);
}

export function startResults() {
  grid = new CardGrid($("grid"), imageCard, () => results.loadMore());
}
