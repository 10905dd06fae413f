/** The page in a real browser: people chat, one is away and comes back complete, texts stay texts, nobody is shut out. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { attacks } from "./attacks.js";
import { network } from "./network.js";

const { PAGE, CHROMIUM, PICTURES } = process.env;
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
/** Rules of WCAG 2.2 up to AA, and axe's own. */
const SERIOUS = new Set(["serious", "critical"]);
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
});
after(() => browser.close());

const fresh = (name) => `${name}-${crypto.randomUUID().slice(0, 8)}`;

/** A page that nobody has entered yet. */
async function visitor(t, options = {}) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  return page;
}

/** Somebody at the page, in a room. What goes wrong there fails the test. */
async function person(t, name, room, { ws, ...options } = {}) {
  const page = await visitor(t, { ...options, bypassCSP: Boolean(ws) || options.bypassCSP });
  const trouble = [];
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("dialog", (dialog) => trouble.push(`a dialog: ${dialog.message()}`) && dialog.dismiss());
  page.on("console", (it) => it.type() === "error" && !/WebSocket/.test(it.text()) && trouble.push(it.text()));
  // By another way to the service than the page is told of, and may use.
  if (ws) await page.route("**/config.json", (route) => route.fulfill({ json: { ws } }));
  await page.goto(PAGE);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Enter" }).click();
  await page.getByLabel("Another room").fill(room);
  await page.getByLabel("Another room").press("Enter");
  await page.getByRole("heading", { name: room }).waitFor();
  await page.getByRole("complementary").getByText(name).first().waitFor();
  t.after(() => assert.deepEqual(trouble, []));
  return { page, say: (text) => say(page, text), texts: () => page.locator(".log .text").allTextContents() };
}

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

/** Until the last message that a page shows is this one. */
const shows = (page, text) => page.locator(".log li:last-child .text", { hasText: text }).waitFor();

test("two people chat; one is away for twenty messages and comes back complete", async (t) => {
  const room = fresh("tea");
  const ada = await person(t, "ada", room);
  const { ws } = await (await fetch(new URL("config.json", PAGE))).json();
  const net = await network(t, ws);
  const bob = await person(t, "bob", room, { ws: net.url });
  await ada.say("hello");
  await shows(bob.page, "hello");
  await bob.say("hi");
  await shows(ada.page, "hi");
  net.leave();
  await bob.page.getByRole("status").getByText("Reconnecting").waitFor();
  const said = Array.from({ length: 20 }, (_, n) => `meanwhile ${n}`);
  for (const text of said) await ada.say(text);
  await shows(ada.page, said.at(-1));
  assert.deepEqual(await bob.texts(), ["hello", "hi"]);
  net.comeBack();
  await shows(bob.page, said.at(-1));
  await bob.page.getByRole("status").getByText("Connected").waitFor();
  assert.deepEqual(await bob.texts(), ["hello", "hi", ...said]);
  assert.deepEqual(await ada.texts(), await bob.texts());
});

test("nothing but the page's own may be loaded or run there", async (t) => {
  const page = await visitor(t);
  await page.goto(PAGE);
  const elsewhere = PAGE.replace("127.0.0.1", "localhost");
  const refused = await page.evaluate(async (elsewhere) => {
    const seen = new Set();
    const refusals = new Promise((all) =>
      document.addEventListener("securitypolicyviolation", (it) => seen.add(it.effectiveDirective).size === 4 && all(seen)),
    );
    document.body.append(Object.assign(document.createElement("style"), { textContent: "* { display: none }" }));
    document.body.append(Object.assign(document.createElement("img"), { src: elsewhere }));
    await fetch(elsewhere).catch(() => {});
    try {
      document.createElement("script").textContent = "globalThis.pwned = 1";
    } catch {
      // No text is a script here.
    }
    return [...(await refusals)].sort();
  }, elsewhere);
  assert.deepEqual(refused, ["connect-src", "img-src", "require-trusted-types-for", "style-src-elem"]);
});

test("texts and names stay texts", async (t) => {
  const room = fresh("attic");
  assert.ok(attacks.length >= 100);
  const name = "<img src=x onerror=pwned()>";
  const eve = await person(t, name, room);
  for (const text of attacks) await eve.say(text);
  await shows(eve.page, attacks.at(-1).trim());
  assert.deepEqual(await eve.texts(), attacks);
  const ada = await person(t, "ada", room);
  await shows(ada.page, attacks.at(-1));
  assert.deepEqual((await ada.texts()).slice(-40), attacks.slice(-40));
  for (const { page } of [eve, ada]) {
    assert.equal(await page.evaluate(() => globalThis.pwned), undefined);
    assert.equal(await page.locator(".log :is(img, script, svg, iframe, a, b, form, style, object, embed, math)").count(), 0);
  }
});

for (const [shape, options] of Object.entries({
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  phone: { colorScheme: "light", viewport: { width: 360, height: 740 } },
})) {
  test(`nobody is shut out: ${shape}`, async (t) => {
    const room = fresh("kitchen");
    const ada = await person(t, "ada", room, { ...options, bypassCSP: true });
    const bob = await person(t, "bob", room);
    await bob.say("Is there any tea left?");
    await shows(ada.page, "tea left");
    await ada.say("Plenty. I have just put the kettle on.");
    await shows(bob.page, "kettle");
    await shows(ada.page, "kettle");
    if (PICTURES) {
      mkdirSync(PICTURES, { recursive: true });
      await ada.page.screenshot({ path: `${PICTURES}/${shape}.png` });
    }
    await ada.page.addScriptTag({ path: axe });
    const { violations } = await ada.page.evaluate(() => axe.run());
    const faults = violations.filter((it) => SERIOUS.has(it.impact));
    assert.deepEqual(faults.map((it) => [it.id, it.nodes.map((node) => node.html)]), []);
    const { scrollWidth, clientWidth } = await ada.page.evaluate(() => document.documentElement);
    assert.equal(scrollWidth, clientWidth, "nothing is wider than the screen");
  });
}

test("the whole of it by keys alone", async (t) => {
  const page = await visitor(t);
  await page.goto(PAGE);
  await page.getByLabel("Your name").waitFor();
  await page.keyboard.type("ada");
  await page.keyboard.press("Enter");
  await page.getByLabel("Message", { exact: true }).waitFor();
  const text = fresh("by keys");
  for (let tabs = 0; tabs < 40; tabs += 1) {
    if (await page.getByLabel("Message", { exact: true }).evaluate((it) => it === document.activeElement)) break;
    await page.keyboard.press("Tab");
  }
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await shows(page, text);
});
