// The page with an API key that is limited to one of two libraries.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { eventually, expectComplaint, openPage, runSteps, waitForCards, world } from "./browser.mjs";

// Without a key, everything is visible here. After the sign-in, the page that is open then may still ask
// for what the key hides, until it is loaded again.
expectComplaint(/(403.*\/v1\/saved-searches|404.*\/thumbnail)/);
const page = await openPage();
const key = readFileSync(path.join(world.folder, "key"), "utf8");

const textOfPage = () => page.evaluate(() => document.documentElement.outerHTML);

async function assertNoSecret() {
  const text = await textOfPage();
  assert.ok(!text.includes("secretlib") && !text.includes("confidential"), text.slice(0, 2000));
}

await runSteps({
  async "signed in, only the pictures of the key are visible"() {
    const status = await page.evaluate(async (secret) => {
      const body = JSON.stringify({ key: secret });
      const response = await fetch("v1/session", { method: "POST", headers: { "content-type": "application/json" }, body });
      return response.status;
    }, key);
    assert.equal(status, 204);
    await page.reload();
    assert.equal(await waitForCards(page), 3);
    await eventually(page, "the counters", () => document.querySelector("#counters").textContent.startsWith("3 on disk3 indexed"));
    await assertNoSecret();
  },

  async "what the key does not permit is hidden"() {
    await eventually(page, "no link to saved searches", () => document.querySelector("#view-saved").hidden);
    assert.ok(await page.$eval("[data-field=library]", (node) => node.hidden));
  },

  async "searches and copies work"() {
    await page.click(".card a");
    await eventually(page, "the search", () => document.querySelector("#results-title").textContent === "Pictures like this");
    await waitForCards(page);
    assert.equal(await page.$("#save-search"), null);
    await assertNoSecret();
    await page.evaluate(() => { location.hash = "#/duplicates"; });
    await eventually(page, "the copies", () => document.querySelector("#results-title").textContent === "Copies" && !document.querySelector("#grid[aria-busy]"));
    await assertNoSecret();
  },
});
