// Pictures to search by: chosen, taken with a camera, pasted or dropped.

import { $, toast } from "./dom.js";
import { uploadPicture } from "./search.js";

function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0];
}

function startFileInputs() {
  for (const id of ["choose", "camera"]) {
    $(id).addEventListener("change", (event) => {
      uploadPicture(event.target.files[0]);
      event.target.value = "";
    });
  }
}

function startPaste() {
  document.addEventListener("paste", (event) => {
    const file = pictureIn(event.clipboardData);
    if (file) {
      event.preventDefault();
      uploadPicture(file);
    } else if (event.target !== $("text-input")) toast("There is no picture in the clipboard");
  });
}

function startDrop() {
  // dragenter and dragleave fire for every element the pointer crosses, so they are counted.
  let depth = 0;
  const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    $("drop-overlay").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth -= 1;
    if (depth <= 0) $("drop-overlay").hidden = true;
  });
  document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    depth = 0;
    $("drop-overlay").hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    uploadPicture(pictureIn(event.dataTransfer));
  });
}

export function startUploads() {
  startFileInputs();
  startPaste();
  startDrop();
}
