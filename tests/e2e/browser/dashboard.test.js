/** The dashboard of a twin, by what can be seen and pressed. `PAGE` is the twin's; `PICTURES` a folder for pictures. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { faults } from "./faults.js";

const { PAGE, CHROMIUM, PICTURES } = process.env;
/** Milliseconds within which the dashboard promises to show what the twin says. */
const WITHIN = 2_000;
/** Milliseconds above which a delivery is late. */
const LATE = 1_000;

/** Everything that the twin says, as a second watcher hears it, with the time when it came. */
async function listen(t) {
  const states = [];
  const stop = new AbortController();
  t.after(() => stop.abort());
  const { body } = await fetch(`${PAGE}dashboard/live`, { signal: stop.signal });
  const reading = (async () => {
    let text = "";
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2))
        states.push({ heard: Date.now(), ...JSON.parse(text.slice("data: ".length, end)) });
    }
  })();
  reading.catch(() => {});
  return states;
}

async function until(what, holds, within = 60_000) {
  for (const end = Date.now() + within; Date.now() < end; await new Promise((wake) => setTimeout(wake, 50))) {
    const found = await holds();
    if (found) return found;
  }
  assert.fail(`${what} did not come within ${within / 1000} s`);
}

/** Dashboard in a browser of its own. Whatever it complains of fails the test. */
async function open(t, options = {}) {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => browser.close());
  const page = await (await browser.newContext({ locale: "en-GB", ...options })).newPage();
  page.setDefaultTimeout(20_000);
  const trouble = [];
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("console", (it) => it.type() === "error" && trouble.push(it.text()));
  await page.goto(`${PAGE}dashboard`);
  await page.getByRole("status").getByText("Live").waitFor();
  return { page, trouble };
}

/** The number beside a chart's line; NaN where there is none. */
async function figure(page, title, name) {
  const chart = page.locator("figure", { has: page.getByRole("heading", { name: title, exact: true }) });
  const text = await chart.locator("dl > div", { has: page.locator("dt", { hasText: name }) }).locator("dd").innerText();
  return Number.parseFloat(text.replaceAll(",", ""));
}

const cell = async (page, lane, name) =>
  page.getByRole("row", { name: lane }).locator(`[data-name="${name}"]`).innerText();

