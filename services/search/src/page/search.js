// One view of pictures at a time: the library, or a search. Further pages are loaded while the person scrolls.

import { formatRegion, hasFilters, parseAddress, replaceState } from "./address.js";
import { post, request } from "./client.js";
import { combinedRequest, findProblem } from "./combined.js";
import { $, el } from "./dom.js";
import { filterText } from "./filters.js";
import { count, formatTook, number } from "./format.js";
import { query, showImageQuery, showQuery, showUploadedQuery, uploadedPicture } from "./query.js";
import { grid, isLoading, results, showImages, showMessage, showNothing, showProblem, showSkeletons } from "./results.js";
import { settings } from "./settings.js";

const HITS_PER_PAGE = 48;
const FIRST_PAGE = 60;
const IMAGES_PER_PAGE = 240;
// Below so many pictures, a library that grows is displayed again.
const SMALL_LIBRARY = 12;

// Increases with every view; responses to an older one are dropped.
let viewNumber = 0;
let abortController = null;
let cursor = null;
let isLoadingMore = false;
// Whether the library is displayed: the counters refresh an empty one once pictures arrive.
let isBrowsing = false;
let repeatView = () => {};

/* ---- views that Back shows again ---- */

const MAX_KEPT_VIEWS = 8;

// What was displayed, by the number of its step in the browser's history; the view that was left first comes first.
const keptViews = new Map();
// A reload forgets the views but not the numbers of the browser's history, so new numbers must differ from them.
let lastStep = Date.now();
let presentStep = null;
// How the displayed pages were loaded, and the uploaded picture at that time; null while there are none.
let pages = null;
// What the next view shows again.
let keptView = null;

// Keeps what is displayed; called before another address is shown.
export function keepView() {
  if (!pages || !grid.items.length) return;
  keptViews.set(presentStep, { ...pages, cursor, items: grid.items, title: $("results-title").textContent,
    summary: [...$("results-summary").cloneNode(true).childNodes], tools: $("results-tools").hidden ? [] : [...$("results-tools").childNodes],
    place: window.scrollY > 0 ? grid.scrollPlace : null, focusedId: grid.focusedId, query });
  if (keptViews.size > MAX_KEPT_VIEWS) keptViews.delete(keptViews.keys().next().value);
}

// Numbers the present step of the browser's history. Returns whether the view of that step is kept; it is shown next.
export function enterStep() {
  if (!history.state?.step) history.replaceState({ step: ++lastStep }, "");
  presentStep = history.state.step;
  keptView = keptViews.get(presentStep) ?? null;
  keptViews.delete(presentStep);
  // All uploaded pictures have the same address.
  if (parseAddress().picture && keptView?.uploaded !== uploadedPicture()) keptView = null;
  return keptView !== null;
}

// Called when the kept views may be out of date.
export function forgetViews() {
  keptViews.clear();
}

function showKept({ kept, isCurrent, signal }) {
  showImages(kept.items);
  $("results-title").textContent = kept.title;
  $("results-summary").replaceChildren(...kept.summary);
  showTools(kept.tools);
  if (kept.place) grid.scrollToPlace(kept.place);
  else window.scrollTo({ top: 0, behavior: "instant" });
  continuePages(isCurrent, signal, kept.fetchPage, kept.cursor);
}

// The focused card leaves the document together with its view, and the keys of the grid need a focus.
function focusCard({ kept, hadFocus }) {
  if (document.activeElement !== document.body || !(hadFocus || kept?.focusedId)) return;
  const at = grid.items.findIndex((image) => image.id === kept?.focusedId);
  grid.focusInPlace(at < 0 ? kept?.place?.at ?? 0 : at);
}

/* ---- views ---- */

// Starts a view and cancels the previous one. `repeat` runs it again.
export function startView(title, repeat) {
  abortController?.abort();
  abortController = new AbortController();
  cursor = null;
  isLoadingMore = false;
  isBrowsing = false;
  results.failed = false;
  results.loadMore = () => {};
  repeatView = repeat;
  pages = null;
  const kept = keptView;
  keptView = null;
  $("results-title").textContent = title;
  $("results-tools").hidden = true;
  viewNumber += 1;
  const started = viewNumber;
  return { isCurrent: () => started === viewNumber, signal: abortController.signal, kept, hadFocus: grid.focusedId !== null };
}

