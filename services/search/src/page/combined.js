// Searches of several parts: text, more like this, less like that. Each part is a chip that can be removed.

import { hasTarget, isEmpty, openState, parseAddress } from "./address.js";
import { Problem, request } from "./client.js";
import { $, CLOSE_ICON, el, icon } from "./dom.js";
import { filterObject } from "./filters.js";
import { baseName } from "./format.js";
import { uploadedPicture } from "./query.js";
import { knownImages, rememberImages } from "./results.js";

// Why a search cannot run; checked here, without a request.
export function findProblem(search) {
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

const isCombined = (search) => !isEmpty(search) && (search.text || search.less.length || search.more.length + Number(search.picture) > 1);

export function showChips() {
  const search = parseAddress();
  const focused = [...$("chips").querySelectorAll("button")].indexOf(document.activeElement);
  const chips = isCombined(search) ? [...chipsOf(search)] : [];
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
      rememberImages([loaded]);
      if (node.isConnected) node.replaceWith(pictureChip(id, way, label, remaining));
    }, () => {}); // The search itself reports the error.
  }
  return node;
}

function chip(way, label, name, thumbnailUrl, remaining) {
  return el("li", { class: way === "less" ? "chip unlike" : "chip" },
    thumbnailUrl ? el("img", { src: thumbnailUrl, alt: "", onerror: (event) => event.currentTarget.remove() }) : null,
    el("span", { class: "chip-text" }, el("span", { class: "quiet" }, label), ` ${name}`),
    el("button", { type: "button", title: "Remove", "aria-label": `Remove: ${label} ${name}`, onclick: () => openState(remaining) }, icon(...CLOSE_ICON)));
}

/* ---- the request ---- */

export function readDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Problem({ title: "Your picture cannot be read any more", detail: "Choose it again." }));
    reader.readAsDataURL(file);
  });
}

// The parts and the filter of a search, as the body of POST /v1/search has them.
export async function combinedRequest(search) {
  const body = { filter: filterObject(search) ?? undefined };
  if (search.text) body.text = search.text;
  if (search.picture) body.image = await readDataUrl(uploadedPicture());
  if (search.picture && search.region) body.region = search.region;
  if (search.more.length) body.positive = search.more.map((id) => ({ id }));
  if (search.less.length) body.negative = search.less.map((id) => ({ id }));
  return body;
}

/* ---- text ---- */

// Shows the text field if the model has a text encoder, else a hint at what is needed.
export function showTextSearch(model) {
  $("text-form").hidden = !model.text;
  $("no-text").hidden = model.text;
}

// Labels the text field: it starts a search, or adds text to the current one.
export function prepareTextField() {
  const search = parseAddress();
  if (document.activeElement !== $("text-input")) $("text-input").value = search.text;
  const hasPicture = search.picture || search.more.length > 0;
  $("text-input").placeholder = hasPicture ? "Add text: in the snow, red, at night" : "Or describe it: a red chair";
  $("text-submit").textContent = hasPicture && !search.text ? "Add" : "Find";
}

export function startTextSearch() {
  $("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text-input").value.trim();
    const search = parseAddress();
    if (text || search.text) openState({ ...search, view: "library", text });
  });
}
