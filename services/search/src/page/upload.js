// Pictures from this device: chosen, taken with a camera, pasted or dropped; to search by, or to add to a library.

import { offerPictures } from "./add_pictures.js";
import { $, toast } from "./dom.js";
import { uploadPicture } from "./query.js";

function picturesIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  const pictures = files.filter((file) => file.type.startsWith("image/"));
  return pictures.length ? pictures : files.slice(0, 1);
}

function startFileInputs() {
  for (const id of ["choose", "camera"]) {
    $(id).addEventListener("change", (event) => {
      uploadPicture(event.target.files[0]);
      event.target.value = "";
    });
  }
  $("add").addEventListener("change", (event) => {
    offerPictures([...event.target.files], null);
    event.target.value = "";
  });
}

function startPaste() {
  document.addEventListener("paste", (event) => {
    const [file] = picturesIn(event.clipboardData);
    if (file) {
      event.preventDefault();
      uploadPicture(file);
    } else if (!event.target.closest("input, textarea")) toast("There is no picture in the clipboard");
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
    const files = picturesIn(event.dataTransfer);
    if (files.length) offerPictures(files, uploadPicture);
  });
}

export function startUploads() {
  startFileInputs();
  startPaste();
  startDrop();
}
