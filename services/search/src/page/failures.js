// Looking after the index: what failed and why, one picture's life, folders that need a word.
// Loaded before page.js, whose helpers it uses when it is called; page.js starts it.
"use strict";

function tell(url, body) {
  const json = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return ask(url, { method: "POST", ...json });
}

/* ---- failures ---- */

let failureCursor = null;
// Libraries whose watcher was silent: their failures are not in the list.
const failureSilent = new Set();
// A section for each code, in the order in which they came.
const failureGroups = new Map();

// Answers to an older opening come too late.
let failuresTurn = 0;

function openFailures() {
  failuresTurn += 1;
  failureGroups.clear();
  failureSilent.clear();
  $("failures-said").textContent = "";
  $("failures-body").replaceChildren(el("p", { class: "quiet" }, "Looking …"));
  $("failures-more").hidden = true;
  if (!$("failures").open) $("failures").showModal();
  return loadFailures(null);
}

async function loadFailures(after) {
  const mine = failuresTurn;
  $("failures-more").disabled = true;
  try {
    const answer = await ask(`/v1/failures?limit=100${after ? `&cursor=${encodeURIComponent(after)}` : ""}`);
    if (mine !== failuresTurn) return;
    if (!after) $("failures-body").replaceChildren();
    for (const failure of answer.failures) failureGroup(failure).list.append(failureItem(failure));
    for (const library of answer.unanswered) failureSilent.add(library);
    failureCursor = answer.cursor;
    $("failures-more").hidden = !failureCursor;
    countFailures();
    if (failureSilent.size) $("failures-said").textContent = silentWords([...failureSilent]);
  } catch (error) {
    if (mine !== failuresTurn) return;
    const words = [el("p", {}, error.message), error.requestId ? el("p", { class: "quiet" }, `request ${error.requestId}`) : ""];
    if (after) $("failures-said").replaceChildren(...words);
    else $("failures-body").replaceChildren(...words);
  } finally {
    $("failures-more").disabled = false;
  }
}

function failureGroup(failure) {
  const known = failureGroups.get(failure.code);
  if (known) return known;
  const title = failure.reason?.title ?? failure.code.replaceAll("_", " ");
  const count = el("span", { class: "quiet" });
  const list = el("ul");
  const all = (words, label, action) => el("button", { class: "button small", type: "button", "aria-label": `${label}: ${title}`,
    onclick: (event) => action(event.currentTarget) }, words);
  const section = el("section", { class: "reason" },
    el("div", { class: "reason-head" },
      el("h3", {}, title, " ", count),
      el("div", { class: "reason-tools" },
        all("Try all again", "Try all again", (button) => order("/v1/failures/retry", { code: failure.code }, button, ["tried again", "tried again"])),
        all("Leave all alone …", "Leave all alone until they change", (button) => discardAll(failure.code, title, button)))),
    failure.reason ? el("p", {}, failure.reason.sentence, " ", el("span", { class: "remedy" }, failure.reason.remedy)) : null,
    list);
  $("failures-body").append(section);
  const group = { section, list, count };
  failureGroups.set(failure.code, group);
  return group;
}

function failureItem(failure) {
  const name = baseName(failure.path);
  const frame = el("span", { class: "peek", "aria-hidden": "true" });
  // A browser shows what is there of a picture that is cut short; where it can't, nothing is lost.
  if (failure.preview_url) {
    frame.append(el("img", { src: failure.preview_url, alt: "", loading: "lazy", decoding: "async", onerror: (event) => event.currentTarget.remove() }));
  }
  const tool = (words, label, action) => el("button", { class: "link", type: "button", "aria-label": `${label}: ${name}`, onclick: action }, words);
  return el("li", {}, frame,
    el("div", { class: "words" },
      el("span", { class: "path" }, `${failure.library}/${failure.path}`),
      el("span", { class: "why" }, `${failure.detail} (${size(failure.bytes)})`),
      el("span", { class: "item-tools" },
        tool("Try again", "Try again", (event) => order("/v1/failures/retry", { ids: [failure.id], library: failure.library }, event.currentTarget, ["tried again", "tried again"])),
        tool("Leave alone", "Leave alone until it changes", (event) => order("/v1/failures/discard", { ids: [failure.id], library: failure.library }, event.currentTarget, ["left alone until it changes", "left alone until they change"])),
        tool("Its life", "Its life", () => openLife(failure.id, failure.library, name)))));
}

