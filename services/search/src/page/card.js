// The card of one picture in a grid.

import { similarAddress, steer } from "./address.js";
import { openDetail } from "./detail.js";
import { el, icon, percentBar } from "./dom.js";
import { baseName, formatScore, number } from "./format.js";
import { imageFolder } from "./libraries.js";
import { BANDS, thumbnail } from "./picture.js";
import { isSelected, toggleSelected } from "./selection.js";

const LARGE_ICON = ["M14 4h6v6", "M20 4l-7 7", "M10 20H4v-6", "M4 20l7-7"];
const CHECK_ICON = ["M6 12.5l4 4 8-9"];

function scoreBar(score) {
  const percent = Math.max(0, Math.min(100, score * 100));
  return el("span", { class: "score" }, el("span", { class: "track", "aria-hidden": "true" }, percentBar(percent)), el("span", {}, formatScore(score)));
}

function steerButtons(image, name) {
  const steerButton = (way, label, ...sign) => el("button", { class: "steer", type: "button", title: `${label} like this`, "aria-label": `${label} like ${name}`,
    onclick: () => steer(image.id, way) }, icon(...sign), label);
  return el("div", { class: "steering" }, steerButton("more", "More", "M12 5v14", "M5 12h14"), steerButton("less", "Less", "M5 12h14"));
}

function selectButton(image, at) {
  return el("button", { class: "tool select", type: "button", title: "Select", "aria-label": `Select ${baseName(image.path)}`,
    onclick: (event) => toggleSelected(image, event.shiftKey ? at : null, at) }, icon(...CHECK_ICON));
}

// Shows whether the picture of a card is selected.
export function markSelected(card) {
  const isOn = isSelected(card.dataset.id);
  card.classList.toggle("selected", isOn);
  card.querySelector(".select").setAttribute("aria-pressed", String(isOn));
}

export function imageCard(image, at, width) {
  const name = baseName(image.path);
  const isHit = image.score !== undefined;
  const hasScore = isHit && !image.unscored;
  const band = BANDS[image.band] ?? null;
  const folded = image.folded?.count ? number.format(image.folded.count) : null;
  const hidden = (text) => el("span", { class: "visually-hidden" }, text);
  const link = el("a", { href: similarAddress(image.id) },
    el("span", { class: "frame" }, thumbnail(image, width), folded ? el("span", { class: "badge" }, `+${folded}`, hidden(" copies")) : null),
    hasScore ? scoreBar(image.score) : null,
    isHit && !image.unscored ? el("span", { class: image.band === "no_match" ? "band none" : "band" }, band ?? "\u00a0") : null,
    el("span", { class: "label", title: `${image.library}/${image.path}` }, hidden("Find pictures like "), el("span", {}, name),
      el("span", { class: "where" }, imageFolder(image))));
  const large = el("button", { class: "tool large", type: "button", title: "Show large", "aria-label": `Show ${name} large`,
    onclick: () => openDetail(image) }, icon(...LARGE_ICON));
  const card = el("li", { class: "card", "data-id": image.id }, link, selectButton(image, at), large, isHit ? steerButtons(image, name) : null);
  markSelected(card);
  return card;
}
