// The bar of filters: a button for each attribute opens its values, and each chosen value is a chip that can be removed.

import { FILTER_FIELDS, hasFilters, openState, parseAddress } from "./address.js";
import { $, button, CLOSE_ICON, el, icon } from "./dom.js";
import { hasSeveralLibraries } from "./libraries.js";
import { clearFilters } from "./results.js";

export const FIELD_LABELS = { library: "Library", folder: "Folder", taken: "Date", format: "Format", camera: "Camera", color: "Colour", tag: "Tag" };

const anyOf = (values) => values.length === 1 ? values[0] : { in: values };

// The conditions of each field, as the field `filter` of the API has them.
const CONDITIONS = {
  library: (values) => ({ library: anyOf(values) }),
  folder: (values) => ({ folder: anyOf(values) }),
  taken: (values) => values.length === 1 ? { taken_at: values[0] } : { or: values.map((taken_at) => ({ taken_at })) },
  format: (values) => ({ format: anyOf(values) }),
  camera: (values) => ({ camera: anyOf(values) }),
  color: (values) => ({ colors: { any: values } }),
  tag: (values) => ({ tags: { all: values } }),
};

export function filterObject({ filters }, without = null) {
  const fields = FILTER_FIELDS.filter((field) => filters[field].length && field !== without);
  return fields.length ? Object.assign({}, ...fields.map((field) => CONDITIONS[field](filters[field]))) : null;
}

// The filter as a query parameter; null if there is none.
export function filterText(state, without) {
  const filter = filterObject(state, without);
  return filter && JSON.stringify(filter);
}

const MONTH = new Intl.DateTimeFormat("en", { month: "long", year: "numeric", timeZone: "UTC" });

export function valueLabel(field, value) {
  if (field === "taken" && value.length === 7) return MONTH.format(new Date(`${value}-01T00:00:00Z`));
  if (field === "folder") return value.replace(/\/$/, "");
  if (field === "format") return value.toUpperCase();
  return value;
}

function setFilter(field, values) {
  const state = parseAddress();
  openState({ ...state, filters: { ...state.filters, [field]: values } });
}

export function toggleFilter(field, value) {
  const present = parseAddress().filters[field];
  setFilter(field, present.includes(value) ? present.filter((other) => other !== value) : [...present, value]);
}

function filterChip(field, value) {
  const label = valueLabel(field, value);
  return el("li", { class: "chip" },
    field === "color" ? el("span", { class: `swatch ${value}`, "aria-hidden": "true" }) : null,
    el("span", { class: "chip-text" }, el("span", { class: "quiet" }, FIELD_LABELS[field]), ` ${label}`),
    el("button", { type: "button", title: "Remove", "aria-label": `Remove the filter ${FIELD_LABELS[field]}: ${label}`, onclick: () => toggleFilter(field, value) }, icon(...CLOSE_ICON)));
}

// Displays the filters of the address.
export function showFilters() {
  const state = parseAddress();
  $("filters").hidden = state.view === "saved" || state.view === "matches";
  const focused = [...$("filter-chips").querySelectorAll("button")].indexOf(document.activeElement);
  const chips = FILTER_FIELDS.flatMap((field) => state.filters[field].map((value) => filterChip(field, value)));
  if (chips.length > 1) chips.push(el("li", {}, button("Clear all", clearFilters, { class: "link" })));
  $("filter-chips").replaceChildren(...chips);
  $("filter-chips").hidden = !hasFilters(state);
  for (const opener of $("filter-fields").children) opener.classList.toggle("on", state.filters[opener.dataset.field].length > 0);
  if (focused < 0) return;
  const buttons = $("filter-chips").querySelectorAll("button");
  (buttons[Math.min(focused, buttons.length - 1)] ?? $("filter-fields").querySelector("button:not([hidden])")).focus();
}

// A single library needs no filter.
export function showLibraryFilter() {
  $("filter-fields").querySelector("[data-field=library]").hidden = !hasSeveralLibraries();
}

// `openFacets` displays the values of a field next to its button.
export function startFilters(openFacets) {
  $("filter-fields").append(...FILTER_FIELDS.map((field) => button(FIELD_LABELS[field], (event) => openFacets(field, event.currentTarget), {
    class: "button small", "data-field": field, "aria-haspopup": "dialog", "aria-expanded": "false", hidden: field === "library" ? "" : null })));
}
