// Helpers that build and find elements. All markup is built with DOM calls, so a file name is never parsed as HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function button(text, onclick, properties = {}) {
  return el("button", { type: "button", class: "button", ...properties, onclick }, text);
}

export function svgElement(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// An icon of 24 × 24 units, drawn from path data.
export function icon(...paths) {
  return svgElement("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, ...paths.map((d) => svgElement("path", { d })));
}

export const CLOSE_ICON = ["M6 6l12 12", "M18 6L6 18"];

export function percentBar(percent) {
  return svgElement("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none" }, svgElement("rect", { width: percent.toFixed(1), height: "4" }));
}

let toastTimer;

export function toast(text) {
  // Above an open dialog, which is in the top layer. Of several, the last one in the document is normally on top.
  const showing = [...document.querySelectorAll("dialog:modal")].at(-1) ?? document.body;
  if ($("toast").parentNode !== showing) showing.append($("toast"));
  $("toast").textContent = text;
  $("toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("on"), 2600);
}
