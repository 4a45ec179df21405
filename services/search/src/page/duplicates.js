// Pictures of which there are copies: identical files, or near-duplicates; which one to keep, and why.

import { openState, parseAddress } from "./address.js";
import { isMissing, request } from "./client.js";
import { openDetail } from "./detail.js";
import { $, button, el } from "./dom.js";
import { filterText } from "./filters.js";
import { baseName, count, formatSize, number } from "./format.js";
import { copyText, fullPath, imageFolder } from "./libraries.js";
import { thumbnail } from "./picture.js";
import { showQuery } from "./query.js";
import { rememberImages, showGroups, showMessage, showProblem, showSkeletons } from "./results.js";
import { startView } from "./search.js";
import { selectImages } from "./selection.js";

const GROUPS_PER_PAGE = 20;
const KINDS = { identical: "Identical files", near: "All copies" };
const TITLES = { identical: "The same file", near: "Copies" };

function kindTabs(kind) {
  return el("div", { class: "segments", role: "group", "aria-label": "Kind of copies" }, Object.entries(KINDS).map(([value, text]) =>
    button(text, () => openState({ ...parseAddress(), kind: value === "near" ? "near" : null }), { class: "button small", "aria-pressed": String(kind === value) })));
}

function copyCard(image, images) {
  const name = baseName(image.path);
  return el("li", { class: image.keep ? "copy keep" : "copy" },
    el("button", { type: "button", class: "copy-picture", "aria-label": `Show ${name} large`, onclick: () => openDetail(image, images) },
      el("span", { class: "frame" }, thumbnail(image, 200))),
    el("div", { class: "copy-text" },
      el("p", { class: "verdict" }, image.keep ? "Keep" : "Copy"),
      el("p", { class: "name", title: `${image.library}/${image.path}` }, name),
      el("p", { class: "quiet" }, imageFolder(image)),
      el("p", { class: "quiet" }, `${image.width}\u00a0×\u00a0${image.height} · ${formatSize(image.bytes)} · ${image.format.toUpperCase()}`),
      image.reasons.length ? el("ul", { class: "reasons" }, image.reasons.map((reason) => el("li", {}, reason))) : null));
}

function groupNode({ kind, images, reclaimable_bytes: bytes }) {
  rememberImages(images);
  const copies = images.filter((image) => !image.keep);
  const paths = () => copyText(copies.map(fullPath).join("\n"), `${count(copies.length, "path")} copied`);
  return el("section", { class: "group" },
    el("div", { class: "group-head" },
      el("h3", {}, TITLES[kind] ?? kind, el("span", { class: "quiet" }, ` ${count(images.length, "picture")} · ${formatSize(bytes)} in copies`)),
      el("div", { class: "buttons" }, button("Select the copies", () => selectImages(copies), { class: "button small" }),
        button(copies.length === 1 ? "Copy the path" : "Copy the paths", paths, { class: "button small" }))),
    el("ul", { class: "copies" }, images.map((image) => copyCard(image, images))));
}

export function showDuplicates() {
  const state = parseAddress();
  const kind = state.kind ?? "identical";
  const view = startView("Copies", showDuplicates);
  showQuery(null, true);
  $("results-tools").replaceChildren(kindTabs(kind));
  $("results-tools").hidden = false;
  showSkeletons();
  $("results-summary").textContent = "Looking for copies …";
  loadGroups(view, { kind, filter: filterText(state), limit: GROUPS_PER_PAGE });
}

// Pages may be empty and have a cursor: each one is the work of a limited time.
async function loadGroups(view, parameters) {
  const progress = { groups: 0, bytes: 0, examined: 0 };
  const list = el("div", { class: "groups" });
  let cursor = null;
  let isLoading = false;
  const load = async () => {
    if (isLoading) return;
    isLoading = true;
    try {
      for (let found = 0; found === 0;) {
        const answer = await request("/v1/duplicates", { signal: view.signal, parameters: { ...parameters, cursor } });
        if (!view.isCurrent()) return;
        cursor = answer.cursor;
        found = answer.groups.length;
        list.append(...answer.groups.map(groupNode));
        if (progress.groups === 0 && found) showGroups(list);
        progress.groups += found;
        progress.examined += answer.examined;
        progress.bytes += answer.groups.reduce((sum, group) => sum + group.reclaimable_bytes, 0);
        describeProgress(progress, cursor);
        if (!cursor) break;
      }
      $("loading-more").hidden = true;
      if (progress.groups === 0) showNone(parameters);
      else if (cursor) showMoreButton("Show more", load);
    } catch (error) {
      if (error.name === "AbortError" || !view.isCurrent()) return;
      if (progress.groups > 0) {
        showMoreButton("Try again", load, `${error.message} `);
        return;
      }
      if (isMissing(error)) $("view-duplicates").hidden = true;
      showProblem(error, showDuplicates);
    } finally {
      isLoading = false;
    }
  };
  await load();
}

function describeProgress({ groups, bytes, examined }, cursor) {
  const found = groups ? `${count(groups, "group")} · ${formatSize(bytes)} in copies · ` : "";
  $("results-summary").textContent = `${found}${number.format(examined)} pictures examined${cursor ? " so far" : ""}`;
}

function showMoreButton(label, load, message = "") {
  const more = button(label, () => {
    $("loading-more").replaceChildren("Looking for copies …");
    load();
  });
  $("loading-more").replaceChildren(message, more);
  $("loading-more").hidden = false;
}

function showNone({ kind, filter }) {
  const other = kind === "identical" ? button("Look for all copies", () => openState({ ...parseAddress(), kind: "near" })) : null;
  showMessage("empty", filter ? "No copies match these filters" : "There are no copies",
    el("p", {}, kind === "identical" ? "No two files have the same content. Smaller, cropped or edited copies are another kind." : "No two pictures are copies of each other."), other);
}
