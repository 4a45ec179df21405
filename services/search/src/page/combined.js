// Searches of several parts: text, more like this, less like that. Each part is a chip that can be removed.

import { currentSearch, hasTarget, isEmpty, openSearch, searchAddress } from "./address.js";
import { Problem, request } from "./client.js";
import { $, el, icon } from "./dom.js";
import { baseName } from "./format.js";
import { knownImages, showProblem, showSkeletons } from "./results.js";
import { MAX_HITS, runSearch, showQuery, startSearch, uploadedPicture } from "./search.js";

// Why a search cannot run; checked here, without a request.
function findProblem(search) {
  if (search.wrong.length) {
    const id = search.wrong[0];
    return new Problem({ title: "This address contains an invalid picture id", code: "invalid_parameter",
      detail: `“${id.length > 40 ? `${id.slice(0, 40)}…` : id}” is not the id of a picture. An id has 32 of the digits 0 to 9 and a to f.` });
  }
  if (search.more.some((id) => search.less.includes(id))) {
    return new Problem({ title: "More and less of the same picture", code: "cancels_out",
      detail: "A picture cannot be both searched for and avoided. Remove it from one of the two." });
  }
  if (!hasTarget(search)) {
    return new Problem({ title: "Nothing to search for", code: "invalid_parameter",
      detail: "“Less like” needs something to search for. Choose a picture, or start over." });
  }
  return null;
}

/* ---- chips ---- */

export function showChips(search) {
  const focused = [...$("chips").querySelectorAll("button")].indexOf(document.activeElement);
  const chips = search ? [...chipsOf(search)] : [];
  $("chips").replaceChildren(...chips);
  $("chips").hidden = chips.length === 0;
  if (focused < 0) return;
  // Keyboard users who remove a chip stay among the chips.
  const buttons = $("chips").querySelectorAll("button");
  (buttons[Math.min(focused, buttons.length - 1)] ?? $("results")).focus({ preventScroll: true });
}

function* chipsOf(search) {
  const without = (list, id) => list.filter((present) => present !== id);
  if (search.picture) yield chip("more", "Like", uploadedPicture()?.name || "your picture", null, { ...search, picture: false });
  for (const id of search.more) yield pictureChip(id, "more", "Like", { ...search, more: without(search.more, id) });
  if (search.text) yield chip("more", "Text:", `“${search.text}”`, null, { ...search, text: "" });
  for (const id of search.less) yield pictureChip(id, "less", "Less like", { ...search, less: without(search.less, id) });
}

function pictureChip(id, way, label, remaining) {
  const image = knownImages.get(id);
  const node = chip(way, label, image ? baseName(image.path) : `picture ${id.slice(0, 6)}…`, image?.thumbnail_url, remaining);
  if (!image) {
    request(`/v1/images/${id}`).then((loaded) => {
      knownImages.set(id, loaded);
      if (node.isConnected) node.replaceWith(pictureChip(id, way, label, remaining));
    }, () => {}); // The search itself reports the error.
  }
  return node;
}

function chip(way, label, name, thumbnail, remaining) {
  return el("li", { class: way === "less" ? "chip unlike" : "chip" },
    thumbnail ? el("img", { src: thumbnail, alt: "", onerror: (event) => event.currentTarget.remove() }) : null,
    el("span", { class: "chip-text" }, el("span", { class: "quiet" }, label), ` ${name}`),
    el("button", { type: "button", title: "Remove", "aria-label": `Remove: ${label} ${name}`, onclick: () => openSearch(remaining) }, icon(["M6 6l12 12", "M18 6L6 18"])));
}

/* ---- the search ---- */

function readDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Problem({ title: "Your picture cannot be read any more", detail: "Choose it again." }));
    reader.readAsDataURL(file);
  });
}

export function searchCombined(search) {
  // An uploaded picture has no address, so it is gone after a reload.
  if (search.picture && !uploadedPicture()) {
    location.replace(searchAddress({ ...search, picture: false }));
    return;
  }
  if (isEmpty(search) && search.wrong.length === 0) {
    location.replace("#/");
    return;
  }
  const isTextOnly = search.text && !search.picture && search.more.length === 0 && search.less.length === 0;
  const started = startSearch(isTextOnly ? `Pictures of “${search.text}”` : "Pictures like these", () => searchCombined(search));
  showQuery(null, true);
  showChips(search);
  window.scrollTo({ top: 0 });
  const problem = findProblem(search);
  if (problem) {
    showProblem(problem);
    return;
  }
  showSkeletons(12);
  const namedIds = [...search.more, ...search.less];
  runSearch(started, async (signal) => {
    const body = { limit: MAX_HITS + namedIds.length };
    if (search.text) body.text = search.text;
    if (search.picture) body.image = await readDataUrl(uploadedPicture());
    if (search.more.length) body.positive = search.more.map((id) => ({ id }));
    if (search.less.length) body.negative = search.less.map((id) => ({ id }));
    const answer = await request("/v1/search", { method: "POST", body: JSON.stringify(body), signal, headers: { "content-type": "application/json" } });
    // The chips show the named pictures already. Scores of text and of several parts only rank: they are not displayed.
    const hits = answer.hits.filter((hit) => !namedIds.includes(hit.id)).slice(0, MAX_HITS);
    return { ...answer, hits: hits.map((hit) => ({ ...hit, unscored: true })) };
  });
}

/* ---- text ---- */

// Shows the text field if the model has a text encoder, else a hint at what is needed.
export function showTextSearch(model) {
  $("text-form").hidden = !model.text;
  $("no-text").hidden = model.text;
}

// Labels the text field: it starts a search, or adds text to the current one.
export function prepareTextField() {
  const search = currentSearch();
  if (document.activeElement !== $("text-input")) $("text-input").value = search.text;
  const hasPicture = search.picture || search.more.length > 0;
  $("text-input").placeholder = hasPicture ? "Add text: in the snow, red, at night" : "Or describe it: a red chair";
  $("text-submit").textContent = hasPicture && !search.text ? "Add" : "Find";
}

export function startTextSearch() {
  $("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text-input").value.trim();
    const search = currentSearch();
    if (text || search.text) openSearch({ ...search, text });
  });
}
