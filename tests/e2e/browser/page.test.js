/** The page in a real browser: people chat, one is away and comes back complete, texts stay texts, nobody is shut out. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { attacks } from "./attacks.js";
import { actions, say } from "./chat.js";
import { faults } from "./faults.js";
import { network } from "./network.js";

const { PAGE, CHROMIUM, PICTURES } = process.env;
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

/** What has the focus: its label, or its text. */
const focused = (page) =>
  page.evaluate(() => {
    const it = document.activeElement;
    return it.getAttribute("aria-label") ?? it.labels?.[0]?.textContent ?? it.textContent;
  });

/** Until the last message that a page shows is this one. */
const shows = (page, text) => page.locator(".log li:last-child .text", { hasText: text }).waitFor();

// First, so that no rooms of others are on the pictures.
for (const [shape, { place, ...options }] of Object.entries({
  light: { place: "kitchen", colorScheme: "light", viewport: { width: 1000, height: 560 } },
  dark: { place: "library", colorScheme: "dark", viewport: { width: 1000, height: 560 } },
  phone: { place: "garden", colorScheme: "light", viewport: { width: 360, height: 740 } },
})) {
  test(`nobody is shut out: ${shape}`, async (t) => {
    const room = PICTURES ? place : fresh(place);
    const ada = await person(t, "ada", room, { ...options, bypassCSP: true });
    const bob = await person(t, "bob", room);
    await bob.say("Is there any tea left?");
    await shows(ada.page, "tea left");
    await (await actions(ada.page, "tea left")).getByRole("button", { name: "Answer" }).click();
    await ada.say("Plenty. I have just put the kettle on.");
    await shows(bob.page, "kettle");
    await (await actions(bob.page, "kettle")).getByRole("button", { name: "React with 🎉" }).click();
    await (await actions(ada.page, "tea left")).getByRole("button", { name: "React with 👍" }).click();
    await ada.page.getByText("🎉 1").waitFor();
    await bob.say("Then I will bring the cups, and whatever is left of the cake from yesterday.");
    await shows(ada.page, "cups");
    await (await actions(bob.page, "cups")).getByRole("button", { name: "Edit" }).click();
    await bob.page.getByLabel("Edit the message").fill("Then I will bring the cups, and what is left of yesterday's cake.");
    await bob.page.keyboard.press("Enter");
    await ada.page.getByText("(edited)").waitFor();
    const open = { nothing: () => {}, actions: () => actions(ada.page, "kettle") };
    for (const name of ["Edit", "Delete", "Answer", "Thread"]) {
      open[name] = async () => {
        await ada.page.keyboard.press("Escape");
        await (await actions(ada.page, "kettle")).getByRole("button", { name }).click();
      };
    }
    for (const [name, opens] of Object.entries(open)) {
      await opens();
      if (PICTURES && name !== "nothing") {
        mkdirSync(PICTURES, { recursive: true });
        await ada.page.screenshot({ path: `${PICTURES}/${shape}-${name}.png` });
      }
      assert.deepEqual(await faults(ada.page), [], name);
      const { scrollWidth, clientWidth } = await ada.page.evaluate(() => document.documentElement);
      assert.equal(scrollWidth, clientWidth, "nothing is wider than the screen");
      const cut = await ada.page.evaluate(() =>
        [...document.querySelectorAll("header *")]
          .filter((it) => it.getBoundingClientRect().right > innerWidth)
          .map((it) => it.textContent),
      );
      assert.deepEqual(cut, [], "nothing of the header is beside it");
    }
  });
}

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

