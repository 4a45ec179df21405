// Starts the page and runs the search that the address describes.

import { currentSearch, hasTarget, isCombined, similarId } from "./address.js";
import { prepareTextField, searchCombined, showChips, startTextSearch } from "./combined.js";
import { pollStats } from "./counters.js";
import { startConfirmDialog } from "./dialog.js";
import { startFailuresDialog } from "./failures.js";
import { startHistoryDialog } from "./history.js";
import { browse, searchSimilar, searchUploaded, startLibraryView } from "./search.js";
import { startSignIn } from "./sign_in.js";
import { startUploads } from "./upload.js";

function openCurrentAddress() {
  const search = currentSearch();
  document.title = hasTarget(search) ? "Pictures like this · lookalike" : "lookalike";
  prepareTextField();
  if (isCombined()) {
    searchCombined(search);
    return;
  }
  showChips(null);
  const id = similarId();
  if (id) searchSimilar(id);
  else if (search.picture) searchUploaded();
  else browse();
}

startSignIn();
startLibraryView();
startTextSearch();
startUploads();
startConfirmDialog();
startFailuresDialog();
startHistoryDialog();
window.addEventListener("hashchange", openCurrentAddress);
openCurrentAddress();
pollStats();
