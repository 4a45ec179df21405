// The grid of pictures, and the message that replaces it.

import { steer } from "./address.js";
import { $, el, icon, percentBar } from "./dom.js";
import { baseName, formatScore, sentence } from "./format.js";
import { copyPath, imageFolder, libraryRoots } from "./libraries.js";

// What is displayed now: the number of pictures, and whether an error message replaces them.
export const results = { count: 0, failed: false };

// Every image displayed so far, by id: the chips of a combined search show their names and thumbnails.
export const knownImages = new Map();

const BANDS = { same_picture: "Same picture", turned_copy: "Same picture, turned or mirrored", near_duplicate: "Near-duplicate", very_similar: "Very similar", similar: "Similar", no_match: "No good match" };

const OPEN_ICON = ["M14 4h6v6", "M20 4l-9 9", "M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5"];
const COPY_ICON = ["M9 9h11v11H9z", "M5 15H4V4h11v1"];

function scoreBar(score) {
  const percent = Math.max(0, Math.min(100, score * 100));
  return el("div", { class: "score" }, el("div", { class: "track", "aria-hidden": "true" }, percentBar(percent)), el("span", {}, formatScore(score)));
}

function steerButtons(image, name) {
  const button = (way, label, sign) => el("button", { class: "steer", type: "button", title: `${label} like this`, "aria-label": `${label} like ${name}`,
    onclick: () => steer(image.id, way) }, icon(sign), label);
  return el("div", { class: "steering" }, button("more", "More", ["M12 5v14", "M5 12h14"]), button("less", "Less", ["M5 12h14"]));
}

function card(image) {
  const name = baseName(image.path);
  const isHit = image.score !== undefined;
  const hasScore = isHit && !image.unscored;
  const band = BANDS[image.band] ?? null;
  const percent = hasScore ? `, ${Math.floor(image.score * 1000) / 10} % alike${band ? `: ${band.toLowerCase()}` : ""}` : "";
  const frame = el("span", { class: "frame" });
  frame.append(el("img", { src: image.thumbnail_url, alt: "", loading: "lazy", decoding: "async",
    onerror: () => frame.classList.add("unavailable") }));
  const link = el("a", { href: `#/like/${image.id}`, "aria-label": `Find pictures like ${name}${percent}` }, frame,
    hasScore ? scoreBar(image.score) : null,
    band ? el("span", { class: image.band === "no_match" ? "band none" : "band" }, band) : null,
    el("span", { class: "label", title: `${image.library}/${image.path}` }, el("span", {}, name),
      el("span", { class: "where" }, imageFolder(image))));
  const tools = el("div", { class: "tools" },
    el("a", { class: "tool", href: image.content_url, target: "_blank", rel: "noopener", title: "Open the original",
      "aria-label": `Open the original of ${name}` }, icon(OPEN_ICON)),
    el("button", { class: "tool", type: "button", title: "Copy the path", "aria-label": `Copy the path of ${name}`,
      onclick: () => copyPath(image) }, icon(COPY_ICON)));
  return el("li", { class: "card" }, link, tools, isHit ? steerButtons(image, name) : null);
}

// Separates similar pictures from those that are only the nearest ones.
function divider(isFirst) {
  return el("li", { class: "divider" }, isFirst ? "Nothing here looks similar. The nearest pictures:" : "The pictures below do not look similar");
}

export function showSkeletons(count) {
  const cards = Array.from({ length: count }, () => el("li", { class: "card skeleton", "aria-hidden": "true" }, el("span", { class: "frame" })));
  $("grid").replaceChildren(...cards);
  $("grid").setAttribute("aria-busy", "true");
  $("message").hidden = true;
  $("more").hidden = true;
  $("results-summary").textContent = "Searching …";
}

export const isLoading = () => $("grid").getAttribute("aria-busy") === "true";

export function showImages(images, { append = false } = {}) {
  const cards = images.map(card);
  for (const image of images) knownImages.set(image.id, image);
  const firstUnlike = images.findIndex((image) => image.band === "no_match");
  if (firstUnlike >= 0) cards.splice(firstUnlike, 0, divider(firstUnlike === 0));
  if (append) $("grid").append(...cards);
  else $("grid").replaceChildren(...cards);
  $("grid").removeAttribute("aria-busy");
  $("message").hidden = true;
  results.count = append ? results.count + images.length : images.length;
  results.failed = false;
}

export function showMessage(kind, title, ...parts) {
  $("grid").replaceChildren();
  $("grid").removeAttribute("aria-busy");
  $("more").hidden = true;
  $("message").className = `message ${kind}`;
  $("message").replaceChildren(el("h3", {}, title), ...parts.filter((part) => part !== null));
  $("message").hidden = false;
  $("results-summary").textContent = "";
  results.count = 0;
}

// Problems of the search itself: a retry would fail the same way.
const PERMANENT_CODES = new Set(["invalid_request", "invalid_parameter", "model_without_text", "cancels_out", "too_large", "not_an_image",
  "unsupported_format", "unsupported_feature", "empty", "too_many_pixels", "too_much_memory", "truncated", "corrupt"]);

export function showProblem(problem, retry) {
  results.failed = true;
  const isPermanent = PERMANENT_CODES.has(problem.code);
  if (isPermanent) $("results-title").textContent = "Nothing to show";
  showMessage("error", problem.title || "Something went wrong", el("p", {}, ...sentence(problem.message)),
    isPermanent ? null : el("button", { class: "button", type: "button", onclick: retry }, "Try again"),
    problem.requestId ? el("small", {}, `${problem.code ?? ""} · request ${problem.requestId}`) : null);
}

export function showEmptyLibrary() {
  const roots = libraryRoots().map((root) => el("p", {}, el("code", {}, root)));
  showMessage("empty", "No pictures in the index yet",
    el("p", {}, roots.length ? "Add pictures to this folder; they appear here within seconds:" : "Pictures appear here as soon as a watched folder contains some."),
    ...roots);
}
