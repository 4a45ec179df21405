// One search at a time: the library, pictures like an image of the index, or pictures like an uploaded one.
// Searches of several parts are in combined.js.

import { openAddress } from "./address.js";
import { request } from "./client.js";
import { $, el, toast } from "./dom.js";
import { baseName, formatSize, number } from "./format.js";
import { openHistory } from "./history.js";
import { copyPath, imageFolder } from "./libraries.js";
import { isLoading, results, showEmptyLibrary, showImages, showMessage, showProblem, showSkeletons } from "./results.js";

export const MAX_HITS = 48;
const PAGE_SIZE = 60;
// Below so many pictures, a library that grows is displayed again.
const SMALL_LIBRARY = 12;

// Increases with every search; responses to an older one are dropped.
let searchNumber = 0;
let abortController = null;
let cursor = null;
// Whether the library is displayed: the counters refresh an empty one once pictures arrive.
let isBrowsing = false;
let repeatSearch = () => {};
let queryUrl = null;
let uploadedFile = null;

// Starts a search and cancels the previous one. `repeat` runs it again.
export function startSearch(title, repeat) {
  abortController?.abort();
  abortController = new AbortController();
  cursor = null;
  isBrowsing = false;
  results.failed = false;
  repeatSearch = repeat;
  $("results-title").textContent = title;
  searchNumber += 1;
  const started = searchNumber;
  return { isCurrent: () => started === searchNumber, signal: abortController.signal };
}

// Displays the picture that is searched by; without one, the invitation or, if `isSearch`, neither.
export function showQuery(image, isSearch = Boolean(image)) {
  if (queryUrl) URL.revokeObjectURL(queryUrl);
  queryUrl = image?.isObjectUrl ? image.src : null;
  $("query").hidden = !image;
  $("invite").hidden = isSearch;
  $("again").hidden = !isSearch;
  if (!image) {
    $("query-image").removeAttribute("src");
    return;
  }
  $("query-image").src = image.src;
  $("query-image").alt = `The picture searched by: ${image.name}`;
  $("query-name").textContent = image.name;
  $("query-links").replaceChildren(...(image.links ?? []));
}

export async function runSearch({ isCurrent, signal }, fetchAnswer) {
  try {
    const answer = await fetchAnswer(signal);
    if (!isCurrent()) return;
    if (answer.hits.length === 0) {
      showMessage("empty", "Nothing to compare with yet", el("p", {}, "There is no other picture in the index."));
      return;
    }
    showImages(answer.hits);
    const ms = answer.took_ms < 10 ? answer.took_ms.toFixed(1) : Math.round(answer.took_ms);
    const summary = `${number.format(answer.hits.length)} nearest · ${ms} ms`;
    // For screen readers; in the grid, the divider says the same.
    const noMatch = el("span", { class: "visually-hidden" }, "Nothing here looks similar. ");
    $("results-summary").replaceChildren(answer.band === "no_match" ? noMatch : "", summary);
  } catch (error) {
    if (error.name === "AbortError" || !isCurrent()) return;
    showProblem(error, () => repeatSearch());
  }
}

/* ---- the library ---- */

export async function browse() {
  const { isCurrent, signal } = startSearch("From your library", browse);
  showQuery(null);
  isBrowsing = true;
  showSkeletons(SMALL_LIBRARY);
  try {
    const answer = await request(`/v1/images?limit=${PAGE_SIZE}`, { signal });
    if (!isCurrent()) return;
    if (answer.images.length === 0) {
      showEmptyLibrary();
      return;
    }
    showImages(answer.images);
    endPage(answer);
  } catch (error) {
    if (error.name === "AbortError" || !isCurrent()) return;
    showProblem(error, () => repeatSearch());
  }
}

function endPage(answer) {
  cursor = answer.cursor ?? null;
  $("more").hidden = !cursor;
  $("results-summary").textContent = "Choose one to find similar pictures";
}

async function showMore() {
  const started = searchNumber;
  $("more").disabled = true;
  try {
    const answer = await request(`/v1/images?limit=${PAGE_SIZE}&cursor=${encodeURIComponent(cursor)}`, { signal: abortController.signal });
    if (started !== searchNumber) return;
    showImages(answer.images, { append: true });
    endPage(answer);
  } catch (error) {
    if (error.name !== "AbortError" && started === searchNumber) toast(error.message);
  } finally {
    $("more").disabled = false;
  }
}

// Adds new pictures without a flash of placeholders.
async function refresh() {
  const started = searchNumber;
  try {
    const answer = await request(`/v1/images?limit=${PAGE_SIZE}`);
    if (started !== searchNumber || !isBrowsing || answer.images.length <= results.count) return;
    showImages(answer.images);
    endPage(answer);
  } catch {
    // The next poll of the counters tries again.
  }
}

// Displays the first pictures of a library as soon as they are indexed.
export function showNewImages(indexed) {
  if (!isBrowsing) return;
  if (results.count === 0) {
    if (!results.failed && indexed > 0 && !isLoading()) browse();
  } else if (results.count < SMALL_LIBRARY && indexed > results.count && !cursor) refresh();
}

// Called once the service is reachable again.
export function repeatFailedSearch() {
  if (results.failed) repeatSearch();
}

/* ---- by one picture ---- */

export async function searchSimilar(id) {
  const search = startSearch("Pictures like this", () => searchSimilar(id));
  showSkeletons(SMALL_LIBRARY);
  window.scrollTo({ top: 0 });
  runSearch(search, (signal) => request(`/v1/images/${id}/similar?limit=${MAX_HITS}`, { signal }));
  try {
    const image = await request(`/v1/images/${id}`, { signal: search.signal });
    if (!search.isCurrent()) return;
    const name = baseName(image.path);
    showQuery({ src: image.thumbnail_url, name, links: [
      el("span", { class: "quiet" }, `${imageFolder(image)} · ${image.width}\u00a0×\u00a0${image.height}`),
      el("a", { href: image.content_url, target: "_blank", rel: "noopener" }, "Original"),
      el("button", { type: "button", onclick: () => copyPath(image) }, "Copy path"),
      el("button", { type: "button", onclick: () => openHistory(id, image.library, name) }, "History"),
    ] });
  } catch {
    // The search above reports the error; the previous picture must not stay.
    if (search.isCurrent()) showQuery(null, true);
  }
}

// The picture that was dropped, pasted or chosen last. It has no address, so a reload forgets it.
export const uploadedPicture = () => uploadedFile;

export function uploadPicture(file) {
  if (!file) return;
  uploadedFile = file;
  openAddress("#/picture");
}

export function searchUploaded() {
  if (!uploadedFile) {
    location.replace("#/");
    return;
  }
  const file = uploadedFile;
  const search = startSearch("Pictures like yours", searchUploaded);
  showQuery({ src: URL.createObjectURL(file), isObjectUrl: true, name: file.name && file.name !== "image.png" ? file.name : "Your picture",
    links: [el("span", { class: "quiet" }, formatSize(file.size))] });
  showSkeletons(SMALL_LIBRARY);
  window.scrollTo({ top: 0 });
  runSearch(search, (signal) => request(`/v1/search/image?limit=${MAX_HITS}`, {
    method: "POST", body: file, signal, headers: { "content-type": file.type || "application/octet-stream" } }));
}

export function startLibraryView() {
  $("again").addEventListener("click", () => { location.hash = "#/"; });
  $("more").addEventListener("click", showMore);
}
