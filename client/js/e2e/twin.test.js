/** The client at the whole service: sockets that break under load, and every request once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RequestRefused } from "roomcast";
import { fresh, person } from "./people.js";

const MESSAGES = 10;
/** Messages heard after which somebody's socket is cut. */
const CUTS = [10, 30, 50];

test("whatever breaks under load, everybody has every message once and in order", async (t) => {
  const rooms = ["den", "tea", "attic"].map(fresh);
  const names = ["ada", "bob", "cid"].map(fresh);
  const people = await Promise.all(names.map((user) => person(t, { user, room: rooms[0] })));
  await Promise.all(people.flatMap(({ me }) => rooms.slice(1).map((room) => me.join(room))));
  const all = names.length * rooms.length * MESSAGES;
  const breaking = people.map(async (it) => {
    for (const [n, count] of CUTS.entries()) {
      await it.until(() => it.of("chat").length >= count && it.of("welcome").length > n);
      it.cut();
    }
    await it.until(() => it.of("chat").length >= all);
  });
  const saying = people.flatMap(({ me }, who) =>
    rooms.flatMap((room) => Array.from({ length: MESSAGES }, (_, n) => me.send(room, `${names[who]} ${n}`))),
  );
  const acks = await Promise.all(saying);
  await Promise.all(breaking);
  for (const room of rooms) {
    const said = names.flatMap((name) => Array.from({ length: MESSAGES }, (_, n) => `${name} ${n}`));
    const seqs = said.map((_, n) => n + 1);
    assert.deepEqual(acks.filter((it) => it.roomId === room).map((it) => it.seq).sort((a, b) => a - b), seqs);
    for (const it of people) {
      const heard = it.of("chat", room);
      assert.deepEqual(heard.map((chat) => chat.seq), seqs);
      assert.deepEqual(heard.map((chat) => chat.message).sort(), said.toSorted());
      for (const name of names) {
        const mine = heard.filter((chat) => chat.senderId === name).map((chat) => chat.message);
        assert.deepEqual(mine, said.filter((text) => text.startsWith(`${name} `)));
      }
    }
  }
  for (const it of people) {
    assert.ok(it.sockets > CUTS.length);
    assert.equal(it.of("missed").length, 0);
  }
});

test("private messages of a break come after it, once", async (t) => {
  const [ada, bob] = await Promise.all(["ada", "bob"].map((name) => person(t, { user: fresh(name), room: fresh("den") })));
  await bob.until(() => bob.of("welcome").length);
  const [from, to] = [ada, bob].map((it) => it.me);
  const { userId } = bob.of("welcome")[0];
  const texts = Array.from({ length: 12 }, (_, n) => `psst ${n}`);
  const acks = [];
  for (const [n, text] of texts.entries()) {
    if (n % 4 === 1) bob.cut();
    acks.push(await from.sendPrivate(userId, text));
  }
  await bob.until(() => bob.of("private_message").length >= texts.length);
  assert.deepEqual(bob.of("private_message").map((it) => it.message), texts);
  assert.ok(acks[0].online);
  to.read(`inbox#${userId}`, texts.length);
  await bob.until(() => bob.of("read").length);
  assert.equal(bob.of("read")[0].unread, 0);
});

test("every request is answered", async (t) => {
  const room = fresh("fox");
  const user = fresh("ada");
  const { me, of, until } = await person(t, { user, name: "Ada", room });
  for (const text of ["a red fox", "hay", "the fox is red"]) await me.send(room, text);
  const first = await me.send(room, "an answer", { replyTo: 1, mentions: [user] });
  assert.equal(first.seq, 4);
  const page = await me.history(room, { before: 4, limit: 2 });
  assert.deepEqual([page.events.map((it) => it.message), page.head], [["hay", "the fox is red"], 4]);
  const thread = await me.history(room, { thread: 1 });
  assert.deepEqual(thread.events.map((it) => it.seq), [1, 4]);
  const found = [];
  for await (const message of me.search(room, "red fox")) found.push(message.seq);
  assert.deepEqual(found, [3, 1]);
  const members = await me.members(room);
  assert.deepEqual(members.map((it) => it.username), ["Ada"]);
  assert.equal((await me.presence("away")).status, "away");
  assert.ok((await me.rooms()).some((it) => it.roomId === room));
  assert.equal((await me.ping()).heads[room].seq, 4);
  assert.equal((await me.ask({ type: "react", roomId: room, seq: 1, emoji: "👍" })).type, "ack");
  assert.equal((await me.ask({ type: "notices", enabled: false })).enabled, false);
  await until(() => of("reaction").length);
  const made = await me.ask({ type: "create_room", roomId: fresh("made"), title: "Made" });
  assert.deepEqual([made.type, made.title], ["room", "Made"]);
  assert.equal((await me.join(made.roomId)).roomId, made.roomId);
  const other = await person(t, { user: fresh("bob"), room: made.roomId });
  me.typing(made.roomId);
  await other.until(() => other.of("typing").length);
  assert.equal((await me.leave(made.roomId)).roomId, made.roomId);
  await assert.rejects(me.history(made.roomId), (error) => error instanceof RequestRefused && error.code === "NOT_A_MEMBER");
});