// Many at once leave the list, also those that are not shown yet: that is asked before.
async function discardAll(code, title, button) {
  const yes = await question(`Leave all files of “${title}” alone?`,
    `They count as ignored until they change, also those that are not shown here. No file is touched.\n“lookalike failures retry --code discarded” takes it back.`,
    "Leave them alone");
  if (yes) await order("/v1/failures/discard", { code }, button, ["left alone until it changes", "left alone until they change"]);
}

function silentWords(libraries) {
  return `No watcher answered for ${libraries.join(", ")}.`;
}

// Carries out what a button says; what it was about leaves the list, and the focus stays near.
async function order(url, selection, button, said) {
  button.disabled = true;
  try {
    const answer = await tell(url, selection);
    const silent = answer.unanswered.length ? ` ${silentWords(answer.unanswered)}` : "";
    $("failures-said").textContent = `${number.format(answer.files)} ${answer.files === 1 ? `file is ${said[0]}` : `files are ${said[1]}`}.${silent}`;
    const gone = selection.ids ? button.closest("li") : button.closest("section");
    const next = gone.nextElementSibling ?? gone.previousElementSibling ?? null;
    gone.remove();
    if (selection.code && failureCursor) await openAgain();
    countFailures();
    ((next?.isConnected && next.querySelector("button")) || $("failures-close")).focus();
  } catch (error) {
    $("failures-said").textContent = error.message;
    button.disabled = false;
  }
}

// All of one code are gone, so that the pages behind have moved up.
async function openAgain() {
  if (!$("failures").open) return;
  const said = $("failures-said").textContent;
  await openFailures();
  $("failures-said").textContent = said;
}

function countFailures() {
  for (const [code, group] of failureGroups) {
    const left = group.list.children.length;
    if (!group.section.isConnected || left === 0) {
      group.section.remove();
      failureGroups.delete(code);
    } else group.count.textContent = `${number.format(left)}${failureCursor ? "+" : ""}`;
  }
  if (failureGroups.size) return;
  const words = failureSilent.size || failureCursor ? "None so far." : "None: every file is in the index, or not meant to be.";
  $("failures-body").replaceChildren(el("p", { class: "quiet" }, words));
}

/* ---- one picture's life ---- */

const STEPS = { seen: "Seen", settled: "Settled", sent: "Sent", delivered: "Delivered", read: "Read and hashed", decoded: "Decoded",
  embedded: "Embedded", reused: "Vector reused", written: "Index written", answered: "Answered", confirmed: "Confirmed" };
const STATES = { settling: "Not taken in yet", in_flight: "On its way into the index", indexed: "In the index", failed: "Can't be indexed", ignored: "Not meant to be indexed",
  vanished: "Gone from its place, and looked for elsewhere", removing: "Gone; its row is being removed" };

function span(ms) {
  const sign = ms < 0 ? "−" : "+";
  const long = Math.abs(ms);
  if (long < 10) return `${sign}${long.toFixed(1)} ms`;
  if (long < 1000) return `${sign}${Math.round(long)} ms`;
  if (long < 120e3) return `${sign}${(long / 1e3).toFixed(1)} s`;
  if (long < 7200e3) return `${sign}${Math.round(long / 60e3)} min`;
  if (long < 172800e3) return `${sign}${Math.round(long / 3600e3)} h`;
  return `${sign}${Math.round(long / 86400e3)} days`;
}

let lifeTurn = 0;

async function openLife(id, library, name) {
  lifeTurn += 1;
  const mine = lifeTurn;
  $("life-title").textContent = name;
  $("life-body").replaceChildren(el("p", { class: "quiet" }, "Looking …"));
  if (!$("life").open) $("life").showModal();
  try {
    const life = await ask(`/v1/why?id=${id}${library ? `&library=${encodeURIComponent(library)}` : ""}`);
    if (mine !== lifeTurn) return;
    $("life-title").textContent = baseName(life.path);
    $("life-body").replaceChildren(...lifeWords(life));
  } catch (error) {
    if (mine === lifeTurn) $("life-body").replaceChildren(el("p", {}, error.message));
  }
}

