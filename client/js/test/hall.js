/** A room service in this process, at real sockets, that does as it is told; and a clock that does, too. */
import { WebSocket, WebSocketServer } from "ws";
import { Rooms } from "./rooms.js";

/** Time passes when a test says so; what is due at once is done at once. */
export class StillClock {
  #now = 1000;
  #alarms = new Set();

  now() {
    return this.#now;
  }

  wait(seconds, ring) {
    if (seconds <= 0) {
      const soon = setImmediate(ring);
      return () => clearImmediate(soon);
    }
    // As timers do: never early.
    const alarm = { at: Math.ceil((this.#now + seconds) * 1000) / 1000, ring };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  pass(seconds) {
    const end = this.#now + seconds;
    for (;;) {
      const [next] = [...this.#alarms].filter((it) => it.at <= end).sort((one, other) => one.at - other.at);
      if (!next) break;
      this.#alarms.delete(next);
      this.#now = next.at;
      next.ring();
    }
    this.#now = end;
  }
}

/** Rooms at an address. The faults are fields. */
export class Hall {
  url;
  /** Handshakes: room, user, what was offered as subprotocols, and what came of it. */
  handshakes = [];
  /** Requests, as they came. */
  requests = [];
  /** Room → the status with which its handshakes are answered. */
  closed = new Map();
  /** The status of all handshakes. */
  refuse;
  /** Handshakes wait for it. */
  door = Promise.resolve();
  /** How many have begun. */
  tries = 0;
  /** Whether requests are answered. */
  answers = true;
  rooms = new Rooms((event) => this.tell(event));
  #server;
  #news = [];

  /** A hall that is there until the test ends. */
  static async open(test, protocol = "roomcast.v1") {
    const hall = new Hall();
    await new Promise((open) => {
      hall.#server = new WebSocketServer({
        host: "127.0.0.1",
        port: 0,
        handleProtocols: () => protocol,
        verifyClient: ({ req }, answer) => {
          hall.tries += 1;
          hall.#wake();
          hall.door.then(() => answer(...hall.#verdict(req)));
        },
      });
      hall.#server.on("listening", open).on("connection", (socket, request) => hall.#enter(socket, request));
    });
    hall.url = `ws://127.0.0.1:${hall.#server.address().port}/dev`;
    test.after(() => hall.close());
    return hall;
  }

  /** Nobody is there any more. */
  async close() {
    this.cut();
    await new Promise((closed) => this.#server.close(closed));
  }

  /** Until the condition holds; it is looked at whenever something has come. */
  async until(condition) {
    while (!condition()) await new Promise((wake) => this.#news.push(wake));
  }

  /** All sockets break, without a word. */
  cut() {
    for (const socket of this.#server.clients) socket.terminate();
  }

  /** How many sockets are open. */
  get sockets() {
    return [...this.#server.clients].filter((it) => it.readyState === WebSocket.OPEN).length;
  }

  /** An event to all sockets. */
  tell(event) {
    for (const socket of this.#server.clients) this.#tell(socket, event);
  }

  /** A message of Bob's. */
  say(room, message) {
    this.rooms.say(room, message);
  }

  #verdict(request) {
    const url = new URL(request.url, "ws://here");
    const room = url.searchParams.get("roomId");
    const status = this.refuse ?? this.closed.get(room) ?? 101;
    const offered = request.headers["sec-websocket-protocol"].split(/, */);
    this.handshakes.push({ room, user: url.searchParams.get("userId"), offered, status });
    this.#wake();
    return [status === 101, status];
  }

  #enter(socket, request) {
    const { searchParams } = new URL(request.url, "ws://here");
    const user = searchParams.get("userId") ?? "anonymous-1";
    this.#tell(socket, this.rooms.welcome(searchParams.get("roomId"), user));
    socket.on("close", () => this.#wake());
    socket.on("message", (frame) => {
      const request = JSON.parse(frame);
      this.requests.push(request);
      const answer = this.answers && this.rooms.answer(request);
      if (answer) this.#tell(socket, answer);
      this.#wake();
    });
  }

  #tell(socket, event) {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(event));
  }

  #wake() {
    for (const wake of this.#news.splice(0)) wake();
  }
}
