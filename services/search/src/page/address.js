// The address of what is displayed, in the fragment of the URL. Because each step has its own address, the Back button undoes it.
//
//   #/                                   the library
//   #/like/ID                            pictures like an image of the index
//   #/picture                            pictures like the uploaded one
//   #/find?text=…&picture=1&more=ID&less=ID  a combined search; any part may be missing
//   #/duplicates                         copies; kind=identical|near
//   #/saved, #/saved/ID                  saved searches, and the matches of one
//
// All of them accept filters (library=…&tag=…), and `open=ID` displays one picture large. Searches accept `region=x,y,width,height`.

import { $, toast } from "./dom.js";

// Ids in `more` and `less` together; the service accepts no more.
export const MAX_PARTS = 32;
const ID = /^[0-9a-f]{32}$/;
const ROUTE = /^#\/(?:(like|saved)\/([\w-]{1,64})|(picture|find|duplicates|saved))?(?:\?|$)/;

export const FILTER_FIELDS = ["library", "folder", "taken", "format", "camera", "color", "tag"];

const noFilters = () => Object.fromEntries(FILTER_FIELDS.map((field) => [field, []]));

// What the address describes. `wrong` has the ids that are malformed.
export function parseAddress(hash = location.hash) {
  const [, section, id, page] = ROUTE.exec(hash) ?? [];
  const parameters = new URLSearchParams(hash.split("?").slice(1).join("?"));
  const state = { view: "library", text: "", picture: false, more: [], less: [], wrong: [], region: null, kind: null, saved: null, open: null, filters: noFilters() };
  const ids = (name) => {
    const given = parameters.getAll(name).map((value) => value.toLowerCase());
    state.wrong.push(...given.filter((value) => !ID.test(value)));
    return [...new Set(given.filter((value) => ID.test(value)))];
  };
  if (section === "like" && ID.test(id)) state.more = [id];
  else if (section === "saved") Object.assign(state, { view: "matches", saved: id });
  else if (page === "picture") state.picture = true;
  else if (page === "find") {
    state.text = (parameters.get("text") ?? "").trim();
    state.picture = parameters.has("picture");
    state.more = ids("more");
    state.less = ids("less");
  } else if (page) state.view = page;
  if (!isEmpty(state) || state.wrong.length) state.view = "search";
  for (const field of FILTER_FIELDS) state.filters[field] = [...new Set(parameters.getAll(field))].filter(Boolean).slice(0, 64);
  state.region = parseRegion(parameters.get("region"));
  state.kind = parameters.get("kind") === "near" ? "near" : null;
  state.open = ID.test(parameters.get("open") ?? "") ? parameters.get("open") : null;
  return state;
}

// A part of the picture in fractions of its sides.
function parseRegion(text) {
  const numbers = (text ?? "").split(",").map(Number);
  if (numbers.length !== 4 || !numbers.every((value) => value >= 0 && value <= 1)) return null;
  const [x, y, width, height] = numbers;
  return width > 0 && height > 0 && x + width <= 1.001 && y + height <= 1.001 ? { x, y, width, height } : null;
}

export const formatRegion = ({ x, y, width, height }) => [x, y, width, height].map((value) => Number(value.toFixed(4))).join(",");

export const hasTarget = (state) => Boolean(state.text) || state.picture || state.more.length > 0;
export const isEmpty = (state) => !hasTarget(state) && state.less.length === 0;
export const hasFilters = ({ filters }) => FILTER_FIELDS.some((field) => filters[field].length);

// The picture whose part can be searched by: the uploaded one, or the only one that the search names.
export const hasRegion = (state) => state.picture || (state.more.length === 1 && !state.text && !state.less.length);

// A single part has an address of its own; an empty search leads to the library.
function routeOf(state, parameters) {
  if (state.view === "duplicates" || state.view === "saved") return state.view;
  if (state.view === "matches") return `saved/${state.saved}`;
  if (isEmpty(state)) return "";
  const isSingle = state.less.length === 0 && !state.text;
  if (isSingle && state.picture && state.more.length === 0) return "picture";
  if (isSingle && !state.picture && state.more.length === 1) return `like/${state.more[0]}`;
  if (state.text) parameters.append("text", state.text);
  if (state.picture) parameters.append("picture", "1");
  for (const id of state.more) parameters.append("more", id);
  for (const id of state.less) parameters.append("less", id);
  return "find";
}

export function formatAddress(state) {
  const parameters = new URLSearchParams();
  const route = routeOf(state, parameters);
  if (state.region && hasRegion(state)) parameters.append("region", formatRegion(state.region));
  if (state.kind && state.view === "duplicates") parameters.append("kind", state.kind);
  for (const field of FILTER_FIELDS) for (const value of state.filters[field]) parameters.append(field, value);
  if (state.open) parameters.append("open", state.open);
  const query = parameters.toString();
  return `#/${route}${query && `?${query}`}`;
}

// The address of the library or of a search, with the filters of the present one.
export function addressWith(changes) {
  const { filters } = parseAddress();
  return formatAddress({ ...parseAddress("#/"), filters, ...changes });
}

export const similarAddress = (id) => addressWith({ more: [id] });

// The event of opening the present address again.
export const REPEAT_EVENT = "lookalike:repeat";

// Opens an address; repeats the search when it is already open.
export function openAddress(address) {
  if (location.hash === address) window.dispatchEvent(new Event(REPEAT_EVENT));
  else location.hash = address;
}

export const openState = (state) => openAddress(formatAddress({ ...state, open: null }));

// Replaces the address without a step for the Back button.
export const replaceState = (state) => location.replace(formatAddress(state));

// Changes the present search, or a search that is opened from another view.
export function changeSearch(changes) {
  openState({ ...parseAddress(), view: "library", ...changes });
}

// Adds a picture to the current search: `way` is "more" or "less".
export function steer(id, way) {
  const { more, less } = parseAddress();
  const without = (list) => list.filter((present) => present !== id);
  const parts = { more: without(more), less: without(less) };
  if (parts.more.length + parts.less.length >= MAX_PARTS) {
    toast(`A search can combine at most ${MAX_PARTS} pictures`);
    return;
  }
  parts[way].push(id);
  // The pressed button disappears together with its picture.
  $("results").focus({ preventScroll: true });
  changeSearch(parts);
}
