// One picture, large: its metadata, its history, similar pictures, and how it compares with the picture that is searched by.

import { addressWith, formatAddress, openAddress, parseAddress, similarAddress, steer } from "./address.js";
import { request } from "./client.js";
import { $, button, el, icon, toast } from "./dom.js";
import { compareWithQuery } from "./compare.js";
import { confirmAction } from "./dialog.js";
import { baseName, formatScore, formatSize, formatTaken, formatTime } from "./format.js";
import { loadHistory } from "./history.js";
import { copyPath, findLibrary, fullPath } from "./libraries.js";
import { BANDS, pictureStrip } from "./picture.js";
import { deselect, isSelected, toggleSelected } from "./selection.js";

const LARGEST_THUMBNAIL = 1024;
const DISPLAYABLE = new Set(["jpeg", "png", "gif", "webp", "bmp", "avif"]);
// Larger originals are not loaded for a look.
const MAX_ORIGINAL_BYTES = 24e6;
const SIMILAR = 8;
// While the person leafs through pictures, nothing is requested for each one.
const REST_MS = 250;
const SWIPE_PX = 60;

// What the page around this dialog provides.
let page = { listImages: () => [], loadMore: () => {}, query: () => null, onRemoved: () => {}, findImage: () => null };
let shown = null;
// Whether this page made the present step of the browser's history.
let isPushed = false;
let list = [];
let controller = new AbortController();

// Changes which picture the address opens, without a step for the Back button. The state belongs to the view behind the dialog.
const replaceOpen = (open) => history.replaceState(history.state, "", formatAddress({ ...parseAddress(), open }));

export function openDetail(image, images = page.listImages()) {
  list = images;
  history.pushState(history.state, "", formatAddress({ ...parseAddress(), open: image.id }));
  isPushed = true;
  showDetail(image);
}

// Opens or closes the dialog as the address says.
export function followAddress() {
  const { open } = parseAddress();
  if (!open) {
    isPushed = false;
    if ($("detail").open) $("detail").close();
  } else if (shown?.id !== open || !$("detail").open) {
    list = page.listImages();
    showDetail(page.findImage(open) ?? { id: open });
  }
}

function leave(address) {
  closeQuietly();
  openAddress(address);
}

// Closes the dialog without a step back in the browser's history.
function closeQuietly() {
  replaceOpen(null);
  $("detail").close();
}

function showNeighbour(step) {
  const images = list.length ? list : page.listImages();
  const at = images.findIndex((image) => image.id === shown.id);
  const next = images[at + step];
  if (at < 0 || !next) return;
  replaceOpen(next.id);
  showDetail(next);
}

async function showDetail(image) {
  controller.abort();
  controller = new AbortController();
  const { signal } = controller;
  shown = image;
  $("detail").classList.remove("comparing");
  if (!$("detail").open) $("detail").showModal();
  // Matches of saved searches and uploads have fewer fields than other images.
  if (image.tags) fillDetail(image);
  else clearDetail(image);
  showArrows();
  try {
    const loaded = { ...image, ...await request(`/v1/images/${image.id}`, { signal }) };
    if (signal.aborted) return;
    shown = loaded;
    fillDetail(loaded);
    await new Promise((resolve) => { setTimeout(resolve, REST_MS); });
    if (!signal.aborted) await Promise.all([showLargest(loaded, signal), showSimilar(loaded, signal), showFolded(loaded, signal)]);
  } catch (error) {
    if (error.name !== "AbortError") $("detail-status").textContent = error.message;
  }
}

function showArrows() {
  // The list of the view grows while it is scrolled.
  const present = page.listImages();
  if (present.some((image) => image.id === shown.id)) list = present;
  const at = list.findIndex((image) => image.id === shown.id);
  $("detail-previous").hidden = at <= 0;
  $("detail-next").hidden = at < 0 || at === list.length - 1;
  keepFocus();
  if (at >= list.length - 6) page.loadMore();
}

// A button that is hidden or replaced loses the focus, and with it the keys.
function keepFocus() {
  if (!$("detail").contains(document.activeElement)) $("detail-close").focus();
}

/* ---- the picture ---- */

function fillDetail(image) {
  const name = baseName(image.path);
  showPicture(image, name);
  $("detail-facts").replaceChildren(...factNodes(image));
  $("detail-actions").replaceChildren(...actionNodes(image, name));
  const query = page.query();
  $("detail-compare").hidden = !query || query.id === image.id;
  keepFocus();
}

// Until the picture is loaded, nothing of the previous one may remain: its buttons would act on it.
function clearDetail(image) {
  showPicture(image, image.path ? baseName(image.path) : "Picture");
  for (const id of ["detail-facts", "detail-actions", "detail-similar", "detail-folded"]) $(id).replaceChildren();
  for (const id of ["detail-similar", "detail-folded", "detail-compare"]) $(id).hidden = true;
}

