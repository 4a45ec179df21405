// The page: one question at a time (a picture, or an image of the index; mix.js has words and those of
// several parts), a grid of answers, counters that move.
// Everything is built with DOM calls, so that a file's name is never read as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const HITS = 48;
const PAGE = 60;
const number = new Intl.NumberFormat("en");

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(paths) {
  const root = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  root.setAttribute("viewBox", "0 0 24 24");
  root.setAttribute("aria-hidden", "true");
  for (const d of paths) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", d);
    root.append(path);
  }
  return root;
}

/* What the service refuses, in its own words. */
class Problem extends Error {
  constructor(body) {
    super(body.detail || body.title);
    this.title = body.title;
    this.code = body.code;
    this.requestId = body.request_id;
  }
}

async function ask(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "lookalike does not answer", code: "away",
      detail: "Is it still running? This page goes on by itself as soon as it is back." });
  }
  const id = response.headers.get("x-request-id");
  let body;
  try {
    body = await response.json();
  } catch {
    body = { title: "The answer can't be read", detail: `The service answered ${response.status}.`, request_id: id };
    if (response.ok) throw new Problem(body);
  }
  if (!response.ok) throw new Problem(body);
  return body;
}

/* ---- what is shown ---- */

let libraries = [];
// Grows with every question; what belongs to an older one is dropped when it comes in.
let turn = 0;
let pending = null;
let cursor = null;
// Shown when nothing is asked: the counters refresh an empty library once pictures arrive.
let browsing = false;
let shown = 0;
let failed = false;
let queryUrl = null;

const baseName = (path) => path.slice(path.lastIndexOf("/") + 1);
const folder = (image) => {
  const at = image.path.lastIndexOf("/");
  return at < 0 ? image.library : `${image.library}/${image.path.slice(0, at)}`;
};

function scoreBar(score) {
  const percent = Math.max(0, Math.min(100, score * 100));
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  bar.setAttribute("viewBox", "0 0 100 4");
  bar.setAttribute("preserveAspectRatio", "none");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("width", percent.toFixed(1));
  rect.setAttribute("height", "4");
  bar.append(rect);
  // Rounded down: 100 % is for the same picture only.
  const words = score > 0.9995 ? "100 %" : `${(Math.floor(percent * 10) / 10).toFixed(1)} %`;
  return el("div", { class: "score" }, el("div", { class: "track", "aria-hidden": "true" }, bar), el("span", {}, words));
}

function card(image) {
  const name = baseName(image.path);
  const isHit = image.score !== undefined;
  const hasScore = isHit && !image.unscored;
  const band = BANDS[image.band] ?? null;
  const percent = hasScore ? `, ${Math.floor(image.score * 1000) / 10} % alike${band ? `: ${band.toLowerCase()}` : ""}` : "";
  const frame = el("span", { class: "frame" });
  const picture = el("img", { src: image.thumbnail_url, alt: "", loading: "lazy", decoding: "async",
    onerror: () => frame.classList.add("lost") });
  frame.append(picture);
  const link = el("a", { href: `#/like/${image.id}`, "aria-label": `Find pictures like ${name}${percent}` }, frame,
    hasScore ? scoreBar(image.score) : null,
    band ? el("span", { class: image.band === "no_match" ? "band none" : "band" }, band) : null,
    el("span", { class: "label", title: `${image.library}/${image.path}` }, el("span", {}, name),
      el("span", { class: "where" }, folder(image))));
  const tools = el("div", { class: "tools" },
    el("a", { class: "tool", href: image.content_url, target: "_blank", rel: "noopener", title: "Open the original",
      "aria-label": `Open the original of ${name}` }, svg(["M14 4h6v6", "M20 4l-9 9", "M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5"])),
    el("button", { class: "tool", type: "button", title: "Copy the path", "aria-label": `Copy the path of ${name}`,
      onclick: () => copyPath(image) }, svg(["M9 9h11v11H9z", "M5 15H4V4h11v1"])));
  return el("li", { class: "card" }, link, tools, isHit ? steering(image, name) : null);
}

function fullPath(image) {
  const library = libraries.find((library) => library.name === image.library);
  return library ? `${library.root.replace(/\/$/, "")}/${image.path}` : `${image.library}/${image.path}`;
}

