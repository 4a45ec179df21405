// Choosing a part of a picture, with a mouse, a finger or the keyboard.

import { createSheet } from "./dialog.js";
import { button, el } from "./dom.js";

// The smallest side of a region, as a fraction of the picture's.
const MIN_SIDE = 0.05;
const STEP = 0.02;

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

let sheet = null;
let region = null;
let area = null;
let frame = null;

function showRegion() {
  for (const [side, value] of [["left", region.x], ["top", region.y], ["width", region.width], ["height", region.height]]) frame.style[side] = `${value * 100}%`;
  const percent = (value) => `${Math.round(value * 100)} %`;
  frame.setAttribute("aria-label", `Part of the picture: ${percent(region.width)} wide, ${percent(region.height)} high, ${percent(region.x)} from the left, ${percent(region.y)} from the top`);
}

function moveRegion(dx, dy) {
  region.x = clamp(region.x + dx, 0, 1 - region.width);
  region.y = clamp(region.y + dy, 0, 1 - region.height);
  showRegion();
}

// Spans the region between two corners.
function spanRegion(from, to) {
  const span = (a, b) => {
    const start = clamp(Math.min(a, b), 0, 1 - MIN_SIDE);
    return [start, clamp(Math.max(a, b), start + MIN_SIDE, 1) - start];
  };
  [region.x, region.width] = span(from.x, to.x);
  [region.y, region.height] = span(from.y, to.y);
  showRegion();
}

function startDrag(event) {
  if (event.button !== 0) return;
  event.preventDefault();
  frame.focus();
  const bounds = area.getBoundingClientRect();
  const at = ({ clientX, clientY }) => ({ x: clamp((clientX - bounds.left) / bounds.width, 0, 1), y: clamp((clientY - bounds.top) / bounds.height, 0, 1) });
  let from = at(event);
  const corner = event.target.dataset?.corner;
  const isMove = !corner && frame.contains(event.target);
  // A corner is dragged away from the opposite one.
  if (corner) from = { x: region.x + (corner.includes("w") ? region.width : 0), y: region.y + (corner.includes("n") ? region.height : 0) };
  area.setPointerCapture(event.pointerId);
  const drag = (moved) => {
    const to = at(moved);
    if (!isMove) {
      spanRegion(from, to);
      return;
    }
    moveRegion(to.x - from.x, to.y - from.y);
    from = to;
  };
  const stop = () => area.removeEventListener("pointermove", drag);
  area.addEventListener("pointermove", drag);
  area.addEventListener("pointerup", stop, { once: true });
  area.addEventListener("pointercancel", stop, { once: true });
}

function handleKey(event) {
  if (event.key === "Enter") {
    event.preventDefault();
    sheet.dialog.close("done");
    return;
  }
  const [dx, dy] = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key] ?? [0, 0];
  if (!dx && !dy) return;
  event.preventDefault();
  if (!event.shiftKey) {
    moveRegion(dx, dy);
    return;
  }
  region.width = clamp(region.width + dx, MIN_SIDE, 1 - region.x);
  region.height = clamp(region.height + dy, MIN_SIDE, 1 - region.y);
  showRegion();
}

function buildSheet() {
  sheet = createSheet("region", "Search by a part of the picture");
  frame = el("div", { class: "region-frame", tabindex: "0", role: "application", "aria-describedby": "region-help", onkeydown: handleKey },
    ...["nw", "ne", "sw", "se"].map((corner) => el("span", { class: `corner ${corner}`, "data-corner": corner })));
  area = el("div", { class: "region-area", onpointerdown: startDrag }, el("img", { alt: "", draggable: "false" }), frame);
  sheet.body.append(el("p", { id: "region-help", class: "quiet" }, "Drag over the part that counts. ", el("span", { class: "keys" }, "Arrow keys move it, Shift and arrow keys change its size, Enter searches.")),
    el("div", { class: "region-stage" }, area),
    el("div", { class: "buttons" }, button("Search by this part", () => sheet.dialog.close("done"), { class: "button strong" })));
}

// Resolves to a region in fractions of the picture, or to null if the person closes the dialog.
export function selectRegion(src, name, present) {
  if (!sheet) buildSheet();
  region = present ? { ...present } : { x: 0.25, y: 0.25, width: 0.5, height: 0.5 };
  const image = area.querySelector("img");
  image.src = src;
  image.alt = name;
  showRegion();
  sheet.dialog.returnValue = "";
  sheet.dialog.showModal();
  frame.focus();
  return new Promise((resolve) => {
    sheet.dialog.addEventListener("close", () => resolve(sheet.dialog.returnValue === "done" ? { ...region } : null), { once: true });
  });
}
