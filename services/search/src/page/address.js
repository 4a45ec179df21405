// The address of a search, in the fragment of the URL. Because each step has its own address, the Back button undoes it.
//
//   #/                                   the library
//   #/like/ID                            pictures like an image of the index
//   #/picture                            pictures like the uploaded one
//   #/find?text=…&picture=1&more=ID&less=ID  a combined search; any part may be missing

import { $, toast } from "./dom.js";

// Ids in `more` and `less` together; the service accepts no more.
const MAX_PARTS = 32;
const ID = /^[0-9a-f]{32}$/;

// The search that the address describes. `wrong` has the ids that are malformed.
export function currentSearch() {
  const search = { text: "", picture: false, more: [], less: [], wrong: [] };
  const like = similarId();
  if (like) search.more.push(like);
  else if (location.hash === "#/picture") search.picture = true;
  else if (isCombined()) {
    const parameters = new URLSearchParams(location.hash.slice("#/find?".length));
    const ids = (name) => {
      const given = parameters.getAll(name).map((id) => id.toLowerCase());
      search.wrong.push(...given.filter((id) => !ID.test(id)));
      return [...new Set(given.filter((id) => ID.test(id)))];
    };
    search.text = (parameters.get("text") ?? "").trim();
    search.picture = parameters.has("picture");
    search.more = ids("more");
    search.less = ids("less");
  }
  return search;
}

export const isCombined = () => location.hash.startsWith("#/find?");
export const similarId = () => /^#\/like\/([0-9a-f]{32})$/.exec(location.hash)?.[1] ?? null;

export const hasTarget = (search) => Boolean(search.text) || search.picture || search.more.length > 0;
export const isEmpty = (search) => !hasTarget(search) && search.less.length === 0;

// A single part has an address of its own; an empty search leads to the library.
export function searchAddress(search) {
  if (isEmpty(search)) return "#/";
  const isSingle = search.less.length === 0 && !search.text;
  if (isSingle && search.picture && search.more.length === 0) return "#/picture";
  if (isSingle && !search.picture && search.more.length === 1) return `#/like/${search.more[0]}`;
  const parameters = new URLSearchParams();
  if (search.text) parameters.set("text", search.text);
  if (search.picture) parameters.set("picture", "1");
  for (const id of search.more) parameters.append("more", id);
  for (const id of search.less) parameters.append("less", id);
  return `#/find?${parameters}`;
}

// Opens an address; repeats the search when it is already open.
export function openAddress(address) {
  if (location.hash === address) window.dispatchEvent(new Event("hashchange"));
  else location.hash = address;
}

export const openSearch = (search) => openAddress(searchAddress(search));

// Adds a picture to the current search: `way` is "more" or "less".
export function steer(id, way) {
  const search = currentSearch();
  search.more = search.more.filter((present) => present !== id);
  search.less = search.less.filter((present) => present !== id);
  if (search.more.length + search.less.length >= MAX_PARTS) {
    toast(`A search can combine at most ${MAX_PARTS} pictures`);
    return;
  }
  search[way].push(id);
  // The pressed button disappears together with its picture.
  $("results").focus({ preventScroll: true });
  openSearch(search);
}
