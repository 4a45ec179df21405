// Saved searches: searches that the service repeats for every new picture.

import { openAddress, parseAddress } from "./address.js";
import { apiUrl, isForbidden, isMissing, post, request } from "./client.js";
import { combinedRequest } from "./combined.js";
import { confirmAction, createSheet } from "./dialog.js";
import { $, button, el, toast } from "./dom.js";
import { filterObject } from "./filters.js";
import { count, formatTime, sentence } from "./format.js";
import { copyText } from "./libraries.js";
import { onIndexEvent } from "./live.js";
import { BANDS } from "./picture.js";
import { showQuery } from "./query.js";
import { knownImages, showGroups, showMessage, showNothing, showProblem, showSkeletons } from "./results.js";
import { showPages, startView } from "./search.js";

// The bands that a saved search can require, the best first.
const MIN_BANDS = ["same_picture", "near_duplicate", "very_similar", "similar"];
const MATCHES_PER_PAGE = 60;

// The numbers of matches on display, by id of the saved search.
const counters = new Map();

/* ---- the list ---- */

// `parts` have a weight below 0 if matches should look less like them.
function describeQuery(parts) {
  const names = (wanted) => wanted.map((part) => part.text ? `“${part.text}”` : part.is_image ? "an uploaded picture" : pictureName(part.id)).join(", ");
  const less = parts.filter((part) => part.weight < 0);
  return `Like ${names(parts.filter((part) => part.weight >= 0))}${less.length ? `; less like ${names(less)}` : ""}`;
}

const pictureName = (id) => knownImages.get(id)?.path ?? `picture ${id.slice(0, 6)}…`;

function savedNode(saved) {
  const matches = el("b", {}, count(saved.matches, "match", "matches"));
  counters.set(saved.id, { node: matches, matches: saved.matches });
  const id = saved.query.find((part) => part.id && part.weight > 0)?.id;
  const item = el("li", { class: "saved" },
    el("span", { class: "preview", "aria-hidden": "true" }, id ? el("img", { src: apiUrl(`/v1/images/${id}/thumbnail`, { size: 160 }), alt: "", onerror: (event) => event.currentTarget.remove() }) : null),
    el("div", { class: "details" },
      el("h3", {}, el("a", { href: `#/saved/${saved.id}` }, saved.name)),
      el("p", { class: "quiet" }, describeQuery(saved.query), saved.band ? ` · ${BANDS[saved.band].toLowerCase()} or better` : ""),
      saved.problem ? el("p", { class: "error" }, saved.problem) : null,
      el("p", { class: "quiet" }, matches, ` · since ${formatTime(saved.created_at)}`, saved.webhook ? ` · webhook ${saved.webhook.state.replace("_", " ")}${saved.webhook.error ? `: ${saved.webhook.error}` : ""}` : "")),
    button("Delete …", () => deleteSaved(saved, item), { class: "button small", "aria-label": `Delete ${saved.name}` }));
  return item;
}

async function deleteSaved({ id, name }, item) {
  if (!await confirmAction(`Delete the saved search “${name}”?`, "Its matches are forgotten. No picture is touched.", "Delete it")) return;
  try {
    await request(`/v1/saved-searches/${id}`, { method: "DELETE" });
    // The person may have opened another view meanwhile.
    if (!item.isConnected) return;
    counters.delete(id);
    item.remove();
    if (counters.size === 0) showNone();
    $("results").focus({ preventScroll: true });
  } catch (error) {
    toast(error.message);
  }
}

function showNone() {
  showMessage("empty", "No saved searches yet", el("p", {}, "Search for something, then choose “Save this search”. lookalike compares every new picture with it."));
}

export async function showSaved() {
  const view = startView("Saved searches", showSaved);
  showQuery(null, true);
  counters.clear();
  showSkeletons();
  try {
    const answer = await request("/v1/saved-searches", { signal: view.signal });
    if (!view.isCurrent()) return;
    if (answer.saved_searches.length === 0) showNone();
    else showGroups(el("ul", { class: "saved-list" }, answer.saved_searches.map(savedNode)));
    $("results-summary").textContent = "";
  } catch (error) {
    if (error.name === "AbortError" || !view.isCurrent()) return;
    showProblem(error, showSaved);
  }
}

// A match has no size, so its thumbnail has only one.
function toImage({ image_url: url, content_hash: hash, ...match }) {
  return { ...match, unscored: true, thumbnail_url: `${url}/thumbnail?size=320&v=${hash.slice(0, 16)}`, content_url: `${url}/content` };
}

