// What people do on the page, in a real browser.

import assert from "node:assert/strict";
import { copyFileSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { crc32 } from "node:zlib";
import path from "node:path";
import { eventually, expectComplaint, getJson, hasOperation, hashOf, openPage, runSteps, waitForCards, world } from "./browser.mjs";

const page = await openPage();
const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
const sample = path.join(world.photos, "2026", "0.jpg");
const titleIs = (title) => eventually(page, `the title is ${title}`, (wanted) => document.querySelector("#results-title").textContent === wanted && !document.querySelector("#grid[aria-busy]"), title);

async function openLibrary(hash = "#/") {
  await page.evaluate((address) => { location.hash = address; }, hash);
  await page.reload();
  await waitForCards(page);
}

// The files of an archive, without decompression: name and bytes.
function readZip(bytes) {
  const end = bytes.lastIndexOf("PK\x05\x06", undefined, "latin1");
  const files = [];
  for (let at = bytes.readUInt32LE(end + 16), left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    assert.equal(bytes.readUInt32LE(at), 0x02014b50);
    const [crc, size, nameLength, offset] = [bytes.readUInt32LE(at + 16), bytes.readUInt32LE(at + 24), bytes.readUInt16LE(at + 28), bytes.readUInt32LE(at + 42)];
    const name = bytes.toString("utf8", at + 46, at + 46 + nameLength);
    const start = offset + 30 + bytes.readUInt16LE(offset + 26);
    const content = bytes.subarray(start, start + size);
    if (crc32) assert.equal(crc32(content), crc, name);
    files.push([name, content]);
    at += 46 + nameLength;
  }
  return files;
}

await runSteps({
  async "a picture of the library finds similar ones"() {
    await waitForCards(page);
    await page.click(".card a");
    await titleIs("Pictures like this");
    await waitForCards(page);
    assert.match(await hashOf(page), /^#\/like\/[0-9a-f]{32}$/);
    assert.ok(await page.$eval(".card .score", (node) => node.textContent.endsWith("%")));
    await page.goBack();
    await titleIs("From your library");
  },

  async "an uploaded picture finds itself"() {
    const input = await page.$("#choose");
    await input.uploadFile(sample);
    await titleIs("Pictures like yours");
    await waitForCards(page);
    assert.equal(await page.$eval(".card .band", (node) => node.textContent), "Same picture");
    await page.click("#again");
    await titleIs("From your library");
  },

  async "more and less steer a search"() {
    await page.click(".card a");
    await titleIs("Pictures like this");
    await waitForCards(page);
    await page.click(".card .steer");
    await titleIs("Pictures like these");
    await waitForCards(page);
    await page.click(".card .steer + .steer");
    await eventually(page, "there are three chips", () => document.querySelectorAll("#chips .chip").length === 3);
    assert.match(await hashOf(page), /^#\/find\?more=\w+&more=\w+&less=\w+$/);
    await page.click("#chips .unlike button");
    await eventually(page, "there are two chips", () => document.querySelectorAll("#chips .chip").length === 2);
  },

  async "filters apply to the library and to searches"() {
    await openLibrary();
    const { facets } = await getJson("/v1/facets?fields=folder");
    const { value, count } = facets.folder.values.find((entry) => entry.value === "2026/");
    await page.click("[data-field=folder]");
    await eventually(page, "the folders are listed", () => document.querySelector("#facets .option"));
    await page.$$eval("#facets .option", (options) => options.find((option) => option.textContent.startsWith("2026")).querySelector("input").click());
    await eventually(page, "the address has the filter", () => location.hash.includes("folder=2026"));
    await waitForCards(page);
    const isTicked = (wanted) => eventually(page, `the box is ${wanted ? "" : "not "}ticked`, (expected) => {
      const boxes = [...document.querySelectorAll("#facets input[type=checkbox]")];
      return boxes.length > 0 && boxes.some((box) => box.checked) === expected;
    }, wanted);
    await isTicked(true);
    await page.goBack();
    await isTicked(false);
    await page.goForward();
    await isTicked(true);
    await waitForCards(page);
    await page.keyboard.press("Escape");
    const paths = await page.$$eval(".card .where", (nodes) => nodes.map((node) => node.textContent));
    assert.ok(paths.every((where) => where.startsWith("photos/2026")), `${paths}`);
    assert.equal(await page.$eval("#results-summary", (node) => node.textContent), `${count} pictures`, value);
    await page.click(".card a");
    await titleIs("Pictures like this");
    await waitForCards(page);
    assert.match(await hashOf(page), /^#\/like\/\w+\?folder=2026/);
    const hits = await page.$$eval(".card .where", (nodes) => nodes.map((node) => node.textContent));
    assert.ok(hits.every((where) => where.startsWith("photos/2026")), `${hits}`);
    await page.click("#filter-chips .chip button");
    await eventually(page, "the filter is gone", () => !location.hash.includes("folder"));
  },

  async "filters without a match say so"() {
    await openLibrary();
    await page.evaluate(() => { location.hash = "#/?tag=nothing"; });
    await eventually(page, "the message appears", () => document.querySelector("#message").textContent.includes("No picture matches these filters"));
    await page.click("#message .button");
    await waitForCards(page);
  },

  async "the large view leafs, compares and explains"() {
    await openLibrary();
    const names = await page.$$eval(".card .label span:nth-child(2)", (nodes) => nodes.map((node) => node.textContent));
    await page.focus(".card a");
    await press("o");
    const nameIs = (name) => eventually(page, `the large view shows ${name}`, (wanted) => document.querySelector("#detail").open && document.querySelector("#detail-name").textContent === wanted, name);
    await nameIs(names[0]);
    assert.match(await hashOf(page), /open=[0-9a-f]{32}$/);
    await press("ArrowRight", "ArrowRight", "ArrowLeft");
    await nameIs(names[1]);
    await eventually(page, "similar pictures are listed", () => document.querySelectorAll("#detail-similar button").length > 3);
    assert.ok(await page.$eval("#detail-facts", (node) => /×/.test(node.textContent)));
    await page.click("#detail-history summary");
    await eventually(page, "the history is listed", () => document.querySelector("#detail-steps .steps"));
    await press("Escape");
    await eventually(page, "the large view is closed", () => !document.querySelector("#detail").open && location.hash === "#/");
    await page.goForward();
    await eventually(page, "the address opens it again", () => document.querySelector("#detail").open);
    await press("s");
    await titleIs("Pictures like this");
    await waitForCards(page);
    await page.click(".card .large");
    await nameIs(await page.$eval(".card .label span:nth-child(2)", (node) => node.textContent));
    await press("c");
    const isCompared = await hasOperation("/v1/compare");
    if (!isCompared) expectComplaint(/404.*\/v1\/compare/);
    await eventually(page, "both pictures are shown", () => document.querySelector("#detail-query-image").naturalWidth > 0 && !document.querySelector("#detail-differences").textContent.includes("Comparing"));
    if (isCompared) assert.match(await page.$eval("#detail-differences", (node) => node.textContent), /%/);
    await press("Escape");
  },

  async "messages and keys work in the large view"() {
    await openLibrary();
    // Browsers without a window deny access to the clipboard.
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { configurable: true, value: { writeText: async () => {} } }));
    await page.focus(".card a");
    await press("o");
    await eventually(page, "similar pictures are listed", () => document.querySelectorAll("#detail-similar button").length > 3);
    await press("p");
    await eventually(page, "the message is above the large view", () => document.querySelector("#toast").textContent === "Path copied"
      && document.querySelector("#toast").parentNode === document.querySelector("#detail"));
    const shown = await page.evaluate(() => location.hash);
    await page.click("#detail-similar button");
    await eventually(page, "another picture is shown", (before) => location.hash !== before, shown);
    await eventually(page, "the focus stays in the large view", () => document.activeElement.id === "detail-close");
    await eventually(page, "its actions are shown", () => document.querySelector("#detail-select"));
    await press("x");
    await eventually(page, "the key selects the picture", () => document.querySelector("#detail-select").getAttribute("aria-pressed") === "true");
    await press("Escape");
    await eventually(page, "the large view is closed", () => !document.querySelector("#detail").open);
  },

  async "the large view of an unknown picture is empty"() {
    await openLibrary();
    expectComplaint(/404.*\/v1\/images\/0{32}/);
    await page.focus(".card a");
    await press("o");
    await eventually(page, "a picture is shown", () => document.querySelector("#detail-select"));
    await page.evaluate((id) => { location.hash = `#/?open=${id}`; }, "0".repeat(32));
    await eventually(page, "the error is shown", () => document.querySelector("#detail-status").textContent !== "");
    assert.equal(await page.$eval("#detail-name", (node) => node.textContent), "Picture");
    assert.equal(await page.$$eval("#detail-actions > *, #detail-facts > *", (nodes) => nodes.length), 0);
    assert.ok(await page.$eval("#detail-compare", (node) => node.hidden));
    await press("x", "p");
    assert.ok(await page.$eval("#selection", (node) => node.hidden));
  },

  async "a selection is searched by and downloaded"() {
    await openLibrary();
    const client = await page.createCDPSession();
    await client.send("Page.setDownloadBehavior", { behavior: "allow", downloadPath: world.folder });
    await page.focus(".card a");
    await press("x", "ArrowRight", "ArrowRight");
    await page.keyboard.down("Shift");
    await press("x");
    await page.keyboard.up("Shift");
    await eventually(page, "three are selected", () => document.querySelector("#selection-count").textContent === "3 pictures selected");
    await press("b");
    assert.equal(await page.evaluate(() => document.activeElement.id), "selection-find");
    await page.$$eval("#selection button", (buttons) => buttons.find((button) => button.textContent === "Download").click());
    await eventually(page, "the archive is described", () => document.querySelector("#download")?.innerText.includes("contains 3 files"));
    const archive = path.join(world.folder, "lookalike.zip");
    const deadline = Date.now() + 20_000;
    while (!existsSync(archive) && Date.now() < deadline) await new Promise((resolve) => { setTimeout(resolve, 50); });
    const files = readZip(readFileSync(archive));
    assert.equal(files.length, 3);
    for (const [name, content] of files) assert.deepEqual(content, readFileSync(path.join(world.photos, name.replace(/^photos\//, ""))), name);
    await press("Escape");
    await page.click("#selection-find");
    await titleIs("Pictures like these");
    assert.equal((await hashOf(page)).match(/more=/g).length, 3);
  },

  async "a download is stopped"() {
    await openLibrary();
    await page.evaluate(() => {
      const send = window.fetch;
      window.fetch = (address, options) => !/\/content(\?|$)/.test(address) ? send(address, options)
        : new Promise((resolve, reject) => { options.signal.addEventListener("abort", () => reject(options.signal.reason)); });
    });
    await page.focus(".card a");
    await press("x");
    await page.$$eval("#selection button", (buttons) => buttons.find((button) => button.textContent === "Download").click());
    await eventually(page, "a file is being read", () => document.querySelector("#download")?.innerText.includes("Reading 1 of 1"));
    await page.$$eval("#download button", (buttons) => buttons.find((button) => button.textContent === "Stop").click());
    await eventually(page, "the message is visible", () => document.querySelector("#toast").textContent === "The download was stopped"
      && document.querySelector("#toast").parentNode === document.body);
  },

  async "settings last"() {
    await openLibrary();
    await page.click("#open-settings");
    await page.click("#settings input[value=dark]");
    await page.click("#settings input[value=small]");
    await openLibrary();
    assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), "dark");
    assert.ok(await page.$eval(".card", (card) => card.offsetWidth < 200));
    await page.evaluate(() => localStorage.clear());
  },

  async "new pictures appear in the strip"() {
    await openLibrary();
    await eventually(page, "the counters are known", () => /\d/.test(document.querySelector("#counters").textContent));
    copyFileSync(sample, path.join(world.photos, "just-now.jpg"));
    await eventually(page, "the strip shows it", () => document.querySelector("#live button[title='photos/just-now.jpg']"));
    await page.$$eval("#live button", (buttons) => buttons.find((button) => button.textContent === "Hide").click());
    assert.equal(await page.$eval("#live", (node) => node.hidden), true);
    await page.evaluate(() => localStorage.clear());
  },

  async "a part of a picture is searched by"() {
    await openLibrary();
    await page.click(".card a");
    await titleIs("Pictures like this");
    await waitForCards(page);
    const { cursor } = await getJson(`/v1/images/${(await hashOf(page)).slice("#/like/".length)}/similar?limit=1`);
    if (cursor === undefined) {
      console.log("SKIPPED: this service has no regions");
      return;
    }
    await page.click(".region-button");
    await press("ArrowLeft");
    await page.keyboard.down("Shift");
    await press("ArrowDown");
    await page.keyboard.up("Shift");
    await press("Enter");
    await titleIs("Pictures like this part");
    await waitForCards(page);
    assert.match(decodeURIComponent(await hashOf(page)), /region=0\.23,0\.25,0\.5,0\.52$/);
    assert.equal(await page.$("#save-search"), null);
  },

  async "hits have pages, and copies fold"() {
    await openLibrary();
    await page.click(".card a");
    await titleIs("Pictures like this");
    await waitForCards(page);
    if (!await page.$("#results-tools .toggle")) {
      console.log("SKIPPED: this service has neither pages of hits nor folding");
      return;
    }
    const id = (await hashOf(page)).slice("#/like/".length);
    const countHits = async (group) => {
      let count = 0;
      for (let cursor = ""; cursor !== null;) {
        const answer = await getJson(`/v1/images/${id}/similar?limit=48${group}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
        count += answer.hits.length;
        cursor = answer.cursor;
      }
      return count;
    };
    const [all, folded] = [await countHits(""), await countHits("&group=near")];
    assert.ok(all > 48 && folded < all, `${all}, ${folded}`);
    const loadAll = (wanted) => eventually(page, `${wanted} hits are loaded`, (count) => {
      scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
      return document.querySelector("#results-summary").textContent.includes(`${count} nearest`);
    }, wanted);
    await loadAll(all);
    await page.evaluate(() => scrollTo({ top: 0, behavior: "instant" }));
    await page.click("#results-tools .toggle input");
    await titleIs("Pictures like this");
    await waitForCards(page);
    await loadAll(folded);
    const badge = await eventually(page, "a hit has a copy", () => {
      scrollBy({ top: -300, behavior: "instant" });
      return document.querySelector(".card .badge")?.textContent;
    });
    assert.match(badge, /^\+\d+ copies$/);
    await page.evaluate(() => document.querySelector(".card:has(.badge) .large").click());
    await eventually(page, "the copy is shown", () => document.querySelectorAll("#detail-folded button").length > 0);
    await press("Escape");
    await page.evaluate(() => localStorage.clear());
    await page.reload();
  },

  async "copies are grouped"() {
    if (!await hasOperation("/v1/duplicates")) {
      expectComplaint(/404.*\/v1\/duplicates/);
      await page.click("#view-duplicates");
      await eventually(page, "the view is hidden", () => document.querySelector("#view-duplicates").hidden && document.querySelector("#message h3"));
      return;
    }
    await openLibrary();
    await page.click("#view-duplicates");
    await eventually(page, "a group is shown", () => document.querySelectorAll(".group .copy").length >= 2);
    assert.equal(await page.$$eval(".group:first-child .keep", (nodes) => nodes.length), 1);
    await page.$$eval(".group button", (buttons) => buttons.find((button) => button.textContent === "Select the copies").click());
    assert.match(await page.$eval("#selection-count", (node) => node.textContent), /selected/);
  },

  async "a failed page of copies keeps the others"() {
    if (!await hasOperation("/v1/duplicates")) return;
    const first = "/v1/duplicates?kind=identical&limit=20";
    let answer = await getJson(first);
    while (answer.groups.length === 0 && answer.cursor) answer = await getJson(`${first}&cursor=${encodeURIComponent(answer.cursor)}`);
    assert.ok(answer.groups.length > 0);
    await openLibrary();
    // Two pages with the same groups; the first request for the second one fails.
    await page.evaluate((groups) => {
      const send = window.fetch;
      let requests = 0;
      window.fetch = async (address, options) => {
        if (!String(address).includes("/v1/duplicates")) return send(address, options);
        requests += 1;
        if (requests === 2) throw new TypeError("the connection is cut");
        return Response.json({ groups, examined: 100, cursor: requests === 1 ? "next" : null });
      };
    }, answer.groups);
    const groupsAre = (count) => eventually(page, `there are ${count} groups`, (wanted) => document.querySelectorAll(".group").length === wanted, count);
    const more = (label) => eventually(page, `the button ${label}`, (wanted) => {
      const button = document.querySelector("#loading-more:not([hidden]) button");
      return button?.textContent === wanted && (button.click(), true);
    }, label);
    await page.click("#view-duplicates");
    await groupsAre(answer.groups.length);
    await more("Show more");
    await eventually(page, "the failure is reported", () => document.querySelector("#loading-more").textContent.includes("Is it still running?"));
    await groupsAre(answer.groups.length);
    await more("Try again");
    await groupsAre(2 * answer.groups.length);
    await page.reload();
  },

  async "searches are saved, match and are deleted"() {
    if (!await hasOperation("/v1/saved-searches")) {
      expectComplaint(/404.*\/v1\/saved-searches/);
      assert.equal(await page.$eval("#view-saved", (node) => node.hidden), true);
      return;
    }
    await openLibrary();
    await page.click(".card a");
    await titleIs("Pictures like this");
    await waitForCards(page);
    const { path: found } = await getJson(`/v1/images/${(await hashOf(page)).slice("#/like/".length)}`);
    await page.click("#save-search");
    await page.$eval("#save input", (input) => { input.value = ""; });
    await page.type("#save input", "Copies of one");
    await page.click("#save button[type=submit]");
    await eventually(page, "it is saved", () => !document.querySelector("#save").open);
    await page.click("#view-saved");
    await eventually(page, "it is listed", () => document.querySelector(".saved h3")?.textContent === "Copies of one");
    copyFileSync(path.join(world.photos, found), path.join(world.photos, "matching.jpg"));
    await eventually(page, "the match is counted", () => document.querySelector(".saved b").textContent === "1 match");
    await page.click(".saved h3 a");
    await waitForCards(page);
    await page.goBack();
    await eventually(page, "it is listed", () => document.querySelector(".saved button"));
    await page.click(".saved button");
    await page.click("#confirm-yes");
    await eventually(page, "none is left", () => document.querySelector("#message").textContent.includes("No saved searches yet"));
  },

  async "closing the sheet stops an upload"() {
    const { libraries } = await getJson("/v1/libraries");
    if (!libraries[0].uploads) {
      console.log("SKIPPED: this service permits no uploads");
      return;
    }
    await openLibrary();
    await eventually(page, "the button appears", () => !document.querySelector("#add-label").hidden);
    // The first upload ends when it is stopped, and no other one may begin.
    await page.evaluate(() => {
      const send = window.fetch;
      window.uploads = 0;
      window.fetch = (address, options) => {
        if (options?.method !== "POST" || !/\/v1\/images\?/.test(address)) return send(address, options);
        window.uploads += 1;
        return new Promise((resolve, reject) => { options.signal.addEventListener("abort", () => reject(options.signal.reason)); });
      };
    });
    const input = await page.$("#add");
    await input.uploadFile(path.join(world.folder, "new.jpg"), sample);
    await page.click("#add-pictures button[type=submit]");
    await eventually(page, "the first picture is being sent", () => window.uploads === 1);
    await press("Escape");
    await eventually(page, "the upload is stopped", () => document.querySelector("#toast").textContent === "0 of 2 pictures stored; stopped");
    assert.equal(await page.evaluate(() => window.uploads), 1);
    await page.reload();
  },

  async "pictures are added and removed"() {
    const { libraries } = await getJson("/v1/libraries");
    if (!libraries[0].uploads || !libraries[0].deletions) {
      console.log("SKIPPED: this service permits no uploads and deletions");
      return;
    }
    // The page may still be loading the picture when its file is removed.
    expectComplaint(/(404|410).*\/v1\/images\/[0-9a-f]{32}/);
    await openLibrary();
    await eventually(page, "the button appears", () => !document.querySelector("#add-label").hidden);
    const input = await page.$("#add");
    await input.uploadFile(path.join(world.folder, "new.jpg"));
    await page.click("#add-pictures button[type=submit]");
    await eventually(page, "it is in the index", () => [...document.querySelectorAll("#add-pictures button")].some((button) => button.textContent === "In the index"));
    assert.ok(readdirSync(world.photos).includes("new.jpg"));
    await page.$$eval("#add-pictures button", (buttons) => buttons.find((button) => button.textContent === "In the index").click());
    await eventually(page, "it is shown", () => document.querySelector("#detail-remove"));
    await page.click("#detail-remove");
    await page.click("#confirm-yes");
    await eventually(page, "it is removed", () => document.querySelector("#toast").textContent.startsWith("Moved to"));
    assert.ok(!existsSync(path.join(world.photos, "new.jpg")));
  },
});