async function copyPath(image) {
  const path = fullPath(image);
  try {
    await navigator.clipboard.writeText(path);
    toast("Path copied");
  } catch {
    // Without HTTPS, browsers give the clipboard to this page on localhost only.
    window.prompt("The path", path);
  }
}

let toastTimer;
function toast(words) {
  $("toast").textContent = words;
  $("toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("on"), 1800);
}

function skeletons(count) {
  const cards = Array.from({ length: count }, () => el("li", { class: "card skeleton", "aria-hidden": "true" }, el("span", { class: "frame" })));
  $("grid").replaceChildren(...cards);
  $("grid").setAttribute("aria-busy", "true");
  $("message").hidden = true;
  $("more").hidden = true;
  $("results-words").textContent = "Looking …";
}

function show(images, more) {
  const cards = images.map(card);
  for (const image of images) known.set(image.id, image);
  const unlike = images.findIndex((image) => image.band === "no_match");
  if (unlike >= 0) cards.splice(unlike, 0, divider(unlike === 0));
  if (more) $("grid").append(...cards);
  else $("grid").replaceChildren(...cards);
  $("grid").removeAttribute("aria-busy");
  $("message").hidden = true;
  shown = more ? shown + images.length : images.length;
  failed = false;
}

function message(kind, title, ...parts) {
  $("grid").replaceChildren();
  $("grid").removeAttribute("aria-busy");
  $("more").hidden = true;
  $("message").className = `message ${kind}`;
  $("message").replaceChildren(el("h3", {}, title), ...parts.filter((part) => part !== null));
  $("message").hidden = false;
  $("results-words").textContent = "";
  shown = 0;
}

// The question itself is at fault: asking it once more changes nothing.
const LASTING = new Set(["invalid_request", "invalid_parameter", "model_without_text", "cancels_out", "too_large", "not_an_image",
  "unsupported_format", "unsupported_feature", "empty", "too_many_pixels", "too_much_memory", "truncated", "corrupt"]);

// What the service says, as a sentence; what it quotes is set as code.
function sentence(words) {
  const capital = words.charAt(0).toUpperCase() + words.slice(1);
  return capital.split("`").map((part, at) => at % 2 === 1 ? el("code", {}, part) : part);
}

function showProblem(problem) {
  failed = true;
  const lasts = LASTING.has(problem.code);
  if (lasts) $("results-title").textContent = "Nothing to show";
  message("error", problem.title || "Something went wrong", el("p", {}, ...sentence(problem.message)),
    lasts ? null : el("button", { class: "button", type: "button", onclick: () => repeat() }, "Try again"),
    problem.requestId ? el("small", {}, `${problem.code ?? ""} · request ${problem.requestId}`) : null);
}

function showEmpty() {
  const roots = libraries.map((library) => el("p", {}, el("code", {}, library.root)));
  message("empty", "No pictures in the index yet",
    el("p", {}, roots.length ? "Drop pictures into this folder; they show up here a moment later:" : "Pictures show up here as soon as a watched folder has some."),
    ...roots);
}

/* ---- questions ---- */

let repeat = () => {};

// Starts a question: the one before is given up.
function start(title) {
  pending?.abort();
  pending = new AbortController();
  cursor = null;
  browsing = false;
  failed = false;
  $("results-title").textContent = title;
  return { mine: ++turn, signal: pending.signal };
}

// What is asked for: a picture that is shown large, or something else.
function setQuery(image, asked = Boolean(image)) {
  if (queryUrl) URL.revokeObjectURL(queryUrl);
  queryUrl = image?.blob ? image.src : null;
  $("query").hidden = !image;
  $("invite").hidden = asked;
  $("again").hidden = !asked;
  if (!image) {
    $("query-image").removeAttribute("src");
    return;
  }
  $("query-image").src = image.src;
  $("query-image").alt = `The picture that was asked for: ${image.name}`;
  $("query-name").textContent = image.name;
  $("query-links").replaceChildren(...(image.links ?? []));
}

async function run({ mine, signal }, question) {
  try {
    const answer = await question(signal);
    if (mine !== turn) return;
    if (answer.hits.length === 0) {
      message("empty", "Nothing to compare with yet", el("p", {}, "No other picture is in the index."));
      return;
    }
    show(answer.hits);
    const words = `${number.format(answer.hits.length)} nearest · ${answer.took_ms < 10 ? answer.took_ms.toFixed(1) : Math.round(answer.took_ms)} ms`;
    // To be heard; who sees the grid reads it there.
    const nothing = el("span", { class: "unseen" }, "Nothing here looks much like it. ");
    $("results-words").replaceChildren(answer.band === "no_match" ? nothing : "", words);
  } catch (error) {
    if (error.name === "AbortError" || mine !== turn) return;
    showProblem(error);
  }
}

async function browse() {
  const { mine, signal } = start("From your library");
  setQuery(null);
  browsing = true;
  repeat = browse;
  skeletons(12);
  try {
    const answer = await ask(`/v1/images?limit=${PAGE}`, { signal });
    if (mine !== turn) return;
    if (answer.images.length === 0) return showEmpty();
    show(answer.images);
    pageEnd(answer);
  } catch (error) {
    if (error.name === "AbortError" || mine !== turn) return;
    showProblem(error);
    browsing = true;
  }
}

function pageEnd(answer) {
  cursor = answer.cursor ?? null;
  $("more").hidden = !cursor;
  $("results-words").textContent = "Choose one to see what looks like it";
}

async function showMore() {
  const mine = turn;
  $("more").disabled = true;
  try {
    const answer = await ask(`/v1/images?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`, { signal: pending.signal });
    if (mine !== turn) return;
    show(answer.images, true);
    pageEnd(answer);
  } catch (error) {
    if (error.name !== "AbortError" && mine === turn) toast(error.message);
  } finally {
    $("more").disabled = false;
  }
}

async function like(id) {
  const state = start("Pictures like this");
  repeat = () => like(id);
  skeletons(12);
  window.scrollTo({ top: 0 });
  run(state, (signal) => ask(`/v1/images/${id}/similar?limit=${HITS}`, { signal }));
  try {
    const image = await ask(`/v1/images/${id}`, { signal: state.signal });
    if (state.mine !== turn) return;
    setQuery({ src: image.thumbnail_url, name: baseName(image.path), links: [
      el("span", { class: "quiet" }, `${folder(image)} · ${image.width}\u00a0×\u00a0${image.height}`),
      el("a", { href: image.content_url, target: "_blank", rel: "noopener" }, "Original"),
      el("button", { type: "button", onclick: () => copyPath(image) }, "Copy path"),
      el("button", { type: "button", onclick: () => openLife(id, image.library, baseName(image.path)) }, "Its life"),
    ] });
  } catch {
    // The search above says what is wrong; the picture that was asked about before is not meant.
    if (state.mine === turn) setQuery(null, true);
  }
}

// A dropped picture has no address that could be opened again; Back leads to what was before.
let uploaded = null;
function searchByFile(file) {
  if (!file) return;
  uploaded = file;
  if (location.hash === "#/picture") byUpload();
  else location.hash = "#/picture";
}

function byUpload() {
  if (!uploaded) {
    location.replace("#/");
    return;
  }
  const file = uploaded;
  const state = start("Pictures like yours");
  repeat = byUpload;
  setQuery({ src: URL.createObjectURL(file), blob: true, name: file.name && file.name !== "image.png" ? file.name : "Your picture",
    links: [el("span", { class: "quiet" }, size(file.size))] });
  skeletons(12);
  window.scrollTo({ top: 0 });
  run(state, (signal) => ask(`/v1/search/image?limit=${HITS}`, {
    method: "POST", body: file, signal, headers: { "content-type": file.type || "application/octet-stream" } }));
}

function size(bytes) {
  if (bytes < 1e3) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function route() {
  const match = /^#\/like\/([0-9a-f]{32})$/.exec(location.hash);
  const mix = location.hash.startsWith("#/find?") ? currentMix() : null;
  const isLike = match || location.hash === "#/picture" || mix && hasAim(mix);
  document.title = isLike ? "Pictures like this · lookalike" : "lookalike";
  prepareWords();
  if (mix) {
    byMix(mix);
    return;
  }
  showChips(null);
  if (match) like(match[1]);
  else if (location.hash === "#/picture") byUpload();
  else browse();
}

/* ---- counters ---- */

let lastWords = "";
let wasAway = false;

function count(value, words, title) {
  return el("span", { title }, el("b", {}, number.format(value)), ` ${words}`);
}

function showStats(stats) {
  libraries = stats.libraries;
  const parts = [count(stats.on_disk, "on disk", "Files in the watched folders"), count(stats.indexed, "indexed", "Can be found")];
  if (stats.failed > 0) {
    parts.push(el("button", { type: "button", title: "Files that can't be indexed, and why", onclick: openFailures }, el("b", {}, number.format(stats.failed)), " failed"));
  } else parts.push(count(0, "failed", "Can't be indexed"));
  parts.push(count(stats.ignored, "ignored", "Not meant to be indexed"), count(stats.in_flight, "in flight", "Seen, and not yet indexed"));
  if (stats.in_flight > 0 && stats.rates.files_per_second > 0) {
    parts.push(el("span", { class: "rate" }, `${number.format(stats.rates.files_per_second)} files/s`));
  }
  // The button would lose the focus if it were made anew each second.
  const key = JSON.stringify([stats.on_disk, stats.indexed, stats.failed, stats.ignored, stats.in_flight, stats.rates]);
  if ($("counters").dataset.key !== key) {
    const hadFocus = $("counters").contains(document.activeElement);
    $("counters").dataset.key = key;
    $("counters").replaceChildren(...parts);
    if (hadFocus) $("counters").querySelector("button")?.focus();
  }
  const busy = stats.in_flight > 0;
  $("progress").hidden = !busy;
  $("progress-bar").style.width = `${stats.on_disk ? (100 * (stats.on_disk - stats.in_flight)) / stats.on_disk : 0}%`;
  // Spoken at the ends only: a counter read out each second would be noise.
  const words = busy ? "Indexing is under way." : `All done: ${number.format(stats.indexed)} pictures can be found, ${number.format(stats.failed)} failed.`;
  if (words !== lastWords) {
    lastWords = words;
    $("progress-words").textContent = words;
  }
  showTroubles(stats);
  showWords(stats.model);
  // What embedders say of themselves begins with their model; it may still be another one.
  const model = `${stats.model.name} (${number.format(stats.model.dimension)} numbers)`;
  $("model").textContent = !stats.device || stats.device.startsWith(model) ? stats.device || model : `${model} · ${stats.device}`;
  // The first pictures of an empty library appear by themselves.
  if (browsing && shown === 0 && !failed && stats.indexed > 0 && $("grid").getAttribute("aria-busy") !== "true") browse();
  else if (browsing && shown > 0 && shown < 12 && stats.indexed > shown && !cursor) refresh();
}

// Adds what came in since, without a flash of placeholders.
async function refresh() {
  const mine = turn;
  try {
    const answer = await ask(`/v1/images?limit=${PAGE}`);
    if (mine !== turn || !browsing || answer.images.length <= shown) return;
    show(answer.images);
    pageEnd(answer);
  } catch {
    // The next second tries again.
  }
}

async function poll() {
  if (!document.hidden) {
    try {
      showStats(await ask("/v1/stats"));
      if (wasAway) {
        wasAway = false;
        if (failed) repeat();
      }
    } catch (error) {
      wasAway = true;
      $("counters").dataset.key = "";
      $("counters").replaceChildren(el("span", {}, error.title ?? "No counts now"));
      $("progress").hidden = true;
    }
  }
  setTimeout(poll, 1000);
}

/* ---- pictures in ---- */

function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0];
}

for (const id of ["choose", "camera"]) {
  $(id).addEventListener("change", (event) => {
    searchByFile(event.target.files[0]);
    event.target.value = "";
  });
}
$("again").addEventListener("click", () => { location.hash = "#/"; });
$("more").addEventListener("click", showMore);

document.addEventListener("paste", (event) => {
  const file = pictureIn(event.clipboardData);
  if (file) {
    event.preventDefault();
    searchByFile(file);
  } else if (event.target !== $("words-text")) toast("There is no picture in the clipboard");
});

// Entering and leaving fire for every element on the way: count them.
let depth = 0;
const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener("dragenter", (event) => {
  if (!carriesFiles(event)) return;
  depth += 1;
  $("veil").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!carriesFiles(event)) return;
  depth -= 1;
  if (depth <= 0) $("veil").hidden = true;
});
document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  depth = 0;
  $("veil").hidden = true;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  searchByFile(pictureIn(event.dataTransfer));
});

window.addEventListener("hashchange", route);
startUpkeep();
startMix();
route();
poll();
