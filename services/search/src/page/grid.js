// A grid that keeps only the visible cards in the document, so that a hundred thousand pictures scroll smoothly.
//
// All cards of a grid have the same size. Their places follow from their numbers, so a card that scrolls into view is created and
// one that leaves is removed. The card with the focus stays.

import { el } from "./dom.js";
import { settings } from "./settings.js";

// The width that a card should have, in pixels; cards fill the row.
const CARD_WIDTH = { small: 132, medium: 208, large: 320 };
const MIN_COLUMNS = 2;
// Cards are created this many window heights before they are visible.
const OVERSCAN = 1;

export class CardGrid {
  #list;
  #makeCard;
  #onNearEnd;
  #cards = new Map();
  #divider = null;
  #dividerAt = -1;
  #place = { columns: 1, width: 0, rowHeight: 1, gap: 0, dividerHeight: 0 };
  #textHeight = 0;
  #frame = 0;
  #height = 0;
  items = [];

  constructor(list, makeCard, onNearEnd) {
    this.#list = list;
    this.#makeCard = makeCard;
    this.#onNearEnd = onNearEnd;
    window.addEventListener("scroll", () => this.#schedule(), { passive: true });
    new ResizeObserver(() => this.resize()).observe(list);
    list.addEventListener("keydown", (event) => this.#moveFocus(event));
  }

  // Displays other items. A divider with this text stands before the item with this number.
  show(items, divider = null) {
    this.#removeCards();
    this.items = items;
    this.#setDivider(divider);
    this.#measure();
    this.#layout();
  }

  append(items, divider = null) {
    this.items = [...this.items, ...items];
    if (divider && this.#dividerAt < 0) this.#setDivider(divider);
    this.#layout();
  }

  forEachCard(update) {
    for (const card of this.#cards.values()) update(card);
  }

  remove(id) {
    const at = this.items.findIndex((item) => item.id === id);
    if (at < 0) return;
    const divider = this.#dividerAt < 0 ? null : { at: this.#dividerAt - Number(at < this.#dividerAt), text: this.#divider.textContent };
    this.show(this.items.filter((item) => item.id !== id), divider);
  }

  // Where the window is in the grid: the first item in it, and the distance of that item's row from the top of the window.
  get scrollPlace() {
    const top = this.#list.getBoundingClientRect().top;
    const at = Math.min(this.#firstBelow(-top), this.items.length - 1);
    return { at, offset: top + this.#top(at) };
  }

  scrollToPlace({ at, offset }) {
    const top = this.#list.getBoundingClientRect().top + this.#top(at);
    window.scrollBy({ top: top - offset, behavior: "instant" });
    this.#render();
  }

  // The id of the item whose card has the focus, or null.
  get focusedId() {
    return this.#list.contains(document.activeElement) ? document.activeElement.closest(".card")?.dataset.id ?? null : null;
  }

  resize() {
    if (!this.items.length || !this.#list.clientWidth) return;
    this.#measure();
    this.#layout();
  }

  // The present size and the number of columns, which placeholders use too.
  static place(list) {
    const gap = parseFloat(getComputedStyle(list).columnGap) || 16;
    const columns = Math.max(MIN_COLUMNS, Math.floor((list.clientWidth + gap) / (CARD_WIDTH[settings.size] + gap)));
    return { gap, columns, width: (list.clientWidth - gap * (columns - 1)) / columns };
  }

  #setDivider(divider) {
    this.#divider?.remove();
    this.#dividerAt = divider ? divider.at : -1;
    this.#divider = divider ? el("li", { class: "divider" }, divider.text) : null;
    if (this.#divider) this.#list.append(this.#divider);
  }

  #measure() {
    Object.assign(this.#place, CardGrid.place(this.#list));
    if (!this.items.length) return;
    const sample = this.#createCard(0);
    sample.style.width = `${this.#place.width}px`;
    this.#list.append(sample);
    this.#textHeight = sample.offsetHeight - this.#place.width;
    sample.remove();
  }

  #layout() {
    const place = this.#place;
    place.rowHeight = place.width + this.#textHeight + place.gap;
    place.dividerHeight = this.#divider ? this.#divider.offsetHeight + place.gap : 0;
    if (this.#divider) this.#divider.style.transform = `translateY(${this.#rowsBefore() * place.rowHeight}px)`;
    const height = this.items.length ? this.#top(this.items.length - 1) + place.rowHeight - place.gap : 0;
    this.#height = Math.ceil(height);
    this.#list.style.height = `${this.#height}px`;
    for (const [at, card] of this.#cards) this.#position(at, card);
    this.#render();
  }

  // The number of rows above the divider.
  #rowsBefore = () => Math.ceil(Math.max(0, this.#dividerAt) / this.#place.columns);

  #isBelowDivider = (at) => this.#dividerAt >= 0 && at >= this.#dividerAt;

  #top(at) {
    const { columns, rowHeight, dividerHeight } = this.#place;
    if (!this.#isBelowDivider(at)) return Math.floor(at / columns) * rowHeight;
    return (this.#rowsBefore() + Math.floor((at - this.#dividerAt) / columns)) * rowHeight + dividerHeight;
  }

  #position(at, card) {
    const { columns, width, gap } = this.#place;
    const column = (this.#isBelowDivider(at) ? at - this.#dividerAt : at) % columns;
    card.style.width = `${width}px`;
    card.style.transform = `translate(${column * (width + gap)}px, ${this.#top(at)}px)`;
  }

  // The number of the first item whose row ends below `y`; a binary search, because the divider shifts the rows.
  #firstBelow(y) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#top(middle) + this.#place.rowHeight > y) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #schedule() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#frame = 0;
    if (!this.items.length) return;
    const top = -this.#list.getBoundingClientRect().top;
    const overscan = window.innerHeight * OVERSCAN;
    const first = this.#firstBelow(top - overscan);
    const end = this.#firstBelow(top + window.innerHeight + overscan + this.#place.rowHeight);
    for (const [at, card] of this.#cards) {
      if ((at < first || at >= end) && !card.contains(document.activeElement)) this.#removeCard(at, card);
    }
    for (let at = first; at < end; at++) if (!this.#cards.has(at)) this.#insert(at);
    const bottom = this.#height - top - window.innerHeight;
    if (bottom < 2 * window.innerHeight) this.#onNearEnd();
  }

  #createCard(at) {
    const card = this.#makeCard(this.items[at], at, this.#place.width);
    card.setAttribute("aria-posinset", at + 1);
    card.setAttribute("aria-setsize", "-1");
    return card;
  }

  // The order in the document is the order of the numbers, for the Tab key and screen readers.
  #insert(at) {
    const card = this.#createCard(at);
    this.#position(at, card);
    let next = null;
    let nextAt = Infinity;
    if (this.#cards.has(at - 1)) next = this.#cards.get(at - 1).nextSibling;
    else for (const [otherAt, other] of this.#cards) if (otherAt > at && otherAt < nextAt) [next, nextAt] = [other, otherAt];
    this.#list.insertBefore(card, next);
    this.#cards.set(at, card);
    return card;
  }

  #removeCard(at, card) {
    // Otherwise the browser continues to load pictures that have scrolled past.
    for (const image of card.querySelectorAll("img")) for (const name of ["srcset", "src"]) image.removeAttribute(name);
    card.remove();
    this.#cards.delete(at);
  }

  #removeCards() {
    this.#cards.clear();
    this.#divider = null;
    this.#list.replaceChildren();
    this.#list.style.height = "";
  }

  #moveFocus(event) {
    const card = event.target.closest(".card");
    const at = [...this.#cards].find(([, other]) => other === card)?.[0];
    if (at === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const { columns } = this.#place;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: this.items.length - 1 - at };
    const to = at + steps[event.key];
    if (!(to >= 0 && to < this.items.length)) return;
    event.preventDefault();
    this.focus(to);
  }

  focus(at) {
    const rect = this.#list.getBoundingClientRect();
    const top = rect.top + this.#top(at);
    const margin = 90;
    if (top < margin) window.scrollBy({ top: top - margin, behavior: "instant" });
    else if (top + this.#place.rowHeight > window.innerHeight) window.scrollBy({ top: top + this.#place.rowHeight - window.innerHeight, behavior: "instant" });
    this.focusInPlace(at);
    this.#render();
  }

  // Moves the focus without scrolling.
  focusInPlace(at) {
    const card = this.#cards.get(at) ?? this.#insert(at);
    card.querySelector("a").focus({ preventScroll: true });
  }
}
