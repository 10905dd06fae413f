/** The connection at real sockets: what a break, a refusal, silence and the end of two hours make of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionEnded, HandshakeRefused, RequestRefused, Unreachable, connect } from "roomcast";
import { WebSocket } from "ws";
import { Hall, StillClock } from "./hall.js";

/** Ada's connection, for as long as the test lasts. */
async function ada(test, hall, options = {}) {
  const me = await connect(hall.url, { user: "ada", room: "tea", WebSocket, draw: () => 0, ...options });
  test.after(() => me.close());
  return me;
}

/** The next messages. */
async function chats(me, count) {
  const found = [];
  for await (const event of me.events()) {
    if (event.type === "chat" && found.push(event.message) === count) break;
  }
  return found;
}

const said = (hall, type) => hall.requests.filter((it) => it.type === type);

test("a message is acknowledged, and comes back", async (t) => {
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { name: "Ada" });
  const ack = await me.send("tea", "hello");
  assert.deepEqual([ack.roomId, ack.seq], ["tea", 1]);
  assert.deepEqual(await chats(me, 1), ["hello"]);
  assert.deepEqual(hall.handshakes, [{ room: "tea", user: "ada", offered: ["roomcast.v1"], status: 101 }]);
});

test("what was said during a break comes after it, and what was under way goes again", async (t) => {
  const hall = await Hall.open(t);
  const me = await ada(t, hall);
  await me.join("side");
  await me.send("tea", "before");
  hall.answers = false;
  const sending = me.send("tea", "once");
  await hall.until(() => said(hall, "chat").length === 2);
  hall.answers = true;
  hall.cut();
  hall.say("tea", "meanwhile");
  hall.say("side", "aside");
  assert.equal((await sending).seq, 3);
  assert.deepEqual((await chats(me, 4)).sort(), ["aside", "before", "meanwhile", "once"]);
  const [first, second] = said(hall, "chat").slice(1);
  assert.equal(first.clientId, second.clientId);
});

test("a refusal is thrown", async (t) => {
  const hall = await Hall.open(t);
  const me = await ada(t, hall);
  await assert.rejects(me.send("tea", "forbidden"), (error) => error instanceof RequestRefused && error.code === "FORBIDDEN");
  await assert.rejects(me.send("tea", "x".repeat(40_000)), { code: "TOO_LARGE" });
});

test("a search goes on page after page", async (t) => {
  const hall = await Hall.open(t);
  for (const text of ["a fox", "hay", "a fox again", "hay", "hay", "foxes"]) hall.say("tea", text);
  const me = await ada(t, hall);
  const found = [];
  for await (const message of me.search("tea", "fox")) found.push(message.seq);
  assert.deepEqual(found, [6, 3, 1]);
  const page = await me.searchPage("tea", "fox", { cursor: 6 });
  assert.deepEqual([page.messages.map((it) => it.seq), page.next], [[3], 3]);
  const searching = me.search("tea", "fox");
  assert.equal((await searching.next()).value.seq, 6);
  // The room is made anew.
  hall.rooms.epoch = 2;
  await assert.rejects(async () => {
    while (!(await searching.next()).done);
  }, { code: "ROOM_NOT_FOUND" });
});

test("a socket that says nothing while an answer is owed is replaced", async (t) => {
  const clock = new StillClock();
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { clock });
  await me.ping();
  hall.answers = false;
  const sending = me.send("tea", "hello");
  await hall.until(() => said(hall, "chat").length === 1);
  clock.pass(34);
  assert.equal(hall.handshakes.length, 1);
  hall.answers = true;
  clock.pass(2);
  assert.equal((await sending).seq, 1);
  assert.equal(hall.handshakes.length, 2);
});

/** Until the service has said that the next socket is to be opened, and that is at the door. */
async function aged(hall, clock, me) {
  for (let passed = 0; passed < 6_590; passed += 10) {
    await me.ping();
    clock.pass(10);
  }
  await me.ping();
  assert.equal(hall.tries, 1);
  let open;
  hall.door = new Promise((done) => (open = done));
  clock.pass(20);
  await hall.until(() => hall.tries === 2);
  return open;
}

test("the next socket is opened when the service has said, and the old one goes when it has joined", async (t) => {
  const clock = new StillClock();
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { clock });
  await me.join("side");
  const open = await aged(hall, clock, me);
  hall.say("side", "while it waits");
  await me.send("side", "over the old one");
  assert.equal(hall.sockets, 1);
  open();
  await hall.until(() => said(hall, "join_room").length === 3);
  hall.say("side", "over both");
  const data = { roomId: "side", userId: "bob", username: "Bob", timestamp: 1, sentAt: 1000 };
  hall.tell({ type: "typing", data });
  await me.send("side", "over the new one");
  assert.equal(hall.sockets, 2);
  clock.pass(5);
  await hall.until(() => hall.sockets === 1);
  hall.say("side", "after all");
  const heard = [];
  for await (const event of me.events()) {
    if (event.type === "typing") heard.push("typing");
    if (event.type === "chat" && heard.push(event.message) && event.message === "after all") break;
  }
  const before = ["while it waits", "over the old one", "over both", "typing"];
  assert.deepEqual(heard, [...before, "over the new one", "after all"]);
  assert.equal(hall.tries, 2);
});

test("a second socket that is refused for now: the old one serves until it is cut", async (t) => {
  const clock = new StillClock();
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { clock });
  const open = await aged(hall, clock, me);
  hall.refuse = 429;
  open();
  await hall.until(() => hall.tries > 3);
  await me.send("tea", "over the old one");
  hall.cut();
  await hall.until(() => hall.sockets === 0);
  hall.say("tea", "while nobody is there");
  hall.refuse = undefined;
  await me.send("tea", "over the new one");
  assert.deepEqual(await chats(me, 3), ["over the old one", "while nobody is there", "over the new one"]);
});