function showPicture(image, name) {
  $("detail-name").textContent = name;
  $("detail-status").textContent = "";
  const picture = $("detail-image");
  const src = image.thumbnail_url?.replace(/size=\d+/, `size=${LARGEST_THUMBNAIL}`);
  if (!src) picture.removeAttribute("src");
  else if (!picture.src.endsWith(src)) picture.src = src;
  picture.alt = src ? name : "";
  for (const side of ["width", "height"]) {
    if (image[side]) picture[side] = image[side];
    else picture.removeAttribute(side);
  }
  $("detail-history").open = false;
  $("detail-steps").replaceChildren();
}

// The thumbnail is sharp up to its size; larger windows get the original.
async function showLargest(image, signal) {
  const needed = Math.max($("detail-image").clientWidth, $("detail-image").clientHeight) * window.devicePixelRatio;
  if (needed <= LARGEST_THUMBNAIL || Math.max(image.width, image.height) <= LARGEST_THUMBNAIL) return;
  if (!DISPLAYABLE.has(image.format) || image.bytes > MAX_ORIGINAL_BYTES) return;
  const original = new Image();
  original.src = image.content_url;
  await original.decode().catch(() => {}); // The thumbnail stays.
  if (!signal.aborted && original.naturalWidth) $("detail-image").src = original.src;
}

/* ---- facts and actions ---- */

const filterLink = (field, value, text = value) => el("a", { href: addressWith({ filters: { ...parseAddress("#/").filters, [field]: [value] } }),
  onclick: (event) => { event.preventDefault(); leave(event.currentTarget.getAttribute("href")); } }, text);

function factNodes(image) {
  const facts = [["Path", el("span", { class: "path" }, fullPath(image))],
    ["Size", `${image.width}\u00a0×\u00a0${image.height}${image.bytes === undefined ? "" : ` · ${formatSize(image.bytes)}`} · ${image.format.toUpperCase()}`],
    ["Taken", image.taken_at && formatTaken(image.taken_at)],
    ["Camera", image.camera && filterLink("camera", image.camera)],
    ["Tags", image.tags.length ? image.tags.flatMap((tag) => [filterLink("tag", tag), " "]) : null],
    ["Colours", image.colors.length ? image.colors.flatMap((color) => [el("span", { class: `swatch ${color}`, "aria-hidden": "true" }), filterLink("color", color), " "]) : null],
    ["Changed", image.modified_at && formatTime(image.modified_at)],
    ["Indexed", image.indexed_at && formatTime(image.indexed_at)]];
  if (image.score !== undefined && !image.unscored) facts.unshift(["Score", `${BANDS[image.band] ?? ""}${image.band ? " · " : ""}${formatScore(image.score)}`]);
  return facts.filter(([, value]) => value).flatMap(([label, value]) => [el("dt", {}, label), el("dd", {}, value)]);
}

function actionNodes(image, name) {
  const { more, less } = parseAddress();
  const isSearch = more.length + less.length > 0 || page.query();
  const steerTo = (way) => { closeQuietly(); steer(image.id, way); };
  const select = button(isSelected(image.id) ? "Selected" : "Select", () => {
    toggleSelected(image);
    select.textContent = isSelected(image.id) ? "Selected" : "Select";
    select.setAttribute("aria-pressed", String(isSelected(image.id)));
  }, { class: "button small", "aria-pressed": String(isSelected(image.id)), id: "detail-select" });
  return [button("Find similar", () => leave(similarAddress(image.id)), { class: "button small strong" }),
    isSearch ? button("More like this", () => steerTo("more"), { class: "button small" }) : null,
    isSearch ? button("Less like this", () => steerTo("less"), { class: "button small" }) : null,
    select,
    button("Copy path", () => copyPath(image), { class: "button small", id: "detail-copy" }),
    el("a", { class: "button small", href: image.content_url, target: "_blank", rel: "noopener" }, "Original"),
    findLibrary(image.library)?.deletions ? button("Remove …", () => removePicture(image, name), { class: "button small", id: "detail-remove" }) : null].filter(Boolean);
}

