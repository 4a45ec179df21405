// Starts the page and shows the view that the address describes.

import { ADDED_EVENT } from "./add_pictures.js";
import { formatAddress, hasTarget, isEmpty, parseAddress, REPEAT_EVENT } from "./address.js";
import { markSelected } from "./card.js";
import { prepareTextField, showChips, startTextSearch } from "./combined.js";
import { pollStats } from "./counters.js";
import { followAddress, startDetail } from "./detail.js";
import { startConfirmDialog } from "./dialog.js";
import { $ } from "./dom.js";
import { showDuplicates } from "./duplicates.js";
import { openFacets, startFacets, updateFacets } from "./facets.js";
import { startFailuresDialog } from "./failures.js";
import { showFilters, startFilters } from "./filters.js";
import { foldToggle, startFolding } from "./folding.js";
import { onIndexEvent, showLiveStrip, startLive } from "./live.js";
import { query, startQuery } from "./query.js";
import { grid, knownImages, results, startResults } from "./results.js";
import { saveButton, showMatches, showSaved, startSaved } from "./saved.js";
import { browse, enterStep, forgetViews, keepView, setSearchTools, showSearch } from "./search.js";
import { startSelection } from "./selection.js";
import { onSettingChange, startSettings } from "./settings.js";
import { startShortcuts } from "./shortcuts.js";
import { startSignIn } from "./sign_in.js";
import { startUploads } from "./upload.js";

const VIEWS = { library: browse, search: showSearch, duplicates: showDuplicates, saved: showSaved, matches: showMatches };
const TITLES = { duplicates: "Copies", saved: "Saved searches", matches: "Matches" };

let displayed = null;
let displayedView = null;

function showAddress() {
  const state = parseAddress();
  displayed = formatAddress({ ...state, open: null });
  const isKept = enterStep();
  if (!isKept && state.view !== displayedView) window.scrollTo({ top: 0, behavior: "instant" });
  displayedView = state.view;
  followAddress();
  const title = hasTarget(state) ? "Pictures like this" : TITLES[state.view];
  document.title = title ? `${title} · lookalike` : "lookalike";
  for (const view of ["library", "duplicates", "saved"]) {
    const isPresent = state.view === view || (view === "saved" && state.view === "matches");
    if (isPresent) $(`view-${view}`).setAttribute("aria-current", "page");
    else $(`view-${view}`).removeAttribute("aria-current");
  }
  $("ask").hidden = state.view !== "library" && state.view !== "search";
  showFilters();
  updateFacets();
  showLiveStrip(state.view === "library" && isEmpty(state));
  prepareTextField();
  showChips();
  VIEWS[state.view]();
}

// Opening one picture large, or closing it, only changes a part of the address.
function followHash() {
  if (formatAddress({ ...parseAddress(), open: null }) === displayed) {
    followAddress();
    return;
  }
  keepView();
  showAddress();
}

function startViews() {
  startResults();
  startDetail({
    listImages: () => grid.items,
    loadMore: () => results.loadMore(),
    query: () => query,
    findImage: (id) => grid.items.find((image) => image.id === id) ?? knownImages.get(id),
    onRemoved: (id) => {
      grid.remove(id);
      forgetViews();
    },
  });
  startSelection(() => grid.forEachCard(markSelected), () => grid.items);
  setSearchTools(foldToggle, saveButton);
  startFolding();
  onSettingChange((name) => {
    if (name === "size") grid.resize();
    else if (name === "fold") forgetViews();
  });
}

startSettings();
startSignIn(forgetViews);
startViews();
startFilters(openFacets);
startFacets();
startQuery();
startTextSearch();
startUploads();
startConfirmDialog();
startFailuresDialog();
startShortcuts();
// The fragment of the address names a view, so the link must not change it.
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("results").focus();
});
// The views restore their own place: their pages come later than the browser would scroll.
history.scrollRestoration = "manual";
window.addEventListener("hashchange", followHash);
window.addEventListener(REPEAT_EVENT, showAddress);
window.addEventListener(ADDED_EVENT, forgetViews);
onIndexEvent("removed", forgetViews);
showAddress();
pollStats();
startSaved();
startLive();