test("a second socket that is refused for good ends the connection", async (t) => {
  const clock = new StillClock();
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { clock });
  const open = await aged(hall, clock, me);
  hall.refuse = 401;
  open();
  await assert.rejects(chats(me, 1), HandshakeRefused);
  await assert.rejects(me.ping(), HandshakeRefused);
  await hall.until(() => hall.sockets === 0);
});

test("closing closes both sockets, also one that is on its way", async (t) => {
  for (const beside of [false, true]) {
    const clock = new StillClock();
    const hall = await Hall.open(t);
    const me = await ada(t, hall, { clock });
    const open = await aged(hall, clock, me);
    if (beside) {
      open();
      await hall.until(() => said(hall, "join_room").length === 1);
      assert.equal(hall.sockets, 2);
    }
    me.close();
    open();
    await hall.until(() => hall.sockets === 0);
    await assert.rejects(me.ping(), ConnectionEnded);
    assert.equal(hall.tries, 2);
  }
});

test("each handshake shows a fresh token, and one that can't be had ends the connection", async (t) => {
  const hall = await Hall.open(t);
  let shown = 0;
  const none = new Error("no token");
  const token = async () => {
    if (++shown > 2) throw none;
    return `token-${shown}`;
  };
  const me = await ada(t, hall, { token, user: undefined });
  hall.cut();
  await hall.until(() => hall.handshakes.length === 2);
  await me.ping();
  assert.deepEqual(
    hall.handshakes.map((it) => it.offered),
    [1, 2].map((it) => ["roomcast.v1", `bearer.token-${it}`]),
  );
  // Whoever came without a name stays who the service made them.
  assert.deepEqual(hall.handshakes.map((it) => it.user), [null, "anonymous-1"]);
  hall.cut();
  await assert.rejects(chats(me, 1), none);
  await assert.rejects(me.ping(), none);
});

test("a reconnect tries other rooms, and ends where none is open", async (t) => {
  const hall = await Hall.open(t);
  const me = await ada(t, hall);
  await me.join("side");
  hall.closed.set("tea", 403);
  hall.cut();
  await hall.until(() => hall.handshakes.at(-1).status === 101 && hall.handshakes.length > 1);
  assert.deepEqual(hall.handshakes.map((it) => it.room), ["tea", "tea", "side"]);
  await me.ping();
  hall.refuse = 401;
  hall.answers = false;
  const sending = assert.rejects(me.send("side", "hello"), { status: 401 });
  hall.cut();
  await sending;
  await assert.rejects(chats(me, 1), HandshakeRefused);
});

test("a browser is told nothing of a refusal: other rooms are tried all the same", async (t) => {
  class Browser extends WebSocket {
    set onerror(hear) {
      super.onerror = () => hear(new Event("error"));
    }
  }
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { WebSocket: Browser });
  await me.join("side");
  hall.closed.set("tea", 403);
  hall.cut();
  await hall.until(() => hall.handshakes.at(-1).room === "side" && hall.handshakes.at(-1).status === 101);
  assert.ok(hall.handshakes.length > 4);
  assert.equal((await me.send("side", "hello")).seq, 1);
});

test("errors say what they are", () => {
  const all = { Unreachable, HandshakeRefused, RequestRefused, ConnectionEnded };
  for (const [name, kind] of Object.entries(all)) assert.equal(new kind("x").name, name);
});

test("closing ends what waits", async (t) => {
  const hall = await Hall.open(t);
  const me = await ada(t, hall);
  hall.answers = false;
  const sending = assert.rejects(me.send("tea", "hello"), ConnectionEnded);
  const hearing = chats(me, 1);
  me.close();
  await sending;
  assert.deepEqual(await hearing, []);
  await assert.rejects(me.ping(), ConnectionEnded);
});

test("closing ends a reconnect", async (t) => {
  const clock = new StillClock();
  const hall = await Hall.open(t);
  const me = await ada(t, hall, { clock, draw: () => 1 });
  await me.ping();
  hall.refuse = 503;
  hall.cut();
  const hearing = chats(me, 1);
  while (hall.handshakes.length < 3) {
    clock.pass(30);
    await new Promise(setImmediate);
  }
  me.close();
  assert.deepEqual(await hearing, []);
  const tries = hall.handshakes.length;
  clock.pass(300);
  await new Promise(setImmediate);
  assert.equal(hall.handshakes.length, tries);
});

test("a signal closes the connection, before and after it is open", async (t) => {
  const hall = await Hall.open(t);
  const late = new AbortController();
  const me = await ada(t, hall, { signal: late.signal });
  const hearing = chats(me, 1);
  late.abort();
  assert.deepEqual(await hearing, []);
  const early = new AbortController();
  const connecting = ada(t, hall, { signal: early.signal });
  early.abort(new Error("enough"));
  await assert.rejects(connecting, /enough/);
  await assert.rejects(ada(t, hall, { signal: early.signal }), /enough/);
});

test("who is not there, not let in, or speaks another tongue is told apart", async (t) => {
  const hall = await Hall.open(t);
  hall.refuse = 401;
  await assert.rejects(ada(t, hall), (error) => error instanceof HandshakeRefused && error.status === 401);
  const other = await Hall.open(t, false);
  await assert.rejects(ada(t, other), Unreachable);
  await other.close();
  await assert.rejects(ada(t, other), Unreachable);
});
