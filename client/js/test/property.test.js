/** Whatever order, loss and repetition come to, and however often the socket breaks: what heals is whole. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Session } from "roomcast";
import { Rooms } from "./rooms.js";

/** The first is named by the connection, the second joined, the third is the inbox. */
const ROOMS = ["den", "tea", "inbox#ada"];
const RUNS = Number(process.env.RUNS ?? 300);
/** Another seed looks at other cases. */
const SEED = Number(process.env.SEED ?? 1);

/** Ada's session, and what lies between it and the rooms. */
class Wire {
  now = 100;
  pushes = [];
  requests = [];
  /** Frames that came, to come again. */
  had = [];
  /** Room → the seqs that Ada was given, and the one before the first that she was owed. */
  given = new Map(ROOMS.map((room) => [room, []]));
  begin = new Map();
  /** Texts that Ada said in the first room, in order. */
  said = [];
  refused = 0;

  constructor(draws) {
    let ids = 0;
    let drawn = 0;
    const draw = () => draws[drawn++ % draws.length];
    this.rooms = new Rooms((event) => this.pushes.push(event));
    this.session = new Session(ROOMS[0], { newId: () => `id-${++ids}`, draw });
    this.enter();
    this.session.join(ROOMS[1], this.now);
  }

  enter() {
    this.session.connected(this.now);
    this.pushes = [this.rooms.welcome(ROOMS[0], "ada")];
    this.requests = [];
  }

  receive(event) {
    this.had.push(event);
    this.keep(this.session.receive(JSON.stringify(event), this.now));
  }

  keep(released) {
    for (const event of released) {
      if (event.type === "chat" || event.type === "private_message") this.given.get(event.roomId).push(event.seq);
      if (event.type === "error") this.refused += 1;
      assert.notEqual(event.type, "missed");
    }
    for (const room of ROOMS) {
      const cursor = this.session.cursor(room);
      if (cursor && !this.begin.has(room)) this.begin.set(room, cursor[1] - this.given.get(room).length);
    }
  }

  /** One of what waits; `number` says which. */
  take(waiting, number) {
    return waiting.splice(number % waiting.length, 1)[0];
  }

  ask() {
    this.requests.push(...this.session.frames().map((it) => JSON.parse(it)));
  }

  // ---- what may happen

  say = (number) => this.rooms.say(ROOMS[number % ROOMS.length], `bob ${number}`);
  push = (number) => this.pushes.length && this.receive(this.take(this.pushes, number));
  lose = (number) => this.take(this.pushes, number);
  repeat = (number) => this.had.length && this.receive(this.had[number % this.had.length]);
  loseRequest = (number) => this.take(this.requests, number);

  send(number) {
    this.said.push(`ada ${this.said.length}`);
    this.session.send(ROOMS[0], this.said.at(-1), this.now);
  }

  batch(number) {
    this.receive({ type: "batch", data: { events: this.pushes.splice(0, 1 + (number % 5)) } });
  }

  answer(number) {
    const answer = this.requests.length && this.rooms.answer(this.take(this.requests, number));
    if (answer) this.receive(answer);
  }

  loseAnswer(number) {
    if (this.requests.length) this.rooms.answer(this.take(this.requests, number));
  }

  pass(number) {
    this.now += (number % 40) / 4;
    this.keep(this.session.tick(this.now));
  }

  cut() {
    this.session.disconnected();
    this.enter();
  }

  /** Nothing is lost any more, and time passes: what a lost welcome would have said is asked for after a minute. */
  heal() {
    const healed = this.now + 70;
    const done = () => this.now >= healed && !this.session.busy && !this.pushes.length && !this.requests.length;
    for (let turns = 0; !done(); turns += 1) {
      assert.ok(turns < 500, "it never comes to rest");
      while (this.pushes.length) this.push(0);
      this.ask();
      while (this.requests.length) this.answer(0);
      this.ask();
      if (!this.pushes.length && !this.requests.length) {
        this.now = Math.max(this.now, Math.min(this.session.due, this.now + 15));
        this.keep(this.session.tick(this.now));
      }
    }
  }
}

const NAMES = {
  ...{ say: 12, send: 4, push: 14, lose: 4, repeat: 3, batch: 3 },
  ...{ answer: 12, loseAnswer: 2, loseRequest: 2, pass: 5, cut: 1 },
};
const steps = fc.array(
  fc.tuple(
    fc.oneof(...Object.entries(NAMES).map(([name, weight]) => ({ weight, arbitrary: fc.constant(name) }))),
    fc.nat(1_000),
  ),
  { maxLength: 150, size: "max" },
);
const draws = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 20 });

test("each message once and in order, once what was broken has healed", () => {
  let looked = 0;
  fc.assert(
    fc.property(draws, steps, (drawn, happens) => {
      const wire = new Wire(drawn);
      for (const [name, number] of happens) {
        wire[name](number);
        wire.ask();
      }
      wire.heal();
      wire.session.ping(wire.now);
      wire.heal();
      fc.pre(wire.refused === 0);
      for (const room of ROOMS) {
        const head = wire.rooms.log(room).length;
        const begin = wire.begin.get(room);
        assert.ok(begin !== undefined, `${room} was never begun`);
        assert.deepEqual(
          wire.given.get(room),
          Array.from({ length: head - begin }, (_, n) => begin + n + 1),
          room,
        );
        looked += head - begin;
      }
      const own = wire.rooms.log(ROOMS[0]).filter((it) => it.data.senderId === "ada");
      assert.deepEqual(own.map((it) => it.data.message), wire.said);
    }),
    { numRuns: RUNS, seed: SEED },
  );
  assert.ok(looked > RUNS * 10, `${looked} messages show little`);
});
