/** How the page scrolls where it shows `MESSAGES` messages of the room `long`: the time of each frame. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";

const { PAGE, CHROMIUM, MESSAGES } = process.env;
/** Pixels a frame: some five screens a second at 60 frames. */
const STEP = 50;
const FRAMES = 600;

test("a long room is loaded by scrolling, and scrolls", async (t) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => browser.close());
  const page = await browser.newPage();
  await page.goto(PAGE);
  await page.getByLabel("Your name").fill("ada");
  await page.getByRole("button", { name: "Enter" }).click();
  await page.getByLabel("Another room").fill("long");
  await page.getByLabel("Another room").press("Enter");
  await page.getByRole("heading", { name: "long" }).waitFor();
  const log = page.getByRole("log");
  for (let shown = 0; shown < MESSAGES; ) {
    await page.waitForFunction((shown) => document.querySelectorAll(".log li").length > shown, shown);
    shown = await page.locator(".log li").count();
    await log.evaluate((it) => void (it.scrollTop = 0));
  }
  const texts = await page.locator(".log .text").allTextContents();
  assert.equal(texts.length, Number(MESSAGES));
  assert.equal(new Set(texts).size, texts.length);
  for (const [way, step] of [["up", -STEP], ["down", STEP]]) {
    const times = await log.evaluate(
      async (it, [step, frames]) => {
        const frame = () => new Promise(requestAnimationFrame);
        it.scrollTop = step > 0 ? 0 : it.scrollHeight;
        let before = await frame();
        const times = [];
        for (let n = 0; n < frames; n += 1) {
          it.scrollTop += step;
          const now = await frame();
          times.push(now - before);
          before = now;
        }
        return times;
      },
      [step, FRAMES],
    );
    const sorted = times.toSorted((one, other) => one - other);
    const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))].toFixed(1);
    const late = times.filter((it) => it > 25).length;
    t.diagnostic(
      `scrolled ${way} through ${texts.length} messages, ${FRAMES} frames of ${STEP} px: ` +
        `median ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms, ${late} frames later than 25 ms`,
    );
  }
});