async function removePicture(image, name) {
  const isConfirmed = await confirmAction(`Remove “${name}”?`,
    `The file leaves the library “${image.library}” and the index, and moves to the trash folder of lookalike:\n${fullPath(image)}\nTo undo this, move it back from the trash folder.`, "Move to the trash");
  if (!isConfirmed) return;
  try {
    const removed = await request(`/v1/images/${image.id}`, { method: "DELETE" });
    const isShown = isShowing(image);
    const images = list;
    const at = images.findIndex((other) => other.id === image.id);
    const next = images[at + 1] ?? images[at - 1];
    list = images.filter((other) => other.id !== image.id);
    deselect(image.id);
    page.onRemoved(image.id);
    if (isShown && next) {
      replaceOpen(next.id);
      showDetail(next);
    } else if (isShown) $("detail").close();
    toast(`Moved to ${removed.trash_path}`);
  } catch (error) {
    if (isShowing(image)) $("detail-status").textContent = error.message;
    else toast(error.message);
  }
}

// The person may have moved on while the service removed a picture.
const isShowing = (image) => $("detail").open && shown.id === image.id;

/* ---- other pictures ---- */

function showStrip(id, label, images) {
  $(id).hidden = images.length === 0;
  $(id).replaceChildren(el("h3", {}, label), pictureStrip(images, label, (image) => ({
    "aria-label": `Show ${baseName(image.path)}`, title: baseName(image.path), onclick: () => {
      replaceOpen(image.id);
      showDetail(image);
    } })));
  keepFocus();
}

async function showSimilar(image, signal) {
  const { hits } = await request(`/v1/images/${image.id}/similar`, { signal, parameters: { limit: SIMILAR } });
  if (!signal.aborted) showStrip("detail-similar", "Similar", hits);
}

async function showFolded(image, signal) {
  const ids = (image.folded?.ids ?? []).slice(0, SIMILAR);
  const images = await Promise.all(ids.map((id) => request(`/v1/images/${id}`, { signal }).catch(() => null)));
  if (!signal.aborted) showStrip("detail-folded", `Copies folded into this one: ${image.folded?.count ?? 0}`, images.filter(Boolean));
}

async function compare() {
  const { signal } = controller;
  const isOn = $("detail").classList.toggle("comparing");
  $("detail-compare").setAttribute("aria-pressed", String(isOn));
  if (!isOn) return;
  const query = page.query();
  $("detail-query-image").src = query.large ?? query.src;
  $("detail-query-image").alt = `The picture searched by: ${query.name}`;
  $("detail-outline").replaceChildren();
  $("detail-differences").replaceChildren(el("p", { class: "quiet" }, "Comparing …"));
  const { nodes, overlay } = await compareWithQuery(query, shown, signal).catch(() => ({ nodes: [], overlay: null }));
  if (signal.aborted) return;
  $("detail-differences").replaceChildren(...nodes.filter(Boolean));
  if (overlay) $("detail-outline").replaceChildren(overlay);
}

/* ---- the dialog ---- */

function startSwipe() {
  let start = null;
  $("detail-stage").addEventListener("pointerdown", (event) => { start = event.pointerType === "mouse" ? null : event; });
  $("detail-stage").addEventListener("pointerup", (event) => {
    const dx = start ? event.clientX - start.clientX : 0;
    start = null;
    if (Math.abs(dx) > SWIPE_PX) showNeighbour(dx < 0 ? 1 : -1);
  });
}

function handleKey(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, dialog:not(#detail)")) return;
  const actions = { ArrowLeft: () => showNeighbour(-1), ArrowRight: () => showNeighbour(1), x: () => $("detail-select")?.click(),
    p: () => $("detail-copy")?.click(), c: () => { if (!$("detail-compare").hidden) compare(); }, s: () => leave(similarAddress(shown.id)) };
  if (!actions[event.key]) return;
  event.preventDefault();
  event.stopPropagation();
  actions[event.key]();
}

export function startDetail(around) {
  page = around;
  const dialog = $("detail");
  for (const [id, step, path] of [["detail-previous", -1, "M15 5l-7 7 7 7"], ["detail-next", 1, "M9 5l7 7-7 7"]]) {
    $(id).append(icon(path));
    $(id).addEventListener("click", () => showNeighbour(step));
  }
  $("detail-close").addEventListener("click", () => dialog.close());
  $("detail-compare").addEventListener("click", compare);
  $("detail-history").addEventListener("toggle", async () => {
    if (!$("detail-history").open) return;
    const { signal } = controller;
    const nodes = await loadHistory(shown.id, shown.library);
    if (!signal.aborted) $("detail-steps").replaceChildren(...nodes.slice(1));
  });
  dialog.addEventListener("keydown", handleKey);
  dialog.addEventListener("close", () => {
    controller.abort();
    for (const id of ["detail-image", "detail-query-image"]) $(id).removeAttribute("src");
    for (const id of ["detail-similar", "detail-folded"]) $(id).hidden = true;
    const state = parseAddress();
    if (!state.open) return;
    if (isPushed) history.back();
    else replaceOpen(null);
  });
  startSwipe();
}
