// Downloads the originals of several pictures as one ZIP archive.

import { createSheet } from "./dialog.js";
import { button, el, toast } from "./dom.js";
import { baseName, count, formatSize } from "./format.js";
import { MAX_ZIP_BYTES, ZipArchive, crc32 } from "./zip.js";

// The archive is made in the browser, so its memory limits it.
const MAX_FILES = 1000;
const MAX_BYTES = Math.min(MAX_ZIP_BYTES, 2e9);

let sheet = null;

function openSheet() {
  sheet ??= createSheet("download", "Download", "narrow");
  const controller = new AbortController();
  const text = el("p", { role: "status" });
  const bar = el("progress", { "aria-label": "Files read" });
  sheet.body.replaceChildren(text, bar, button("Stop", () => controller.abort(), { class: "button small" }));
  sheet.dialog.addEventListener("close", () => controller.abort(), { once: true });
  sheet.dialog.showModal();
  return { controller, text, bar };
}

// Adds the original of one picture to the archive. Returns why it is left out, or null.
async function addOriginal(archive, image, signal) {
  const response = await fetch(image.content_url, { signal });
  if (!response.ok) return (await response.json().catch(() => null))?.detail ?? `status ${response.status}`;
  const expected = Number(response.headers.get("content-length"));
  if (archive.bytes + expected > MAX_BYTES) return `the archive would exceed ${formatSize(MAX_BYTES)}`;
  const chunks = [];
  let [size, crc] = [0, 0];
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    size += value.length;
    crc = crc32(crc, value);
    if (archive.bytes + size > MAX_BYTES) {
      await reader.cancel();
      return `the archive would exceed ${formatSize(MAX_BYTES)}`;
    }
  }
  archive.addFile(`${image.library}/${image.path}`, new Date(image.modified_at ?? Date.now()), chunks, size, crc);
  return null;
}

function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser needs the address until it has started to save.
  setTimeout(() => URL.revokeObjectURL(url), 60e3);
}

export async function downloadPictures(images) {
  const { controller, text, bar } = openSheet();
  const archive = new ZipArchive();
  const leftOut = images.slice(MAX_FILES).map((image) => [image, `more than ${count(MAX_FILES, "file")}`]);
  const included = images.slice(0, MAX_FILES);
  bar.max = included.length;
  try {
    for (const [at, image] of included.entries()) {
      text.textContent = `Reading ${at + 1} of ${count(included.length, "file")}, ${formatSize(archive.bytes)} …`;
      bar.value = at;
      try {
        const reason = await addOriginal(archive, image, controller.signal);
        if (reason) leftOut.push([image, reason]);
      } catch (error) {
        if (error.name === "AbortError") throw error;
        leftOut.push([image, "lookalike cannot be reached"]);
      }
    }
  } catch {
    // A message in a closed dialog is invisible.
    sheet.dialog.close();
    toast("The download was stopped");
    return;
  }
  if (archive.files) saveBlob(archive.finish(), "lookalike.zip");
  showResult(archive, leftOut);
}

function showResult(archive, leftOut) {
  const list = leftOut.slice(0, 200).map(([image, reason]) => el("li", {}, el("b", {}, baseName(image.path)), ` ${reason}`));
  const more = leftOut.length - list.length;
  sheet.body.replaceChildren(el("p", { role: "status" }, archive.files ? `lookalike.zip contains ${count(archive.files, "file")}, ${formatSize(archive.bytes)}.` : "No file could be read."),
    leftOut.length ? el("p", { class: "error" }, `${count(leftOut.length, "file")} left out:`) : "",
    el("ul", { class: "left-out" }, ...list, more > 0 ? el("li", {}, `and ${count(more, "more file")}`) : null));
  sheet.close.focus();
}