test("messages are answered, reacted to, edited and deleted, and all see it", async (t) => {
  const room = fresh("study");
  const ada = await person(t, "ada", room);
  const bob = await person(t, "bob", room);
  await ada.say("Shall we meet at three?");
  await shows(bob.page, "at three");

  await (await actions(bob.page, "at three")).getByRole("button", { name: "Answer" }).click();
  assert.equal(await focused(bob.page), "Message");
  await bob.page.keyboard.type("Four is better");
  await bob.page.keyboard.press("Enter");
  await shows(ada.page, "Four is better");
  await ada.page.getByRole("button", { name: "In answer to ada: Shall we meet at three?" }).waitFor();
  await ada.page.getByText("1 answer").waitFor();
  await bob.page.getByText("In answer to", { exact: false }).nth(1).waitFor({ state: "detached" });

  await (await actions(bob.page, "at three")).getByRole("button", { name: "React with 👍" }).click();
  const thumbs = ada.page.getByRole("button", { name: "👍 1" });
  await thumbs.waitFor();
  assert.equal(await thumbs.getAttribute("aria-pressed"), "false");
  await thumbs.click();
  await bob.page.getByRole("button", { name: "👍 2" }).waitFor();
  await ada.page.getByRole("button", { name: "👍 2", pressed: true }).click();
  await bob.page.getByRole("button", { name: "👍 1", pressed: true }).click();
  await thumbs.waitFor({ state: "detached" });
  await (await actions(bob.page, "at three")).getByLabel("Another emoji").fill("🦔");
  await bob.page.keyboard.press("Enter");
  await ada.page.getByRole("button", { name: "🦔 1" }).waitFor();

  await (await actions(ada.page, "at three")).getByRole("button", { name: "Edit" }).click();
  await ada.page.getByLabel("Edit the message").fill("Shall we meet at four?\n<b>In the study</b>");
  await ada.page.keyboard.press("Enter");
  await bob.page.getByText("(edited)").waitFor();
  assert.deepEqual(await bob.texts(), ["Shall we meet at four?\n<b>In the study</b>", "Four is better"]);

  assert.equal(await (await actions(bob.page, "at four")).getByRole("button", { name: /Edit|Delete/ }).count(), 0);
  await (await actions(ada.page, "at four")).getByRole("button", { name: "Delete" }).click();
  await ada.page.getByRole("group", { name: "Delete the message?" }).getByRole("button", { name: "Delete" }).click();
  await bob.page.locator(".gone", { hasText: "deleted" }).waitFor();
  await ada.page.locator(".gone", { hasText: "deleted" }).waitFor();
  assert.deepEqual(await ada.texts(), ["Four is better"]);
  assert.equal(await focused(ada.page), "Actions for the message of ada");
});

test("a thread is shown in place of the room, and goes on while it is", async (t) => {
  const room = fresh("parlour");
  const ada = await person(t, "ada", room);
  const bob = await person(t, "bob", room);
  await ada.say("Who brings the cake?");
  await ada.say("And it may rain");
  await shows(bob.page, "may rain");
  assert.equal(await (await actions(bob.page, "the cake")).getByRole("button", { name: "Thread" }).count(), 0);
  await bob.page.getByRole("button", { name: "Answer", exact: true }).click();
  await bob.say("I do");
  await shows(ada.page, "I do");

  await (await actions(ada.page, "I do")).getByRole("button", { name: "Thread" }).click();
  await ada.page.getByRole("heading", { name: `A thread in ${room}` }).waitFor();
  assert.equal(await focused(ada.page), "Message");
  await shows(ada.page, "I do");
  assert.deepEqual(await ada.texts(), ["Who brings the cake?", "I do"]);
  await ada.say("Thank you");
  await bob.page.getByRole("button", { name: "In answer to ada: Who brings the cake?" }).nth(1).waitFor();
  await bob.say("It does rain");
  await (await actions(bob.page, "Thank you")).getByRole("button", { name: "Answer", exact: true }).click();
  await bob.say("Any time");
  await shows(ada.page, "Any time");
  assert.deepEqual(await ada.texts(), ["Who brings the cake?", "I do", "Thank you", "Any time"]);
  await ada.page.getByText("3 answers").waitFor();
  await (await actions(ada.page, "Any time")).getByRole("button", { name: "React with 👍" }).click();
  await ada.page.getByRole("button", { name: "👍 1" }).waitFor();

  await ada.page.getByRole("button", { name: `Back to all of ${room}` }).click();
  await shows(ada.page, "Any time");
  assert.equal(await focused(ada.page), "Message");
  const all = ["Who brings the cake?", "And it may rain", "I do", "Thank you", "It does rain", "Any time"];
  assert.deepEqual(await ada.texts(), all);
  await ada.page.getByRole("button", { name: "👍 1" }).waitFor();
});

