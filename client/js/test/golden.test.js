/** The golden traces of Python's session, replayed: what is sent, released and due is the same, number by number. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { RequestRefused, Session, readFrame } from "roomcast";

const FOLDER = process.env.ROOMCAST_TRACES ?? new URL("../../traces/", import.meta.url).pathname;
const traces = JSON.parse(readFileSync(`${FOLDER}/sessions.json`, "utf8"));
const frames = JSON.parse(readFileSync(`${FOLDER}/events.json`, "utf8"));
const ENTRIES = new Set(
  ("chat private_message room room_deleted role kicked banned unbanned muted unmuted message_edited message_deleted " +
    "reaction").split(" "),
);

/** An entry of a log in short, anything else in full. */
function summary(event) {
  const short = ENTRIES.has(event.type) && event.clientId === undefined;
  return short ? [event.type, event.roomId, event.epoch, event.seq, event.message ?? ""] : event;
}

/** One session, to which the inputs of a trace are played. */
class Player {
  constructor({ room, draws }) {
    this.drawn = 0;
    let ids = 0;
    this.session = new Session(room, {
      newId: () => `id-${String(++ids).padStart(5, "0")}`,
      draw: () => draws[this.drawn++],
    });
    /** Rooms that `look` asks the cursors of. */
    this.said = [room];
  }

  play(at, [name, ...rest]) {
    const unsent = rest.at(-1) === "unsent";
    const output = {};
    let outcome;
    try {
      outcome = this[name](at, ...rest);
    } catch (error) {
      if (!(error instanceof RequestRefused)) throw error;
      output.refused = error.code;
    }
    if (typeof outcome === "string") output.id = outcome;
    else if (Array.isArray(outcome) && outcome.length) output.events = outcome.map(summary);
    else if (outcome && !Array.isArray(outcome)) output.state = outcome;
    const sent = unsent ? [] : this.session.frames().map((it) => JSON.parse(it));
    if (sent.length) output.frames = sent;
    if (this.session.due !== undefined) output.due = this.session.due;
    return output;
  }

  connected = (at, named) => this.session.connected(at, named ?? undefined);
  disconnected = () => this.session.disconnected();
  receive = (at, event) => this.session.receive(JSON.stringify(event), at);
  text = (at, frame) => this.session.receive(frame, at);
  tick = (at) => this.session.tick(at);
  send_private = (at, user, text) => this.session.sendPrivate(user, text, at);
  leave = (at, room) => this.session.leave(room, at);
  search = (at, room, query, part) => this.session.search(room, query, at, part);
  rooms = (at, options) => this.session.listRooms(at, options);
  history = (at, room, span) => this.session.history(room, at, span);
  members = (at, room, { cursor }) => this.session.listMembers(room, at, cursor);
  ask = (at, request) => this.session.ask(request, at);
  presence = (at, status) => this.session.presence(status, at);
  ping = (at) => this.session.ping(at);
  read = (at, room, seq) => this.session.read(room, seq, at);
  typing = (at, room) => this.session.typing(room);

  send(at, room, text, options) {
    this.watch(room);
    return this.session.send(room, text, at, options);
  }

  join(at, room) {
    this.watch(room);
    return this.session.join(room, at);
  }

  look(at) {
    const { session } = this;
    const rooms = [...this.said, `inbox#${session.user ?? "None"}`];
    return {
      user: session.user ?? null,
      status: session.status,
      entrances: session.entrances,
      busy: session.busy,
      stale: session.stale(at),
      cursors: Object.fromEntries(rooms.map((it) => [it, session.cursor(it) ?? null])),
    };
  }

  watch(room) {
    if (!this.said.includes(room)) this.said.push(room);
  }
}

for (const trace of traces) {
  test(`the session does what is written: ${trace.name}`, () => {
    const player = new Player(trace);
    for (const [number, [at, given, output]] of trace.steps.entries()) {
      assert.deepEqual(player.play(at, given), output, `step ${number}, ${given[0]}`);
    }
    assert.equal(player.drawn, trace.draws.length);
  });
}

test("frames are read as is written", () => {
  assert.ok(frames.length > 1000);
  for (const [frame, event] of frames) {
    assert.deepEqual(readFrame(JSON.stringify(frame)) ?? null, event, JSON.stringify(frame));
  }
});