// Shows a list that has pages. `fetchPage` returns the items of a page and the cursor of the next one.
export async function showPages(view, fetchPage, { nothing = showNothing, onFirst = () => {} } = {}) {
  const { isCurrent, signal } = view;
  if (view.kept) {
    showKept(view);
    focusCard(view);
    return;
  }
  showSkeletons();
  try {
    let page = await fetchPage(null, signal);
    // A page may be empty although others follow.
    while (isCurrent() && page.images.length === 0 && page.cursor) page = await fetchPage(page.cursor, signal);
    if (!isCurrent()) return;
    if (page.images.length === 0) {
      nothing();
      return;
    }
    showImages(page.images);
    onFirst(page);
    continuePages(isCurrent, signal, fetchPage, page.cursor ?? null);
    focusCard(view);
  } catch (error) {
    if (error.name === "AbortError" || !isCurrent()) return;
    showProblem(error, () => repeatView());
  }
}

// Loads the pages after the displayed ones once they are needed.
function continuePages(isCurrent, signal, fetchPage, after) {
  cursor = after;
  pages = { fetchPage, uploaded: uploadedPicture() };
  results.loadMore = () => loadMore(isCurrent, signal, fetchPage);
  grid.resize();
}

async function loadMore(isCurrent, signal, fetchPage) {
  if (!cursor || isLoadingMore) return;
  isLoadingMore = true;
  $("loading-more").hidden = false;
  $("loading-more").replaceChildren("Loading …");
  try {
    const page = await fetchPage(cursor, signal);
    if (!isCurrent()) return;
    cursor = page.cursor ?? null;
    isLoadingMore = false;
    $("loading-more").hidden = true;
    showImages(page.images, { append: true });
  } catch (error) {
    if (error.name === "AbortError" || !isCurrent()) return;
    const again = el("button", { class: "button small", type: "button", onclick: () => { isLoadingMore = false; loadMore(isCurrent, signal, fetchPage); } }, "Load more");
    $("loading-more").replaceChildren(`${error.message} `, again);
  }
}

/* ---- the library ---- */

export function browse() {
  const state = parseAddress();
  const view = startView("From your library", browse);
  showQuery(null);
  isBrowsing = true;
  const filter = filterText(state);
  const fetchPage = (after, signal) => request("/v1/images", { signal, parameters: { limit: after ? IMAGES_PER_PAGE : FIRST_PAGE, filter, cursor: after } });
  const onFirst = (page) => {
    const all = page.cursor ? "Choose one to find similar pictures" : count(page.images.length, "picture");
    $("results-summary").textContent = hasFilters(state) && page.cursor ? "Filtered" : all;
    if (hasFilters(state) && page.cursor) countMatches(view, filter);
  };
  const isShown = showPages(view, fetchPage, { onFirst });
  // The view was left before its pictures were counted.
  if (view.kept && $("results-summary").textContent === "Filtered") countMatches(view, filter);
  return isShown;
}

async function countMatches({ isCurrent, signal }, filter) {
  try {
    const { total } = await request("/v1/facets", { signal, parameters: { fields: "library", limit: 1, filter } });
    if (isCurrent()) $("results-summary").textContent = `${number.format(total)} pictures`;
  } catch {
    // The number is only an addition.
  }
}

// Adds new pictures without a flash of placeholders.
async function refresh() {
  const started = viewNumber;
  try {
    const answer = await request("/v1/images", { parameters: { limit: FIRST_PAGE } });
    if (started === viewNumber && answer.images.length > grid.items.length) showImages(answer.images);
  } catch {
    // The next poll of the counters tries again.
  }
}

// Displays the first pictures of a library as soon as they are indexed.
export function showNewImages(indexed) {
  if (!isBrowsing || hasFilters(parseAddress())) return;
  const shown = grid.items.length;
  if (shown === 0) {
    if (!results.failed && indexed > 0 && !isLoading()) browse();
  } else if (shown < SMALL_LIBRARY && indexed > shown && !cursor) refresh();
}

// Called once the service is reachable again.
export function repeatFailedView() {
  if (results.failed) repeatView();
}

/* ---- searches ---- */

const group = () => settings.fold === "none" ? undefined : settings.fold;

