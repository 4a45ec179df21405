// Helpers that build and find elements. All markup is built with DOM calls, so a file name is never parsed as HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svgElement(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// An icon of 24 × 24 units, drawn from path data.
export function icon(paths) {
  const root = svgElement("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
  root.append(...paths.map((d) => svgElement("path", { d })));
  return root;
}

export function percentBar(percent) {
  const root = svgElement("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none" });
  root.append(svgElement("rect", { width: percent.toFixed(1), height: "4" }));
  return root;
}

let toastTimer;

export function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("on");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("on"), 1800);
}
