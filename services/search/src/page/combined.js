// Questions of several parts: words, more like this, less like that. Such a question stands in the
// address, so that Back takes the last step back, and each part is a chip that can be removed.
// Loaded before page.js, whose helpers it uses when it is called; page.js starts it.
"use strict";

const MOST_PARTS = 32;
const ID = /^[0-9a-f]{32}$/;

// Every picture that was shown, by id: chips have names and small pictures.
const known = new Map();

// What the address asks for; a part of it may be missing.
function currentMix() {
  const mix = { text: "", picture: false, more: [], less: [], wrong: [] };
  const like = /^#\/like\/([0-9a-f]{32})$/.exec(location.hash);
  if (like) mix.more.push(like[1]);
  else if (location.hash === "#/picture") mix.picture = true;
  else if (location.hash.startsWith("#/find?")) {
    const parts = new URLSearchParams(location.hash.slice("#/find?".length));
    const ids = (name) => {
      const given = parts.getAll(name).map((id) => id.toLowerCase());
      mix.wrong.push(...given.filter((id) => !ID.test(id)));
      return [...new Set(given.filter((id) => ID.test(id)))];
    };
    mix.text = (parts.get("text") ?? "").trim();
    mix.picture = parts.has("picture");
    mix.more = ids("more");
    mix.less = ids("less");
  }
  return mix;
}

const hasAim = (mix) => Boolean(mix.text) || mix.picture || mix.more.length > 0;
const isEmpty = (mix) => !hasAim(mix) && mix.less.length === 0;

// Why a question can't be asked as it stands; the service is not bothered with it.
function wrongWith(mix) {
  if (mix.wrong?.length) {
    const id = mix.wrong[0];
    return new Problem({ title: "This address names no picture", code: "invalid_parameter",
      detail: `“${id.length > 40 ? `${id.slice(0, 40)}…` : id}” is not the id of a picture: an id has 32 of the digits 0 to 9 and a to f.` });
  }
  if (mix.more.some((id) => mix.less.includes(id))) {
    return new Problem({ title: "More and less of the same picture", code: "cancels_out",
      detail: "A picture can't be looked for and avoided at once: remove it from one of the two." });
  }
  if (!hasAim(mix)) {
    return new Problem({ title: "Say what to look for", code: "invalid_parameter",
      detail: "“Less like” alone says only what not to look for: choose a picture, or start over." });
  }
  return null;
}

// One thing alone has an address of its own; nothing at all leads to the library.
function mixAddress(mix) {
  if (isEmpty(mix)) return "#/";
  const alone = mix.less.length === 0 && !mix.text;
  if (alone && mix.picture && mix.more.length === 0) return "#/picture";
  if (alone && !mix.picture && mix.more.length === 1) return `#/like/${mix.more[0]}`;
  const parts = new URLSearchParams();
  if (mix.text) parts.set("text", mix.text);
  if (mix.picture) parts.set("picture", "1");
  for (const id of mix.more) parts.append("more", id);
  for (const id of mix.less) parts.append("less", id);
  return `#/find?${parts}`;
}

function goTo(mix) {
  const address = mixAddress(mix);
  if (location.hash === address) route();
  else location.hash = address;
}

// `more` or `less` of a picture, beside what is asked for already.
function steer(id, way) {
  const mix = currentMix();
  mix.more = mix.more.filter((one) => one !== id);
  mix.less = mix.less.filter((one) => one !== id);
  if (mix.more.length + mix.less.length >= MOST_PARTS) {
    toast("That is as many pictures as one question may have");
    return;
  }
  mix[way].push(id);
  // The button that was pressed goes away with its picture.
  $("results").focus({ preventScroll: true });
  goTo(mix);
}

function steering(image, name) {
  const button = (way, words, sign, label) => el("button", { class: "steer", type: "button", title: label, "aria-label": `${words} like ${name}`,
    onclick: () => steer(image.id, way) }, svg(sign), words);
  return el("div", { class: "steering" },
    button("more", "More", ["M12 5v14", "M5 12h14"], "More like this"), button("less", "Less", ["M5 12h14"], "Less like this"));
}

/* ---- the parts, to be seen and removed ---- */

function showChips(mix) {
  const before = [...$("chips").querySelectorAll("button")].indexOf(document.activeElement);
  const chips = mix ? [...chipsOf(mix)] : [];
  $("chips").replaceChildren(...chips);
  $("chips").hidden = chips.length === 0;
  if (before < 0) return;
  // Whoever removes one by the keyboard stays where the chips are.
  const left = $("chips").querySelectorAll("button");
  (left[Math.min(before, left.length - 1)] ?? $("results")).focus({ preventScroll: true });
}