// The parameters that all searches have; those of later versions are sent only when they are used.
function searchParameters(state, after) {
  return { limit: HITS_PER_PAGE, filter: filterText(state), cursor: after ?? undefined, group: group(), region: state.region ? formatRegion(state.region) : undefined };
}

function fetchHits(state, after, signal) {
  const parameters = searchParameters(state, after);
  if (state.more.length === 1 && !state.picture && !state.text && !state.less.length) {
    return request(`/v1/images/${state.more[0]}/similar`, { signal, parameters });
  }
  if (state.picture && !state.more.length && !state.text && !state.less.length) {
    const file = uploadedPicture();
    return request("/v1/search/image", { method: "POST", body: file, signal, parameters, headers: { "content-type": file.type || "application/octet-stream" } });
  }
  return searchCombined(state, after, signal);
}

async function searchCombined(state, after, signal) {
  const named = [...state.more, ...state.less];
  const body = { limit: HITS_PER_PAGE + (after ? 0 : named.length), cursor: after ?? undefined, group: group(), ...await combinedRequest(state) };
  const answer = await post("/v1/search", body, { signal });
  // The chips show the named pictures already. Scores of text and of several parts only rank: they are not displayed.
  const hits = answer.hits.filter((hit) => !named.includes(hit.id));
  return { ...answer, hits: hits.map((hit) => ({ ...hit, unscored: true })) };
}

function titleOf(state) {
  const isTextOnly = state.text && !state.picture && state.more.length === 0 && state.less.length === 0;
  if (isTextOnly) return `Pictures of “${state.text}”`;
  if (state.text || state.less.length || state.more.length + Number(state.picture) > 1) return "Pictures like these";
  const part = state.region ? "Pictures like this part" : "Pictures like this";
  return state.picture && !state.region ? "Pictures like yours" : part;
}

// A view that is left early still displays the query of the one before it.
const isQueryOf = ({ more, region }, image) => image?.id === more[0] && JSON.stringify(image.region) === JSON.stringify(region);

export function showSearch() {
  const state = parseAddress();
  // An uploaded picture has no address, so it is gone after a reload.
  if (state.picture && !uploadedPicture()) {
    replaceState({ ...state, picture: false, region: null });
    return;
  }
  const view = startView(titleOf(state), showSearch);
  if (!view.kept) window.scrollTo({ top: 0, behavior: "instant" });
  if (state.picture && !state.more.length && !state.text && !state.less.length) showUploadedQuery(state);
  else if (state.more.length === 1 && !state.text && !state.less.length && !state.picture) {
    // Shown at once, because a query that appears later moves the grid.
    if (isQueryOf(state, view.kept?.query)) showQuery(view.kept.query);
    else showImageQuery(state, view);
  } else showQuery(null, true);
  const problem = findProblem(state);
  if (problem) {
    showProblem(problem);
    return;
  }
  let shown = 0;
  // The nearest hits are on the first page, so its band is that of the search.
  let first = null;
  const fetchPage = async (after, signal) => {
    const answer = await fetchHits(state, after, signal);
    shown += answer.hits.length;
    first ??= answer;
    summarize(first, shown);
    return { ...answer, images: answer.hits };
  };
  const nothing = hasFilters(state) ? showNothing
    : () => showMessage("empty", "Nothing to compare with yet", el("p", {}, "There is no other picture in the index."));
  showPages(view, fetchPage, { nothing, onFirst: () => { summarize(first, shown); showSearchTools(state, first); } });
}

function summarize(answer, shown) {
  // For screen readers; in the grid, the divider says the same.
  const noMatch = el("span", { class: "visually-hidden" }, "Nothing here looks similar. ");
  $("results-summary").replaceChildren(answer.band === "no_match" ? noMatch : "", `${number.format(shown)} nearest · ${formatTook(answer.took_ms)}`);
}

let toolMakers = [];

// What can be done with a search: functions that get its state and its answer, and return a node or null.
export function setSearchTools(...makers) {
  toolMakers = makers;
}

function showSearchTools(state, answer) {
  showTools(toolMakers.map((make) => make(state, answer)).filter(Boolean));
}

function showTools(nodes) {
  $("results-tools").replaceChildren(...nodes);
  $("results-tools").hidden = nodes.length === 0;
}
