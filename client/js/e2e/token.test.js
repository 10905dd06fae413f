/** Tokens of a real issuer: a fresh one for each handshake, and one that is refused. `TOKENS` holds them, by spaces. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HandshakeRefused } from "roomcast";
import { fresh, person } from "./people.js";

const tokens = process.env.TOKENS.split(" ");

test("each handshake shows the next token, until one is refused", async (t) => {
  const room = fresh("den");
  let shown = 0;
  const ada = await person(t, { room, token: async () => tokens[shown++] });
  assert.equal((await ada.me.send(room, "by the first")).seq, 1);
  await ada.until(() => ada.of("chat").length === 1);
  ada.cut();
  assert.equal((await ada.me.send(room, "by the second")).seq, 2);
  await ada.until(() => ada.of("chat").length === 2);
  assert.equal(new Set(ada.of("chat").map((it) => it.senderId)).size, 1);
  assert.equal(shown, 2);
  ada.cut();
  await assert.rejects(ada.hearing, (error) => error instanceof HandshakeRefused && error.status === 401);
  await assert.rejects(ada.me.send(room, "by nobody"), HandshakeRefused);
  assert.equal(shown, tokens.length);
});
