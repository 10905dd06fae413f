/** The page from an address that may connect, and from one that may not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";

const { PAGE, CHROMIUM } = process.env;

test("the page of another origin is refused", async (t) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => browser.close());
  for (const [address, entered] of [[PAGE, true], [PAGE.replace("127.0.0.1", "localhost"), false]]) {
    const page = await browser.newPage();
    await page.goto(address);
    await page.getByLabel("Your name").fill("ada");
    await page.getByRole("button", { name: "Enter" }).click();
    if (entered) await page.getByRole("status").getByText("Connected").waitFor();
    else await page.getByRole("alert").getByText("Unreachable").waitFor();
    assert.equal(await page.getByLabel("Message", { exact: true }).count(), entered ? 1 : 0);
  }
});
