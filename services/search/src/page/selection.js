// Selected pictures: a bar at the bottom with what can be done with them.

import { addressWith, MAX_PARTS, openAddress } from "./address.js";
import { $, button, el, toast } from "./dom.js";
import { downloadPictures } from "./download.js";
import { count } from "./format.js";
import { copyText, fullPath } from "./libraries.js";

const MAX_SELECTED = 5000;

const selected = new Map();
// The number of the card that was selected last, where a range begins.
let lastAt = null;
let markCards = () => {};
let listImages = () => [];

export const isSelected = (id) => selected.has(id);

// With Shift, `rangeAt` is the number of the card at the end of a range.
export function toggleSelected(image, rangeAt = null, at = null) {
  const images = rangeAt === null || lastAt === null ? [image] : listImages().slice(Math.min(lastAt, rangeAt), Math.max(lastAt, rangeAt) + 1);
  const isOn = !isSelected(image.id);
  for (const { id, ...rest } of images) {
    if (!isOn) selected.delete(id);
    else if (selected.size < MAX_SELECTED) selected.set(id, { id, ...rest });
    else toast(`At most ${count(MAX_SELECTED, "picture")} can be selected`);
  }
  lastAt = at;
  showSelection();
}

export function selectImages(images) {
  for (const image of images) if (selected.size < MAX_SELECTED) selected.set(image.id, image);
  showSelection();
}

export function deselect(id) {
  if (selected.delete(id)) showSelection();
}

export function clearSelection() {
  selected.clear();
  lastAt = null;
  showSelection();
}

function showSelection() {
  markCards();
  const bar = $("selection");
  const images = [...selected.values()];
  bar.hidden = images.length === 0;
  document.body.classList.toggle("has-selection", images.length > 0);
  if (!images.length) {
    if (bar.contains(document.activeElement)) $("results").focus({ preventScroll: true });
    return;
  }
  $("selection-count").textContent = `${count(images.length, "picture")} selected`;
  $("selection-find").disabled = images.length > MAX_PARTS;
  $("selection-find").title = images.length > MAX_PARTS ? `A search can combine at most ${MAX_PARTS} pictures` : "";
}

export function hasSelection() {
  return selected.size > 0;
}

function findSelected() {
  const address = addressWith({ more: [...selected.keys()] });
  clearSelection();
  openAddress(address);
}

function copyPaths() {
  const paths = [...selected.values()].map(fullPath);
  copyText(paths.join("\n"), `${count(paths.length, "path")} copied`);
}

// `mark` shows on the cards which are selected; `list` returns the images of the present view.
export function startSelection(mark, list) {
  markCards = mark;
  listImages = list;
  $("selection").append(el("p", { id: "selection-count", role: "status" }),
    el("div", { class: "buttons" },
      button("Find pictures like these", findSelected, { id: "selection-find", class: "button small strong" }),
      button("Copy paths", copyPaths, { class: "button small" }),
      button("Download", () => downloadPictures([...selected.values()]), { class: "button small" }),
      button("Clear", clearSelection, { class: "button small" })));
}