function lifeWords(life) {
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const words = [el("p", { class: "path" }, `${life.library}/${life.path}`),
    el("p", {}, el("b", {}, STATES[life.state] ?? life.state), life.reason ? `: ${life.reason.title}` : "", life.since ? el("span", { class: "quiet" }, ` · since ${day.format(new Date(life.since))}`) : "")];
  // What a rule says is the same for each file; what was found in a file is not.
  const says = life.reason?.fate === "rule" && life.detail ? life.detail : life.reason?.sentence;
  if (life.reason) words.push(el("p", {}, says, " ", el("span", { class: "remedy" }, life.reason.remedy)));
  if (life.detail && life.detail !== says) words.push(el("p", { class: "why" }, life.detail));
  if (life.waits_for) words.push(el("p", {}, `It waits: ${life.waits_for}`));
  let last = "";
  const rows = life.steps.map((step) => {
    const at = new Date(step.at);
    const date = day.format(at);
    const shown = date === last ? clock.format(at) : `${date}, ${clock.format(at)}`;
    last = date;
    return el("tr", {}, el("th", { scope: "row" }, STEPS[step.step] ?? step.step, step.note ? el("span", { class: "quiet" }, ` ${step.note}`) : null),
      el("td", {}, el("time", { datetime: step.at }, shown)), el("td", { class: "after" }, step.after_ms === null ? "" : span(step.after_ms)));
  });
  const visible = life.visible === null ? "unknown" : life.visible ? "yes" : "no";
  rows.push(el("tr", {}, el("th", { scope: "row" }, "Can be found"), el("td", { colspan: "2" }, `${visible}: ${life.index}`)));
  words.push(el("table", { class: "life" }, el("tbody", {}, ...rows)));
  if (life.content_hash) words.push(el("p", { class: "quiet hash" }, `BLAKE3 ${life.content_hash}`));
  return words;
}

/* ---- folders that need a word ---- */

// Only a person can know whether these are meant.
const CONFIRMABLE = ["mass_delete", "root_missing"];

function showTroubles({ libraries, intake_paused: paused, rollover_error: behind }) {
  const troubles = libraries.flatMap((library) => library.degraded.map((why) => ({ library, why })));
  const key = JSON.stringify([paused, behind, ...troubles.map(({ library, why }) => [library.name, why.reason, why.detail])]);
  // A button would lose the focus if it were made anew each second.
  if ($("notices").dataset.key === key) return;
  $("notices").dataset.key = key;
  const waiting = paused ? [el("div", { class: "notice" }, el("p", {}, "New pictures wait: the index takes no writes now, or a folder's disk does not answer. Nothing is lost."))] : [];
  if (behind) waiting.push(el("div", { class: "notice" }, el("p", {}, behind)));
  $("notices").replaceChildren(...waiting, ...troubles.map(({ library, why }) => el("div", { class: "notice" },
    el("p", {}, el("b", {}, library.name), ` may lag behind its folder: ${why.detail}`),
    CONFIRMABLE.includes(why.reason)
      ? el("button", { class: "button small", type: "button", onclick: () => confirmLibrary(library.name, why) }, "It is meant to be so …") : null)));
}

async function confirmLibrary(name, why) {
  const library = libraries.find((library) => library.name === name);
  const rows = library ? `${number.format(library.indexed + library.in_flight)} pictures of this library are known now. ` : "";
  const yes = await question(`Take the folder of “${name}” as it is now?`,
    `${why.detail}\n${rows}Whatever is not in the folder leaves the index. No file is touched, but if a disk is only away, everything on it has to be indexed again.`,
    "Take it as it is");
  if (!yes) return;
  try {
    await tell(`/v1/libraries/${encodeURIComponent(name)}/confirm`);
    toast(`The folder of ${name} is being compared with the index`);
  } catch (error) {
    toast(error.message);
  }
}

function question(title, words, yes) {
  $("question-title").textContent = title;
  $("question-words").replaceChildren(...words.split("\n").map((line) => el("p", {}, line)));
  $("question-yes").textContent = yes;
  $("question").returnValue = "";
  $("question").showModal();
  $("question-no").focus();
  return new Promise((resolve) => {
    $("question").addEventListener("close", () => resolve($("question").returnValue === "yes"), { once: true });
  });
}

function startUpkeep() {
  for (const id of ["failures", "life", "question"]) {
    // A click beside the dialog is on its backdrop; one into its own margin is a near miss.
    $(id).addEventListener("pointerdown", (event) => {
      const { left, right, top, bottom } = $(id).getBoundingClientRect();
      const beside = event.clientX < left || event.clientX > right || event.clientY < top || event.clientY > bottom;
      if (event.target === $(id) && beside) $(id).close();
    });
  }
  $("failures-close").addEventListener("click", () => $("failures").close());
  $("life-close").addEventListener("click", () => $("life").close());
  $("question-no").addEventListener("click", () => $("question").close());
  $("question-yes").addEventListener("click", () => $("question").close("yes"));
  $("failures-more").addEventListener("click", () => loadFailures(failureCursor));
}
