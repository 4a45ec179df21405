// The dialog of files that are not in the index: grouped by reason, with buttons to retry or discard them.

import { post, request } from "./client.js";
import { confirmAction, createSheet } from "./dialog.js";
import { $, el } from "./dom.js";
import { baseName, formatSize, number } from "./format.js";
import { openHistory } from "./history.js";

const RETRIED = { url: "/v1/failures/retry", singular: "is being retried", plural: "are being retried" };
const DISCARDED = { url: "/v1/failures/discard", singular: "is ignored until it changes", plural: "are ignored until they change" };

let cursor = null;
// Libraries whose watcher is unreachable: their failures are not in the list.
const unreachable = new Set();
// A section for each code, in the order of arrival.
const groups = new Map();
// Increases with every opening; responses to an older one are dropped.
let openings = 0;

export function openFailures() {
  openings += 1;
  groups.clear();
  unreachable.clear();
  $("failures-status").textContent = "";
  $("failures-body").replaceChildren(el("p", { class: "quiet" }, "Loading …"));
  $("failures-more").hidden = true;
  if (!$("failures").open) $("failures").showModal();
  return loadFailures(null);
}

async function loadFailures(after) {
  const opening = openings;
  $("failures-more").disabled = true;
  try {
    const answer = await request("/v1/failures", { parameters: { limit: 100, cursor: after } });
    if (opening !== openings) return;
    if (!after) $("failures-body").replaceChildren();
    for (const failure of answer.failures) groupOf(failure).list.append(failureItem(failure));
    for (const library of answer.unreachable_libraries) unreachable.add(library);
    cursor = answer.cursor;
    $("failures-more").hidden = !cursor;
    updateCounts();
    if (unreachable.size) $("failures-status").textContent = unreachableText([...unreachable]);
  } catch (error) {
    if (opening !== openings) return;
    const nodes = [el("p", {}, error.message), error.requestId ? el("p", { class: "quiet" }, `request ${error.requestId}`) : ""];
    if (after) $("failures-status").replaceChildren(...nodes);
    else $("failures-body").replaceChildren(...nodes);
  } finally {
    $("failures-more").disabled = false;
  }
}

function groupOf(failure) {
  const present = groups.get(failure.code);
  if (present) return present;
  const title = failure.reason?.title ?? failure.code.replaceAll("_", " ");
  const count = el("span", { class: "quiet" });
  const list = el("ul");
  const button = (text, label, action) => el("button", { class: "button small", type: "button", "aria-label": `${label}: ${title}`,
    onclick: (event) => action(event.currentTarget) }, text);
  const section = el("section", { class: "reason" },
    el("div", { class: "reason-head" },
      el("h3", {}, title, " ", count),
      el("div", { class: "reason-tools" },
        button("Retry all", "Retry all", (pressed) => applyAction(RETRIED, { code: failure.code }, pressed)),
        button("Discard all …", "Discard all until they change", (pressed) => discardAll(failure.code, title, pressed)))),
    failure.reason ? el("p", {}, failure.reason.sentence, " ", el("span", { class: "remedy" }, failure.reason.remedy)) : null,
    list);
  $("failures-body").append(section);
  const group = { section, list, count };
  groups.set(failure.code, group);
  return group;
}

function failureItem(failure) {
  const name = baseName(failure.path);
  const frame = el("span", { class: "preview", "aria-hidden": "true" });
  // A browser displays as much of a truncated picture as there is.
  if (failure.preview_url) {
    frame.append(el("img", { src: failure.preview_url, alt: "", loading: "lazy", decoding: "async", onerror: (event) => event.currentTarget.remove() }));
  }
  const tool = (text, label, action) => el("button", { class: "link", type: "button", "aria-label": `${label}: ${name}`, onclick: action }, text);
  const selection = { ids: [failure.id], library: failure.library };
  return el("li", {}, frame,
    el("div", { class: "details" },
      el("span", { class: "path" }, `${failure.library}/${failure.path}`),
      el("span", { class: "why" }, `${failure.detail} (${formatSize(failure.bytes)})`),
      el("span", { class: "item-tools" },
        tool("Retry", "Retry", (event) => applyAction(RETRIED, selection, event.currentTarget)),
        tool("Discard", "Discard until it changes", (event) => applyAction(DISCARDED, selection, event.currentTarget)),
        tool("History", "History", () => openHistory(failure.id, failure.library, name)))));
}

// Asks first: this also affects files that are not loaded yet.
async function discardAll(code, title, button) {
  const isConfirmed = await confirmAction(`Discard all failures of “${title}”?`,
    "They count as ignored until they change, including those not listed here. No file on disk is touched.\n“lookalike failures retry --code discarded” undoes this.",
    "Discard them");
  if (isConfirmed) await applyAction(DISCARDED, { code }, button);
}

function unreachableText(libraries) {
  return `The watcher of ${libraries.join(", ")} is unreachable.`;
}

// Carries out an action. The affected files leave the list, and the focus stays near.
async function applyAction(action, selection, button) {
  button.disabled = true;
  try {
    const answer = await post(action.url, selection);
    const warning = answer.unreachable_libraries.length ? ` ${unreachableText(answer.unreachable_libraries)}` : "";
    const files = answer.files === 1 ? `file ${action.singular}` : `files ${action.plural}`;
    $("failures-status").textContent = `${number.format(answer.files)} ${files}.${warning}`;
    const removed = selection.ids ? button.closest("li") : button.closest("section");
    const next = removed.nextElementSibling ?? removed.previousElementSibling ?? null;
    removed.remove();
    if (selection.code && cursor) await reload();
    updateCounts();
    ((next?.isConnected && next.querySelector("button")) || $("failures-close")).focus();
  } catch (error) {
    $("failures-status").textContent = error.message;
    button.disabled = false;
  }
}

// All files of one code are gone, so the following pages have shifted.
async function reload() {
  if (!$("failures").open) return;
  const status = $("failures-status").textContent;
  await openFailures();
  $("failures-status").textContent = status;
}

function updateCounts() {
  for (const [code, group] of groups) {
    const count = group.list.children.length;
    if (!group.section.isConnected || count === 0) {
      group.section.remove();
      groups.delete(code);
    } else group.count.textContent = `${number.format(count)}${cursor ? "+" : ""}`;
  }
  if (groups.size) return;
  const text = unreachable.size || cursor ? "None so far." : "None: every file is either in the index or ignored.";
  $("failures-body").replaceChildren(el("p", { class: "quiet" }, text));
}

export function startFailuresDialog() {
  const { dialog, body, close } = createSheet("failures", "Files that are not in the index");
  close.id = "failures-close";
  body.before(el("p", { class: "quiet" }, "They stay unchanged on disk and delay no other file. Each one is retried automatically when it changes."),
    el("p", { id: "failures-status", class: "status", role: "status" }));
  dialog.append(el("p", { class: "more" }, el("button", { id: "failures-more", class: "button", type: "button", hidden: "", onclick: () => loadFailures(cursor) }, "Show more")));
}
