// Adds pictures to a library that permits uploads, and shows what becomes of them.

import { request } from "./client.js";
import { createSheet } from "./dialog.js";
import { openDetail } from "./detail.js";
import { $, button, el, toast } from "./dom.js";
import { count, formatSize } from "./format.js";
import { uploadLibraries } from "./libraries.js";

// Tells the page that a library has new pictures.
export const ADDED_EVENT = "pictures-added";

const MAX_FILES = 500;
const POLL_INTERVAL_MS = 500;
// After that, the counters at the top tell more than this list.
const MAX_POLLS = 240;

const STATES = { landed: "Stored; being indexed …", indexed: "In the index", failed: "Cannot be indexed", removed: "Removed again" };

let sheet = null;

export function showUploadButton() {
  $("add-label").hidden = uploadLibraries().length === 0;
}

// Asks what to do with pictures. Without a library that accepts them, the first one is searched by; `search` is null if that
// is not a choice.
export function offerPictures(files, search) {
  const libraries = uploadLibraries();
  if (libraries.length === 0) {
    search?.(files[0]);
    return;
  }
  sheet ??= createSheet("add-pictures", "Add pictures", "narrow");
  sheet.heading.textContent = files.length === 1 ? files[0].name : count(files.length, "picture");
  const library = el("select", {}, libraries.map(({ name }) => el("option", { value: name }, name)));
  const folder = el("input", { type: "text", placeholder: "2026/holiday", maxlength: "1000", autocomplete: "off" });
  const form = el("form", { class: "fields", onsubmit: (event) => {
    event.preventDefault();
    addPictures(files.slice(0, MAX_FILES), library.value, folder.value.trim().replace(/^\/+|\/+$/g, ""));
  } },
  search ? button(files.length === 1 ? "Search by this picture" : "Search by the first one", () => { sheet.dialog.close(); search(files[0]); }, { class: "button strong" }) : null,
  search ? el("p", { class: "quiet" }, "Or add to a library:") : null,
  el("label", { class: "field" }, el("span", {}, "Library"), library),
  el("label", { class: "field" }, el("span", {}, "Folder (optional)"), folder),
  files.length > MAX_FILES ? el("p", { class: "error" }, `Only the first ${MAX_FILES} are added.`) : null,
  el("div", { class: "buttons" }, el("button", { class: search ? "button" : "button strong", type: "submit" }, "Add to the library")));
  sheet.body.replaceChildren(form);
  // Pictures can be dropped on an open sheet; closing it stops the upload that it shows.
  sheet.dialog.close();
  sheet.dialog.showModal();
}

function fileItem(file) {
  const state = el("span", { class: "quiet" }, "Waiting …");
  const item = el("li", {}, el("span", { class: "upload-name" }, file.name), el("span", { class: "quiet small" }, formatSize(file.size)), state);
  return { item, show: (...content) => state.replaceChildren(...content) };
}

// One upload at a time: the browser has few connections, and the rest of the page needs some. Closing the sheet stops it.
async function addPictures(files, library, folder) {
  const controller = new AbortController();
  const { signal } = controller;
  sheet.dialog.addEventListener("close", () => controller.abort(), { once: true });
  const rows = files.map((file) => ({ file, ...fileItem(file) }));
  const status = el("p", { role: "status" }, `Adding ${count(files.length, "picture")} to ${library} …`);
  sheet.body.replaceChildren(status, el("ul", { class: "uploads" }, rows.map((row) => row.item)));
  const polls = [];
  let added = 0;
  for (const { file, show } of rows) {
    if (signal.aborted) break;
    show("Sending …");
    try {
      const upload = await request("/v1/images", { method: "POST", body: file, signal, parameters: { library, folder: folder || null, name: file.name },
        headers: { "content-type": file.type || "application/octet-stream" } });
      added += 1;
      window.dispatchEvent(new Event(ADDED_EVENT));
      polls.push(followUpload(upload, show, signal));
    } catch (error) {
      if (signal.aborted) break;
      show(el("span", { class: "error" }, error.message));
    }
  }
  if (signal.aborted) {
    if (added < files.length) toast(`${added} of ${count(files.length, "picture")} stored; stopped`);
    return;
  }
  status.textContent = `${count(added, "picture")} stored in ${library}${added < files.length ? `, ${files.length - added} refused` : ""}.`;
  await Promise.all(polls);
}

async function followUpload(upload, show, signal) {
  let present = upload;
  for (let poll = 0; poll < MAX_POLLS && present.state === "landed" && !signal.aborted; poll++) {
    show(upload.created === false ? "Already there; being indexed …" : STATES.landed);
    await new Promise((resolve) => { setTimeout(resolve, POLL_INTERVAL_MS); });
    present = await request(`/v1/uploads/${upload.id}`).catch(() => present);
  }
  if (present.state === "failed") show(el("span", { class: "error" }, present.detail || STATES.failed));
  else if (present.state === "removed") show(STATES.removed);
  else if (present.state === "indexed") {
    const image = { ...present, id: present.image_id };
    show(button(STATES.indexed, () => { sheet.dialog.close(); openDetail(image, [image]); }, { class: "link", title: "Show it" }));
  }
}
