// Pictures in any view: their thumbnails, and the words for scores.

import { el } from "./dom.js";

export const BANDS = { same_picture: "Same picture", turned_copy: "Same picture, turned or mirrored", near_duplicate: "Near-duplicate", very_similar: "Very similar", similar: "Similar", no_match: "No good match" };

// The longer sides of thumbnails that are requested; few, because the service keeps each in its cache.
const SIDES = [160, 320, 640];

// Lets the browser choose a thumbnail that covers a square of this width, sharp on its screen.
export function thumbnail(image, width, properties = {}) {
  const { width: w, height: h } = image;
  const at = (side) => image.thumbnail_url.replace(/size=\d+/, `size=${side}`);
  const srcset = w ? SIDES.map((side) => `${at(side)} ${Math.max(1, Math.round((side * w) / Math.max(w, h)))}w`).join(", ") : null;
  const sizes = w ? `${Math.ceil(width * Math.max(1, w / h))}px` : null;
  return el("img", { src: image.thumbnail_url, srcset, sizes, alt: "", decoding: "async",
    onerror: (event) => event.currentTarget.parentNode?.classList.add("unavailable"), ...properties });
}

// A row of small pictures, each a button or a link that `attributes` describes.
export function pictureStrip(images, label, attributes) {
  return el("ul", { class: "strip", "aria-label": label }, images.map((image) => {
    const { href, ...rest } = attributes(image);
    return el("li", {}, el(href ? "a" : "button", href ? { href, ...rest } : { type: "button", ...rest }, el("span", { class: "frame" }, thumbnail(image, 96))));
  }));
}
