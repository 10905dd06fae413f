/** The page where the service asks for a token: `TOKEN` is one that lets its user in. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";

const { PAGE, CHROMIUM, TOKEN } = process.env;

/** The token with other claims, which nobody has signed. */
function forged(claims) {
  const [head, said, signature] = TOKEN.split(".");
  const all = { ...JSON.parse(Buffer.from(said, "base64url")), ...claims };
  return [head, Buffer.from(JSON.stringify(all)).toString("base64url"), signature].join(".");
}

test("who has a token enters; of any other the page says what is wrong", async (t) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => browser.close());
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(PAGE);
  assert.equal(await page.getByLabel("Your name").count(), 0);
  const show = async (token) => {
    await page.getByLabel("Your token").fill(token);
    await page.getByLabel("Your token").press("Enter");
  };
  for (const [token, words] of [
    ["my token", "this is no token"],
    [forged({ exp: 1 }), "this token has ended"],
    [forged({ sub: "somebody-else" }), "the service refuses this token"],
  ]) {
    await show(token);
    await page.getByRole("alert").getByText(words).waitFor();
  }
  await show(` ${TOKEN}\n`);
  await page.getByRole("status").getByText("Connected").waitFor();
  await page.getByRole("complementary").getByText("ada").waitFor();
  await page.getByLabel("Message", { exact: true }).fill("by a token");
  await page.getByLabel("Message", { exact: true }).press("Enter");
  await page.locator(".log .text", { hasText: "by a token" }).waitFor();
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!kept.includes(TOKEN.split(".")[2]), "the token is kept nowhere");
  await page.reload();
  assert.equal(await page.getByLabel("Your token").inputValue(), "");
});