test("what is done to messages is done by keys alone, and nobody loses their place", async (t) => {
  const room = fresh("cellar");
  const { page, say, texts } = await person(t, "ada", room);
  for (const text of ["first", "second", "third"]) await say(text);
  await shows(page, "third");
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  /** Until the focus is at what has this name. */
  const at = async (name) => {
    await page.waitForFunction((name) => {
      const it = document.activeElement;
      return (it.getAttribute("aria-label") ?? it.labels?.[0]?.textContent ?? it.textContent) === name;
    }, name);
  };
  const line = () => page.evaluate(() => document.activeElement.closest("li")?.querySelector(".text")?.textContent);
  await page.getByLabel("Message", { exact: true }).focus();
  await press("Shift+Tab");
  await at("Actions for the message of ada");
  assert.equal(await line(), "third");
  await press("ArrowUp");
  assert.equal(await line(), "second");
  await press("Home");
  assert.equal(await line(), "first");
  await press("ArrowUp");
  assert.equal(await line(), "first");
  await press("End", "ArrowUp", "Enter");
  await at("Answer");
  await press("Escape");
  await at("Actions for the message of ada");
  assert.equal(await line(), "second");
  await press("Enter", "Tab", "Enter");
  await at("Edit the message");
  await press("Escape");
  await at("Actions for the message of ada");
  await press("Enter", "Tab", "Enter");
  await at("Edit the message");
  await page.keyboard.type(", edited");
  await press("Enter");
  await page.getByText("(edited)").waitFor();
  await at("Actions for the message of ada");
  assert.equal(await line(), "second, edited");
  await press("Enter");
  await at("Answer");
  await press("Tab", "Tab", "Tab", "Enter");
  await page.getByRole("button", { name: "👍 1" }).waitFor();
  await at("Actions for the message of ada");
  await press("Shift+Tab");
  await at("👍 1");
  await press("Enter");
  await page.getByRole("button", { name: "👍 1" }).waitFor({ state: "detached" });
  await at("Actions for the message of ada");
  await press("Enter", "Tab", "Tab", "Enter");
  await at("Keep");
  await press("Enter");
  await at("Actions for the message of ada");
  assert.deepEqual(await texts(), ["first", "second, edited", "third"]);
  await press("Enter", "Enter");
  await at("Message");
  await page.getByText("In answer to ada: second, edited").waitFor();
  await press("Escape");
  await at("Message");
  assert.equal(await page.getByText("In answer to").count(), 0);
});

test("what is unread is marked, also after a reload", async (t) => {
  const [hall, attic] = [fresh("hall"), fresh("attic")];
  const ada = await person(t, fresh("ada"), hall);
  await ada.page.getByLabel("Another room").fill(attic);
  await ada.page.getByLabel("Another room").press("Enter");
  await ada.page.getByRole("heading", { name: attic }).waitFor();
  const bob = await person(t, "bob", hall);
  const unread = (count) => ada.page.getByRole("button", { name: `${hall} ${count} unread` }).waitFor();
  for (const text of ["one", "two"]) await bob.say(text);
  await unread(2);
  await ada.page.reload();
  await ada.page.getByRole("button", { name: "Enter" }).click();
  await ada.page.getByRole("heading", { name: attic }).waitFor();
  await unread(2);
  await bob.say("three");
  await unread(3);
  await ada.page.getByRole("button", { name: `${hall} 3 unread` }).click();
  await shows(ada.page, "three");
  await ada.page.getByRole("button", { name: hall, exact: true }).waitFor();
  await ada.page.reload();
  await ada.page.getByRole("button", { name: "Enter" }).click();
  await shows(ada.page, "three");
  assert.equal(await ada.page.getByText("unread").count(), 0);
});

test("a note of the tab that is none of ours is forgotten", async (t) => {
  const { page } = await person(t, fresh("ada"), fresh("attic"));
  for (const spoilt of ["{", "null", '{"rooms":[{}],"shown":""}', '{"rooms":["cellar"]}']) {
    await page.evaluate((it) => sessionStorage.setItem("rooms", it), spoilt);
    await page.reload();
    await page.getByRole("button", { name: "Enter" }).click();
    await page.getByRole("heading", { name: "general" }).waitFor();
    await page.getByRole("status").getByText("Connected").waitFor();
  }
});

test("one writes to a member alone, and says how one is", async (t) => {
  const room = fresh("porch");
  const [ada, bob] = [await person(t, fresh("ada"), room), await person(t, fresh("bob"), room)];
  const name = (page) => page.locator("header .me label").textContent();
  const [one, other] = [(await name(ada.page)).split(" ")[0], (await name(bob.page)).split(" ")[0]];
  await ada.page.getByRole("button", { name: `Write to ${other}` }).click();
  assert.equal(await focused(ada.page), "Message");
  await ada.page.keyboard.type("between us");
  await ada.page.keyboard.press("Enter");
  await shows(ada.page, "between us");
  await bob.page.getByRole("button", { name: "Private messages 1 unread" }).click();
  await shows(bob.page, "between us");
  await (await actions(bob.page, "between us")).getByRole("button", { name: "Answer" }).click();
  assert.equal(await bob.page.getByLabel("To", { exact: true }).inputValue(), one);
  assert.equal(await focused(bob.page), "Message");
  await bob.page.keyboard.type("just us");
  await bob.page.keyboard.press("Enter");
  await shows(ada.page, "just us");
  await ada.page.getByRole("button", { name: room }).click();
  await bob.page.getByLabel(`${other} is`).selectOption("busy");
  await ada.page.getByRole("complementary").getByRole("listitem").filter({ hasText: other }).getByText("busy").waitFor();
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