function* chipsOf(mix) {
  const others = (list, id) => list.filter((one) => one !== id);
  if (mix.picture) yield chip("more", "Like", uploaded?.name || "your picture", null, { ...mix, picture: false });
  for (const id of mix.more) yield pictureChip(id, "more", "Like", { ...mix, more: others(mix.more, id) });
  if (mix.text) yield chip("more", "Words:", `“${mix.text}”`, null, { ...mix, text: "" });
  for (const id of mix.less) yield pictureChip(id, "less", "Less like", { ...mix, less: others(mix.less, id) });
}

function pictureChip(id, way, words, without) {
  const image = known.get(id);
  const made = chip(way, words, image ? baseName(image.path) : `picture ${id.slice(0, 6)}…`, image?.thumbnail_url, without);
  if (!image) {
    ask(`/v1/images/${id}`).then((image) => {
      known.set(id, image);
      if (made.isConnected) made.replaceWith(pictureChip(id, way, words, without));
    }, () => {}); // The search itself says what is wrong.
  }
  return made;
}

function chip(way, words, name, thumbnail, without) {
  return el("li", { class: way === "less" ? "chip unlike" : "chip" },
    thumbnail ? el("img", { src: thumbnail, alt: "", onerror: (event) => event.currentTarget.remove() }) : null,
    el("span", { class: "chip-words" }, el("span", { class: "quiet" }, words), ` ${name}`),
    el("button", { type: "button", title: "Remove", "aria-label": `Remove: ${words} ${name}`, onclick: () => goTo(without) }, svg(["M6 6l12 12", "M18 6L6 18"])));
}

/* ---- asking ---- */

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Problem({ title: "Your picture can't be read any more", detail: "Choose it again." }));
    reader.readAsDataURL(file);
  });
}

function byMix(mix) {
  // A dropped picture has no address that could be opened again.
  if (mix.picture && !uploaded) return void location.replace(mixAddress({ ...mix, picture: false }));
  if (isEmpty(mix) && !mix.wrong?.length) return void location.replace("#/");
  const wordsAlone = mix.text && !mix.picture && mix.more.length === 0 && mix.less.length === 0;
  const state = start(wordsAlone ? `Pictures of “${mix.text}”` : "Pictures like these");
  repeat = () => byMix(mix);
  setQuery(null, true);
  showChips(mix);
  window.scrollTo({ top: 0 });
  const wrong = wrongWith(mix);
  if (wrong) return showProblem(wrong);
  skeletons(12);
  const named = [...mix.more, ...mix.less];
  run(state, async (signal) => {
    const body = { limit: HITS + named.length };
    if (mix.text) body.text = mix.text;
    if (mix.picture) body.image = await dataUrl(uploaded);
    if (mix.more.length) body.positive = mix.more.map((id) => ({ id }));
    if (mix.less.length) body.negative = mix.less.map((id) => ({ id }));
    const answer = await ask("/v1/search", { method: "POST", body: JSON.stringify(body), signal, headers: { "content-type": "application/json" } });
    // The chips show these already. Scores of several parts, and of words, say only what is nearer.
    const hits = answer.hits.filter((hit) => !named.includes(hit.id)).slice(0, HITS);
    return { ...answer, hits: hits.map((hit) => ({ ...hit, unscored: true })) };
  });
}

/* ---- words ---- */

// The box is there when the model knows words, and says what else is needed when not.
function showWords(model) {
  $("words").hidden = !model.text;
  $("no-words").hidden = model.text;
}

// What the box does now: words alone, or beside what is asked for.
function prepareWords() {
  const mix = currentMix();
  if (document.activeElement !== $("words-text")) $("words-text").value = mix.text;
  const beside = mix.picture || mix.more.length > 0;
  $("words-text").placeholder = beside ? "Add words: in the snow, red, at night" : "Or say it in words: a red chair";
  $("words-go").textContent = beside && !mix.text ? "Add" : "Find";
}

function startMix() {
  $("words").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("words-text").value.trim();
    const mix = currentMix();
    if (text || mix.text) goTo({ ...mix, text });
  });
}

/* ---- what scores mean ---- */

const BANDS = { same_picture: "Same picture", near_duplicate: "Near-duplicate", very_similar: "Very similar", similar: "Similar", no_match: "No good match" };

// Stands over the hits that are only nearest, and like nothing much.
function divider(first) {
  return el("li", { class: "divider" }, first ? "Nothing here looks much like it; nearest:" : "From here on, nothing looks much like it");
}
