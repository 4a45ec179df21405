// The history of one file: its steps on the way into the index, why it failed, and whether a search can find it.

import { request } from "./client.js";
import { createSheet } from "./dialog.js";
import { el } from "./dom.js";
import { formatDelay } from "./format.js";

const STEPS = { seen: "Seen", settled: "Settled", sent: "Sent", delivered: "Delivered", read: "Read and hashed", decoded: "Decoded",
  embedded: "Embedded", reused: "Vector reused", written: "Index written", answered: "Answered", confirmed: "Confirmed" };
const STATES = { settling: "Not observed yet", in_flight: "On its way into the index", indexed: "In the index", failed: "Cannot be indexed",
  ignored: "Ignored", missing: "Missing from its path; being searched for elsewhere", removing: "Deleted; its row is being removed" };

let sheet = null;
// Increases with every opening; responses to an older one are dropped.
let openings = 0;

export async function openHistory(id, library, name) {
  openings += 1;
  const opening = openings;
  sheet ??= createSheet("history", "");
  sheet.heading.textContent = name;
  sheet.body.replaceChildren(el("p", { class: "quiet" }, "Loading …"));
  if (!sheet.dialog.open) sheet.dialog.showModal();
  const nodes = await loadHistory(id, library);
  if (opening === openings) sheet.body.replaceChildren(...nodes);
}

// The history of a file as nodes, or why there is none.
export async function loadHistory(id, library) {
  try {
    return historyNodes(await request("/v1/why", { parameters: { id, library } }));
  } catch (error) {
    return [el("p", {}, error.message)];
  }
}

function historyNodes(history) {
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const nodes = [el("p", { class: "path" }, `${history.library}/${history.path}`),
    el("p", {}, el("b", {}, STATES[history.state] ?? history.state), history.reason ? `: ${history.reason.title}` : "",
      history.since ? el("span", { class: "quiet" }, ` · since ${day.format(new Date(history.since))}`) : "")];
  // The sentence of a rule is the same for every file; the detail of a failure is not.
  const sentence = history.reason?.retry_policy === "rule" && history.detail ? history.detail : history.reason?.sentence;
  if (history.reason) nodes.push(el("p", {}, sentence, " ", el("span", { class: "remedy" }, history.reason.remedy)));
  if (history.detail && history.detail !== sentence) nodes.push(el("p", { class: "why" }, history.detail));
  if (history.waits_for) nodes.push(el("p", {}, `Waiting: ${history.waits_for}`));
  nodes.push(stepTable(history, day));
  if (history.content_hash) nodes.push(el("p", { class: "quiet hash" }, `BLAKE3 ${history.content_hash}`));
  return nodes;
}

function stepTable(history, day) {
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
  let lastDate = "";
  const rows = history.steps.map((step) => {
    const at = new Date(step.at);
    const date = day.format(at);
    const time = date === lastDate ? clock.format(at) : `${date}, ${clock.format(at)}`;
    lastDate = date;
    return el("tr", {}, el("th", { scope: "row" }, STEPS[step.step] ?? step.step, step.note ? el("span", { class: "quiet" }, ` ${step.note}`) : null),
      el("td", {}, el("time", { datetime: step.at }, time)), el("td", { class: "after" }, step.after_ms === null ? "" : formatDelay(step.after_ms)));
  });
  const visible = history.visible === null ? "unknown" : history.visible ? "yes" : "no";
  rows.push(el("tr", {}, el("th", { scope: "row" }, "Searchable"), el("td", { colspan: "2" }, `${visible}: ${history.index}`)));
  return el("table", { class: "steps" }, el("tbody", {}, ...rows));
}
