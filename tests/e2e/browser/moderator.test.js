/** The page before somebody who moderates `ROOM`, and before somebody who does not until they are made to. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chromium } from "playwright-core";
import { actions, say } from "./chat.js";

const { PAGE, CHROMIUM, ROOM, OWNER } = process.env;
const MEMBER = "bob";

async function enter(context, name) {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(PAGE);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Enter" }).click();
  await page.getByLabel("Another room").fill(ROOM);
  await page.getByLabel("Another room").press("Enter");
  await page.getByRole("heading", { name: ROOM }).waitFor();
  await page.getByRole("complementary").getByText(name).first().waitFor();
  return page;
}

/** Make a user a moderator, as the room's owner, whose page this is. */
function promote(page, user) {
  return page.evaluate(
    async ([owner, roomId, userId]) => {
      const { ws } = await (await fetch("config.json")).json();
      const socket = new WebSocket(`${ws}?userId=${owner}&roomId=${roomId}`, "roomcast.v1");
      await new Promise((opened) => socket.addEventListener("open", opened));
      const acked = new Promise((done, refused) => {
        socket.addEventListener("message", ({ data }) => {
          const { type } = JSON.parse(data);
          if (type === "ack") done();
          if (type === "error") refused(new Error(data));
        });
      });
      socket.send(JSON.stringify({ type: "set_role", clientId: "promote-them", roomId, userId, role: "moderator" }));
      await acked;
      socket.close();
    },
    [OWNER, ROOM, user],
  );
}

test("a moderator deletes what others have said, and nobody else does", async (t) => {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  t.after(() => browser.close());
  const owner = await enter(await browser.newContext(), OWNER);
  const context = await browser.newContext();
  let refused;
  const refusal = new Promise((resolve) => (refused = resolve));
  context.on("page", (page) =>
    page.on("websocket", (socket) =>
      socket.on("framereceived", ({ payload }) => /"FORBIDDEN"/.test(payload) && refused()),
    ),
  );
  const member = await enter(context, MEMBER);

  await say(owner, "the first word");
  await say(member, "something rude");
  const first = await actions(member, "the first word");
  await refusal;
  await member.evaluate(() => new Promise(requestAnimationFrame));
  assert.equal(await first.getByRole("button", { name: /Edit|Delete/ }).count(), 0);

  const rude = await actions(owner, "something rude");
  await rude.getByRole("button", { name: "Delete" }).click();
  assert.equal(await rude.getByRole("button", { name: "Edit" }).count(), 0);
  await owner.getByRole("group", { name: "Delete the message?" }).getByRole("button", { name: "Delete" }).click();
  for (const page of [owner, member]) await page.locator(".gone", { hasText: "deleted by a moderator" }).waitFor();

  await promote(owner, MEMBER);
  await say(owner, "a second word");
  const second = await actions(member, "a second word");
  await second.getByRole("button", { name: "Delete" }).click();
  await member.getByRole("group", { name: "Delete the message?" }).getByRole("button", { name: "Delete" }).click();
  await owner.locator(".gone").nth(1).waitFor();
  assert.deepEqual(await owner.locator(".log .text").allTextContents(), ["the first word"]);
});