export async function showMatches() {
  const { saved: id } = parseAddress();
  const view = startView("Matches", showMatches);
  showQuery(null, true);
  const nothing = () => showMessage("empty", "No matches yet", el("p", {}, "Pictures that match appear here as soon as they are indexed."));
  const fetchPage = async (cursor, signal) => {
    const answer = await request(`/v1/saved-searches/${id}/matches`, { signal, parameters: { cursor, limit: MATCHES_PER_PAGE } });
    return { ...answer, images: answer.matches.map(toImage) };
  };
  if (view.kept) {
    showPages(view, fetchPage);
    return;
  }
  try {
    const saved = await request(`/v1/saved-searches/${id}`, { signal: view.signal });
    if (!view.isCurrent()) return;
    $("results-title").textContent = `Matches of “${saved.name}”`;
    showPages(view, fetchPage, { nothing, onFirst: () => { $("results-summary").textContent = count(saved.matches, "match", "matches"); } });
  } catch (error) {
    if (error.name !== "AbortError" && view.isCurrent()) showProblem(error, showMatches);
  }
}

/* ---- saving ---- */

let sheet = null;

// A button that saves the present search. Saved searches have no regions.
export function saveButton(state) {
  if ($("view-saved").hidden || state.region) return null;
  return button("Save this search", () => openSaveForm(state), { class: "button small", id: "save-search" });
}

function openSaveForm(state) {
  sheet ??= createSheet("save", "Save this search", "narrow");
  const error = el("p", { class: "error", role: "alert" });
  const field = (label, input, note) => el("label", { class: "field" }, el("span", {}, label), input, note ? el("span", { class: "quiet small" }, note) : null);
  const isSingle = !state.text && !state.less.length && state.more.length + Number(state.picture) === 1;
  const name = el("input", { required: "", maxlength: "200", value: $("results-title").textContent.slice(0, 200) });
  const band = el("select", {}, MIN_BANDS.map((value) => el("option", { value, selected: value === "near_duplicate" ? "" : null }, `${BANDS[value]} or better`)));
  const score = el("input", { type: "number", min: "-1", max: "1", step: "0.01", value: "0.25" });
  const url = el("input", { type: "url", placeholder: "https://…", maxlength: "2000" });
  // Disabled until the answer arrives: a second Enter must not save the search again.
  const submit = el("button", { class: "button strong", type: "submit" }, "Save");
  const form = el("form", { class: "fields", onsubmit: async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const { filter, ...query } = await combinedRequest(state);
      const saved = await post("/v1/saved-searches", { name: name.value.trim(), query: tidyQuery(query), filter: filterObject(state) ?? undefined,
        ...isSingle ? { band: band.value } : { min_score: Number(score.value) }, webhook: url.value ? { url: url.value } : undefined });
      showSavedAnswer(saved);
    } catch (problem) {
      error.replaceChildren(...sentence(problem.message));
    } finally {
      submit.disabled = false;
    }
  } }, field("Name", name), isSingle ? field("A new picture matches if it is", band) : field("Lowest score of a match", score, "Scores of texts are lower than those of pictures."),
  field("Webhook (optional)", url, "lookalike sends each match to this address."), error, el("div", { class: "buttons" }, submit));
  sheet.body.replaceChildren(form);
  sheet.dialog.showModal();
  name.select();
}

// A single id is a query of its own.
function tidyQuery(query) {
  const isSingleId = query.positive?.length === 1 && !query.text && !query.image && !query.negative;
  return isSingleId ? { id: query.positive[0].id } : query;
}

function showSavedAnswer(saved) {
  const secret = saved.webhook?.secret;
  if (!secret) {
    sheet.dialog.close();
    toast(`“${saved.name}” is saved`);
    return;
  }
  sheet.body.replaceChildren(el("p", {}, `“${saved.name}” is saved. This secret signs the messages to the webhook; it is shown only now:`),
    el("p", {}, el("code", { class: "secret" }, secret)), button("Copy the secret", () => copyText(secret, "Secret copied"), { class: "button small" }));
  sheet.close.focus();
}

/* ---- start ---- */

// Hides what the service does not have.
export async function startSaved() {
  $("view-saved").addEventListener("click", (event) => { if (location.hash === "#/saved") { event.preventDefault(); openAddress("#/saved"); } });
  onIndexEvent("match", ({ saved_search: id, saved_search_name: name }) => {
    const counter = counters.get(id);
    if (counter?.node.isConnected) {
      counter.matches += 1;
      counter.node.textContent = count(counter.matches, "match", "matches");
    } else toast(`A new picture matches “${name}”`);
  });
  if (await hasSavedSearches()) return;
  $("view-saved").hidden = true;
  $("save-search")?.remove();
}

// An older service has none, and a key that is limited to libraries does not permit them.
async function hasSavedSearches() {
  try {
    const { libraries } = await request("/v1/session").catch(() => ({}));
    if (libraries) return false;
    await request("/v1/saved-searches");
    return true;
  } catch (error) {
    return !isMissing(error) && !isForbidden(error);
  }
}
