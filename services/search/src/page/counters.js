// The counters at the top, polled every second, and what depends on them: notices, the model, new pictures.

import { showUploadButton } from "./add_pictures.js";
import { request } from "./client.js";
import { showTextSearch } from "./combined.js";
import { $, el } from "./dom.js";
import { openFailures } from "./failures.js";
import { showLibraryFilter } from "./filters.js";
import { number } from "./format.js";
import { setLibraries } from "./libraries.js";
import { showNotices } from "./notices.js";
import { repeatFailedView, showNewImages } from "./search.js";

const POLL_INTERVAL_MS = 1000;

let lastProgress = "";
let isUnreachable = false;

function count(value, label, title, kind = null) {
  return el("span", { title, class: kind }, el("b", {}, number.format(value)), ` ${label}`);
}

// Counts are null while no watcher has reported its library; a zero would be wrong.
const isUnknown = (counts) => counts.on_disk === null;

function unknownNode(stats) {
  const missing = stats.libraries.filter(isUnknown).map((library) => library.name).join(", ");
  return el("span", { title: missing ? `No watcher has reported: ${missing}` : "No watcher has reported a library" }, "Counts not known yet");
}

function counterNodes(stats) {
  if (isUnknown(stats)) return [unknownNode(stats)];
  const nodes = [count(stats.on_disk, "on disk", "Files in the watched folders"), count(stats.indexed, "indexed", "Can be found by a search")];
  if (stats.failed > 0) {
    nodes.push(el("button", { type: "button", title: "Files that cannot be indexed, and why", onclick: openFailures }, el("b", {}, number.format(stats.failed)), " failed"));
  } else nodes.push(count(0, "failed", "Cannot be indexed"));
  nodes.push(count(stats.ignored, "ignored", "Excluded from the index"), count(stats.in_flight, "in flight", "Seen, and not indexed yet", stats.in_flight === 0 ? "idle" : null));
  if (stats.in_flight > 0 && stats.rates.files_per_second > 0) {
    nodes.push(el("span", { class: "rate" }, `${number.format(stats.rates.files_per_second)} files/s`));
  }
  return nodes;
}

function showCounters(stats) {
  // A button that is rebuilt every second would lose the focus.
  const key = JSON.stringify([stats.on_disk, stats.indexed, stats.failed, stats.ignored, stats.in_flight, stats.rates, stats.libraries.filter(isUnknown).map((library) => library.name)]);
  if ($("counters").dataset.key === key) return;
  const hadFocus = $("counters").contains(document.activeElement);
  $("counters").dataset.key = key;
  $("counters").replaceChildren(...counterNodes(stats));
  if (hadFocus) $("counters").querySelector("button")?.focus();
}

function describeProgress(stats, isBusy) {
  if (isUnknown(stats)) return "It is not known yet how much is indexed.";
  if (isBusy) return "Indexing is in progress.";
  if (stats.libraries.some((library) => library.scanning)) return "The folders are being scanned.";
  return `Indexing is complete: ${number.format(stats.indexed)} pictures can be found, ${number.format(stats.failed)} failed.`;
}

function showProgress(stats) {
  const isBusy = stats.in_flight > 0;
  $("progress").hidden = !isBusy;
  $("progress-bar").style.width = `${stats.on_disk ? (100 * (stats.on_disk - stats.in_flight)) / stats.on_disk : 0}%`;
  // For screen readers, at the start and the end only: a counter read out every second would be noise.
  const progress = describeProgress(stats, isBusy);
  if (progress === lastProgress) return;
  lastProgress = progress;
  $("progress-text").textContent = progress;
}

function showModel(stats) {
  // The device of an embedder starts with its model, which may still be another one.
  const model = `${stats.model.name} (${number.format(stats.model.dimension)} numbers)`;
  $("model").textContent = !stats.device || stats.device.startsWith(model) ? stats.device || model : `${model} · ${stats.device}`;
}

function showStats(stats) {
  setLibraries(stats.libraries);
  showLibraryFilter();
  showUploadButton();
  showCounters(stats);
  showProgress(stats);
  showNotices(stats);
  showTextSearch(stats.model);
  showModel(stats);
  showNewImages(stats.indexed);
}

export async function pollStats() {
  if (!document.hidden) {
    try {
      showStats(await request("/v1/stats"));
      if (isUnreachable) {
        isUnreachable = false;
        repeatFailedView();
      }
    } catch (error) {
      isUnreachable = true;
      $("counters").dataset.key = "";
      $("counters").replaceChildren(el("span", {}, error.title ?? "No counts available"));
      $("progress").hidden = true;
    }
  }
  setTimeout(pollStats, POLL_INTERVAL_MS);
}
