// Notices above the results: libraries that may be out of date, paused indexing, an unfinished model rollover.

import { post } from "./client.js";
import { confirmAction } from "./dialog.js";
import { $, el, toast } from "./dom.js";
import { number } from "./format.js";
import { findLibrary } from "./libraries.js";

// Only a person can tell whether these are intended.
const CONFIRMABLE = ["mass_delete", "root_missing"];

export function showNotices({ libraries, intake_paused: isPaused, rollover_error: rolloverError }) {
  const degraded = libraries.flatMap((library) => library.degraded.map((reason) => ({ library, reason })));
  const key = JSON.stringify([isPaused, rolloverError, ...degraded.map(({ library, reason }) => [library.name, reason.reason, reason.detail])]);
  // A button that is rebuilt every second would lose the focus.
  if ($("notices").dataset.key === key) return;
  $("notices").dataset.key = key;
  const notices = [];
  if (isPaused) notices.push(notice("New pictures are waiting: the index rejects writes, or the disk of a folder is unresponsive. Nothing is lost."));
  if (rolloverError) notices.push(notice(rolloverError));
  for (const { library, reason } of degraded) notices.push(libraryNotice(library, reason));
  $("notices").replaceChildren(...notices);
}

function notice(...content) {
  return el("div", { class: "notice" }, el("p", {}, ...content));
}

function libraryNotice(library, reason) {
  const node = notice(el("b", {}, library.name), ` may be out of date: ${reason.detail}`);
  if (CONFIRMABLE.includes(reason.reason)) {
    node.append(el("button", { class: "button small", type: "button", onclick: () => confirmLibrary(library.name, reason) }, "This is intended …"));
  }
  return node;
}

async function confirmLibrary(name, reason) {
  const library = findLibrary(name);
  const count = library && library.indexed !== null ? `${number.format(library.indexed + library.in_flight)} pictures of this library are in the index. ` : "";
  const isConfirmed = await confirmAction(`Accept the folder of “${name}” as it is now?`,
    `${reason.detail}\n${count}Pictures that are not in the folder are removed from the index. No file is touched. If a disk is only disconnected, its pictures must be indexed again later.`,
    "Accept the folder");
  if (!isConfirmed) return;
  try {
    await post(`/v1/libraries/${encodeURIComponent(name)}/confirm`);
    toast(`The folder of ${name} is being compared with the index`);
  } catch (error) {
    toast(error.message);
  }
}
