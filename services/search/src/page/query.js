// The picture that is searched by.

import { openAddress, openState, parseAddress } from "./address.js";
import { request } from "./client.js";
import { openDetail } from "./detail.js";
import { $, button, el } from "./dom.js";
import { baseName, formatSize } from "./format.js";
import { openHistory } from "./history.js";
import { copyPath, imageFolder } from "./libraries.js";
import { selectRegion } from "./region.js";

let objectUrl = null;
let uploadedFile = null;

// The picture that was dropped, pasted or chosen last. It has no address, so a reload forgets it.
export const uploadedPicture = () => uploadedFile;

export function uploadPicture(file) {
  if (!file) return;
  uploadedFile = file;
  openAddress("#/picture");
}

// The image that is searched by, for the detail view: its id if the index has it, and its address.
export let query = null;

// Displays the picture that is searched by; without one, the invitation or, if `isSearch`, neither.
export function showQuery(image, isSearch = Boolean(image)) {
  if (objectUrl && objectUrl !== image?.src) URL.revokeObjectURL(objectUrl);
  objectUrl = image?.isObjectUrl ? image.src : null;
  query = image;
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
  $("query-links").replaceChildren(...image.links);
  showRegion(image.region);
}

function showRegion(region) {
  const marker = $("query-region");
  marker.hidden = !region;
  if (!region) return;
  for (const [side, value] of [["left", region.x], ["top", region.y], ["width", region.width], ["height", region.height]]) marker.style[side] = `${value * 100}%`;
}

function regionButtons(image) {
  const choose = async () => {
    const region = await selectRegion(image.large ?? image.src, image.name, parseAddress().region);
    if (region) openState({ ...parseAddress(), region });
  };
  const buttons = [el("button", { type: "button", class: "region-button", onclick: choose }, image.region ? "Another part" : "Search by a part")];
  if (image.region) buttons.push(el("button", { type: "button", onclick: () => openState({ ...parseAddress(), region: null }) }, "The whole picture"));
  return buttons;
}

export function showUploadedQuery({ region }) {
  const file = uploadedFile;
  const image = { src: URL.createObjectURL(file), isObjectUrl: true, region, name: file.name && file.name !== "image.png" ? file.name : "Your picture" };
  showQuery({ ...image, links: [el("span", { class: "quiet" }, formatSize(file.size)), ...regionButtons(image)] });
}

export async function showImageQuery({ more: [id], region }, { isCurrent, signal }) {
  try {
    const image = await request(`/v1/images/${id}`, { signal });
    if (!isCurrent()) return;
    const name = baseName(image.path);
    const shown = { id, name, region, src: image.thumbnail_url, large: image.thumbnail_url.replace(/size=\d+/, "size=1024") };
    showQuery({ ...shown, links: [
      el("span", { class: "quiet" }, `${imageFolder(image)} · ${image.width}\u00a0×\u00a0${image.height}`),
      button("Show large", () => openDetail(image), { class: null }),
      ...regionButtons(shown),
      el("a", { href: image.content_url, target: "_blank", rel: "noopener" }, "Original"),
      button("Copy path", () => copyPath(image), { class: null }),
      button("History", () => openHistory(id, image.library, name), { class: null }),
    ] });
  } catch {
    // The search reports the error; the previous picture must not stay.
    if (isCurrent()) showQuery(null, true);
  }
}

export function startQuery() {
  $("again").addEventListener("click", () => openState({ ...parseAddress("#/"), filters: parseAddress().filters }));
}
