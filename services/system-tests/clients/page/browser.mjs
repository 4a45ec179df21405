// A browser with the page in it, and what every check needs: steps, waiting, and complaints of the browser.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import puppeteer from "puppeteer-core";

// A busy machine needs longer than a person would wait.
const TIMEOUT_MS = 90_000;

const [url, chromium, folder] = process.argv.slice(2);

// `url` is the service, `folder` one for downloads, `photos` the folder of the library.
export const world = { url, folder, photos: process.argv[5] };

export const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  timeout: TIMEOUT_MS,
  // Root may not use the sandbox, and containers have a small /dev/shm.
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
});

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// What the browser complained about, such as exceptions and violations of the content security policy.
const complaints = [];

// Answers that a check provokes are no complaints.
const expected = [];

export const expectComplaint = (pattern) => expected.push(pattern);

export async function openPage({ hash = "#/", width = 1280, height = 900, theme = "light", isTouch = false } = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  await page.setViewport({ width, height, hasTouch: isTouch, isMobile: isTouch });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }, { name: "prefers-reduced-motion", value: "reduce" }]);
  page.on("pageerror", (error) => complaints.push(error.stack ?? String(error)));
  page.on("console", (message) => {
    if (["error", "warn"].includes(message.type())) complaints.push(`${message.text()} ${message.location().url ?? ""}`);
  });
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(`${world.url}/`) && !/^(blob|data):/.test(address)) complaints.push(`request to another host: ${address}`);
  });
  await page.goto(`${world.url}/${hash}`);
  return page;
}

// Waits until the function returns a value in the page, and returns that value.
export async function eventually(page, what, check, ...values) {
  try {
    const handle = await page.waitForFunction(check, { timeout: TIMEOUT_MS, polling: 50 }, ...values);
    return await handle.jsonValue();
  } catch (error) {
    const shown = await page.evaluate(() => `${location.hash}\n${document.body.innerText.slice(0, 1500)}`);
    throw new Error(`never: ${what}: ${error.message}\n${shown}`);
  }
}

// Waits until pictures are visible and returns their number.
export const waitForCards = (page) => eventually(page, "pictures are visible", () => {
  const images = [...document.querySelectorAll(".card .frame img")].filter((image) => image.getBoundingClientRect().top < innerHeight);
  return document.querySelector("#grid[aria-busy]") === null && images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0)
    && document.querySelectorAll(".card").length;
});

export const hashOf = (page) => page.evaluate(() => location.hash);

export async function assertAccessible(page, view) {
  // The policy of the page forbids scripts from elsewhere, so this one comes through the debugger.
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const { violations: found } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
    return found.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
  });
  assert.deepEqual(violations, [], view);
}

// Whether the service has an operation; older ones and those of other settings do not.
export async function hasOperation(path) {
  const response = await fetch(world.url + path);
  const body = await response.json();
  if (body.code === "no_such_route") console.log(`SKIPPED: this service has no ${path}`);
  return body.code !== "no_such_route";
}

export async function getJson(path) {
  const response = await fetch(world.url + path);
  assert.equal(response.status, 200, path);
  return response.json();
}

// Runs the checks one after another; each is a name and a function.
export async function runSteps(steps) {
  for (const [name, run] of Object.entries(steps)) {
    const started = Date.now();
    try {
      await run();
    } catch (error) {
      console.error(`FAILED: ${name}`);
      await browser.close();
      throw error;
    }
    console.log(`ok ${name} (${Date.now() - started} ms)`);
  }
  await browser.close();
  assert.deepEqual(complaints.filter((complaint) => !expected.some((pattern) => pattern.test(complaint))), []);
}
