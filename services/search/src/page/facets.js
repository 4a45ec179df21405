// The panel with the values of one attribute, and how many pictures have each.

import { parseAddress } from "./address.js";
import { request } from "./client.js";
import { $, button, el } from "./dom.js";
import { FIELD_LABELS, filterText, toggleFilter, valueLabel } from "./filters.js";
import { number } from "./format.js";

const MAX_VALUES = 500;
// Lists of more values can be searched.
const SEARCHABLE = 12;

// The facets of the API that each field needs.
const FACETS = { library: ["library"], folder: ["folder"], taken: ["year", "month"], format: ["format"], camera: ["camera"], color: ["color"], tag: ["tag"] };

const EMPTY = { folder: "There are no folders below the root.", taken: "No picture states when it was taken.", camera: "No picture names a camera.", tag: "No picture has tags." };

let opened = null;
// Increases with every opening; responses to an older one are dropped.
let openings = 0;

export async function openFacets(field, opener) {
  const isSame = opened?.opener === opener;
  closeFacets();
  if (isSame) return;
  openings += 1;
  const opening = openings;
  const list = el("div", { class: "facet-values" }, el("p", { class: "quiet" }, "Counting …"));
  $("facets").replaceChildren(
    el("div", { class: "sheet-head" }, el("h2", { id: "facets-title" }, FIELD_LABELS[field]), button("Done", () => closeFacets(true), { class: "button small" })), list);
  opened = { field, opener, others: otherFilters(field) };
  opener.setAttribute("aria-expanded", "true");
  $("facets").hidden = false;
  placePanel(opener);
  $("facets").focus();
  try {
    // The values of the field itself are not filtered, so that another one can be added. A picture has many tags, so these are.
    const filter = filterText(parseAddress(), field === "tag" ? null : field);
    const answer = await request("/v1/facets", { parameters: { fields: FACETS[field].join(","), limit: MAX_VALUES, filter } });
    if (opening === openings && opened) list.replaceChildren(...valueNodes(field, answer));
  } catch (error) {
    if (opening === openings) list.replaceChildren(el("p", { class: "error" }, error.message));
  }
}

export function closeFacets(returnFocus = false) {
  if (!opened) return false;
  const { opener } = opened;
  opened = null;
  $("facets").hidden = true;
  opener.setAttribute("aria-expanded", "false");
  if (returnFocus) opener.focus();
  return true;
}

// The filters of the other fields, on which the numbers in the panel depend.
const otherFilters = (field) => filterText(parseAddress(), field);

// Displays the filters of the address, which Back changes too.
export function updateFacets() {
  if (!opened) return;
  const { field, others } = opened;
  if ($("filters").hidden || otherFilters(field) !== others) {
    closeFacets($("facets").contains(document.activeElement));
    return;
  }
  const chosen = parseAddress().filters[field];
  for (const box of $("facets").querySelectorAll("input[type=checkbox]")) box.checked = chosen.includes(box.value);
}

// Below its button; on narrow screens, the style sheet places it at the bottom.
function placePanel(opener) {
  const rect = opener.getBoundingClientRect();
  const panel = $("facets");
  panel.style.left = `${Math.max(12, Math.min(rect.left, window.innerWidth - panel.offsetWidth - 12)) + window.scrollX}px`;
  panel.style.top = `${rect.bottom + 8 + window.scrollY}px`;
}

function option(field, { value, count }, depth = 0, text = valueLabel(field, value)) {
  const checked = parseAddress().filters[field].includes(value);
  return el("label", { class: `option depth-${Math.min(5, depth)}`, "data-text": valueLabel(field, value).toLowerCase() },
    el("input", { type: "checkbox", value, checked, onchange: () => toggleFilter(field, value) }),
    field === "color" ? el("span", { class: `swatch ${value}`, "aria-hidden": "true" }) : null,
    el("span", { class: "option-text" }, text), el("span", { class: "quiet" }, number.format(count)));
}

// Folders in the order of their tree, each below the folder around it.
function folderOptions(values) {
  const depth = (folder) => folder.split("/").length - 2;
  const sorted = [...values].sort((a, b) => a.value.localeCompare(b.value, undefined, { numeric: true }));
  return sorted.map((entry) => option("folder", entry, depth(entry.value), entry.value.split("/").at(-2)));
}

function dateOptions({ year, month }) {
  const newestFirst = (a, b) => b.value.localeCompare(a.value);
  return [...year.values].sort(newestFirst).flatMap((entry) => [option("taken", entry),
    ...month.values.filter(({ value }) => value.startsWith(entry.value)).sort(newestFirst)
      .map((value) => option("taken", value, 1))]);
}

function valueNodes(field, { facets, images, total, is_complete: isComplete }) {
  const facet = facets[FACETS[field][0]];
  if (!facet.values.length) return [el("p", { class: "quiet" }, EMPTY[field] ?? "There are no pictures.")];
  const options = { folder: () => folderOptions(facet.values), taken: () => dateOptions(facets) }[field]?.() ?? facet.values.map((entry) => option(field, entry));
  const nodes = [el("div", { class: "options", role: "group", "aria-labelledby": "facets-title", tabindex: "-1" }, options)];
  if (options.length > SEARCHABLE) nodes.unshift(searchField(options));
  const notes = [];
  if (facet.distinct > facet.values.length) notes.push(`The ${number.format(facet.values.length)} most frequent of ${number.format(facet.distinct)}.`);
  if (!isComplete) notes.push(`Counted in a sample of ${number.format(images)} of about ${number.format(total)} pictures.`);
  if (notes.length) nodes.push(el("p", { class: "quiet small" }, notes.join(" ")));
  return nodes;
}

function searchField(options) {
  return el("input", { type: "search", class: "facet-search", placeholder: "Search these", "aria-label": "Search these values",
    oninput: (event) => {
      const text = event.currentTarget.value.trim().toLowerCase();
      for (const node of options) node.hidden = !node.dataset.text.includes(text);
    } });
}

export function startFacets() {
  document.addEventListener("pointerdown", (event) => {
    if (opened && !$("facets").contains(event.target) && !opened.opener.contains(event.target)) closeFacets();
  });
  $("facets").addEventListener("focusout", (event) => {
    // The Tab key leads out of the panel: it must not cover what has the focus.
    if (event.relatedTarget && !$("facets").contains(event.relatedTarget)) closeFacets();
  });
  window.addEventListener("resize", () => { if (opened) placePanel(opened.opener); });
}
