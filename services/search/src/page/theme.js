// Runs before the first paint, so that a chosen theme does not flash.
try {
  document.documentElement.dataset.theme = JSON.parse(localStorage.getItem("lookalike"))?.theme ?? "auto";
} catch {
  // Without storage, the system decides.
}
