// Dialogs: building and closing them, and asking for a confirmation.

import { $, button, el } from "./dom.js";

// Closes a dialog by its button or by a click on its backdrop.
function startDialog(dialog, closeButton) {
  closeButton.addEventListener("click", () => dialog.close());
  // A click into the dialog's own padding also has the dialog as its target; only its position tells them apart.
  dialog.addEventListener("pointerdown", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const isOutside = event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
    if (event.target === dialog && isOutside) dialog.close();
  });
}

// Builds a dialog with a title, a button that closes it, and an empty body.
export function createSheet(id, title, kind = "") {
  const close = button("Close", null);
  const body = el("div", { class: "sheet-body", id: `${id}-body` });
  const dialog = el("dialog", { id, class: `sheet ${kind}`, "aria-labelledby": `${id}-title` },
    el("div", { class: "sheet-head" }, el("h2", { id: `${id}-title` }, title), close), body);
  startDialog(dialog, close);
  document.body.append(dialog);
  return { dialog, body, close, heading: $(`${id}-title`) };
}

// Asks a question with the answers "Cancel" and `yes`. Each line of `text` is a paragraph.
export function confirmAction(title, text, yes) {
  $("confirm-title").textContent = title;
  $("confirm-text").replaceChildren(...text.split("\n").map((line) => el("p", {}, line)));
  $("confirm-yes").textContent = yes;
  $("confirm").returnValue = "";
  $("confirm").showModal();
  $("confirm-no").focus();
  return new Promise((resolve) => {
    $("confirm").addEventListener("close", () => resolve($("confirm").returnValue === "yes"), { once: true });
  });
}

export function startConfirmDialog() {
  startDialog($("confirm"), $("confirm-no"));
  $("confirm-yes").addEventListener("click", () => $("confirm").close("yes"));
}