test("what is broken is seen at once, and what is turned matters", async (t) => {
  const states = await listen(t);
  const { page, trouble } = await open(t);
  const entries = () => figure(page, "Entries per frame", "entries");
  const p99 = () => figure(page, "From stored to socket", "p99");

  await t.test("simulated clients come, and chat", async () => {
    await page.getByLabel("Simulated clients", { exact: true }).fill("100");
    const heard = states.length; // what is typed stays, although the page is drawn anew meanwhile
    await until("more of the twin's words", () => states.length > heard + 2);
    await page.getByLabel("Simulated clients", { exact: true }).press("Enter");
    await page.getByRole("button", { name: "Add 100 simulated clients" }).click();
    await page.getByText("100 simulated clients chat, or are about to.").waitFor();
    await until("a hundred connections", () => states.at(-1).connections >= 100);
    await until("deliveries", async () => (await figure(page, "Deliveries", "deliveries")) > 0);
    await until("a latency", async () => (await p99()) > 0);
  });

  await t.test("a worker that is killed", async () => {
    await page.getByRole("button", { name: "Kill a worker of interactive" }).click();
    const told = await until("the killed worker", () =>
      states.find((it) => it.happenings.some(({ kind }) => kind === "worker_killed")),
    );
    await page.locator(".worker_killed", { hasText: "interactive: worker" }).waitFor({ timeout: WITHIN });
    assert.ok(Date.now() - told.heard <= WITHIN);
    await page.getByText(/Worker \d+ of interactive was killed\./).waitFor();
    await until("its successor", async () => /^[12] of 2/.test(await cell(page, "interactive", "workers")));
  });

  await t.test("a gateway that is throttled, and how the latency recovers", async () => {
    await page.getByLabel("Requests a second").fill("5");
    await page.getByLabel("Requests a second").press("Enter");
    const asked = Date.now();
    await page.getByRole("button", { name: "Throttle the gateway" }).click();
    await page.locator(".banner", { hasText: "The gateway is throttled: 5 requests a second" }).waitFor({ timeout: WITHIN });
    assert.ok(Date.now() - asked <= WITHIN);
    await until("posts that are throttled", async () => (await figure(page, "Posts by outcome", "throttled")) > 0);
    await until("late deliveries", async () => (await p99()) > LATE);
    await page.getByRole("button", { name: "Lift the throttle" }).click();
    await page.locator(".banner").waitFor({ state: "detached", timeout: WITHIN });
    const lifted = Date.now();
    const late = (it) => it.latency_ms.p99 === null || it.latency_ms.p99 > LATE;
    const well = await until("the recovered latency", () => states.find((it) => it.heard > lifted && !late(it)), 90_000);
    await until("the recovered latency on the page", async () => (await p99()) <= LATE, WITHIN);
    t.diagnostic(`recovered ${((well.heard - lifted) / 1000).toFixed(1)} s after the throttle was lifted`);
  });

  await t.test("a slider changes what frames carry, and back", async () => {
    const slider = page.locator("#interactive-post_rate");
    const plain = await until("entries in frames", entries);
    await slider.fill("30");
    const packed = await until("fuller frames", async () => (await entries()) > 3 * plain && entries());
    assert.equal(states.at(-1).settings.interactive.post_rate, 30);
    t.diagnostic(`entries per frame: ${plain}, with the slider at 30 posts a second ${packed}`);
    await slider.fill("0");
    await until("emptier frames", async () => (await entries()) < packed / 2);
  });

  await t.test("what the twin refuses goes back, and is said", async () => {
    const size = page.getByLabel("batch size as a number").first();
    await size.fill("11");
    await size.press("Enter");
    await page.getByRole("alert").getByText("a FIFO queue gives at most 10").waitFor();
    await until("the setting as it was", async () => (await size.inputValue()) === "10");
  });

  await t.test("connections that are cut come again", async () => {
    await page.getByLabel("Connections to cut").fill("20");
    await page.getByLabel("Connections to cut").press("Enter");
    await page.getByRole("button", { name: "Drop 20 clients" }).click();
    await page.getByText("20 connections were cut.").waitFor();
    await page.locator(".dropped").first().waitFor({ timeout: WITHIN });
    await until("all of them", () => states.at(-1).connections >= 100);
  });

  await t.test("there is a way to the chat, and back", async () => {
    await page.getByRole("link", { name: "To the chat" }).click();
    await page.getByRole("link", { name: "The dashboard of this twin" }).click();
    await page.getByRole("status").getByText("Live").waitFor();
  });

  const refused = /status of 400/; // the browser's own word for what the twin refused above
  assert.deepEqual(trouble.filter((it) => !refused.test(it)), []);
});

for (const [name, options] of Object.entries({
  light: { colorScheme: "light", viewport: { width: 1440, height: 1000 } },
  dark: { colorScheme: "dark", viewport: { width: 1440, height: 1000 } },
  phone: { viewport: { width: 390, height: 844 } },
})) {
  test(`nobody is shut out: ${name}`, async (t) => {
    // Its policy is bypassed, or axe is not let in.
    const { page } = await open(t, { ...options, bypassCSP: true });
    await until("deliveries", async () => (await figure(page, "Deliveries", "deliveries")) > 0);
    if (PICTURES) {
      await page.waitForTimeout(20_000);
      mkdirSync(PICTURES, { recursive: true });
      await page.screenshot({ path: `${PICTURES}/dashboard-${name}.png` });
    }
    assert.deepEqual(await faults(page), []);
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wider, 0);
  });
}
