/** A room service as its clients see it: logs, and an answer to every request, which is carried out once. No socket. */

const TIMES = { timestamp: 1, sentAt: 1000 };
/** Milliseconds from the welcome to `reconnectAt`. */
const LIFE = 6_600_000;
/** Entries in one page, few so that tests see more than one. */
const PAGE = 3;

export class Rooms {
  /** Of every room. */
  epoch = 1;
  #logs = new Map();
  #once = new Map();
  #push;

  /** `push` is called with each event that goes to the members of a room, who are everybody. */
  constructor(push) {
    this.#push = push;
  }

  log(room) {
    if (!this.#logs.has(room)) this.#logs.set(room, []);
    return this.#logs.get(room);
  }

  /** A further entry of a room's log, or of an inbox. */
  say(roomId, message, senderId = "bob") {
    const log = this.log(roomId);
    const place = { roomId, epoch: this.epoch, seq: log.length + 1 };
    const words = { messageId: "m", senderId, senderName: senderId, message };
    const [, targetUserId] = roomId.split("#");
    const type = targetUserId === undefined ? "chat" : "private_message";
    const event = { type, data: { ...place, ...TIMES, ...words, ...(targetUserId === undefined ? {} : { targetUserId }) } };
    log.push(event);
    this.#push(event);
    return place;
  }

  welcome(roomId, userId) {
    const inbox = { epoch: this.epoch, seq: this.log(`inbox#${userId}`).length };
    const place = { roomId, epoch: this.epoch, head: this.log(roomId).length, inbox };
    const words = { connectionId: "c", userId, message: "hi", protocol: 1, reconnectAt: TIMES.sentAt + LIFE };
    return { type: "welcome", data: { ...place, ...words, ...TIMES } };
  }

  /** The event that answers a request, where one does. */
  answer(request) {
    const answer = this.#answer(request);
    return answer && { type: answer[0], data: { clientId: request.clientId, ...answer[1] } };
  }

  #answer({ type, roomId, clientId, since, after = 0, query, cursor, message }) {
    const log = this.log(roomId);
    const place = { roomId, epoch: this.epoch, head: log.length };
    switch (type) {
      case "chat":
        if (message === "forbidden") return ["error", { code: "FORBIDDEN", message: "no" }];
        if (!this.#once.has(clientId)) this.#once.set(clientId, this.say(roomId, message, "ada"));
        return ["ack", { messageId: "m", ...this.#once.get(clientId) }];
      case "join_room": {
        const news = log.slice(since ?? log.length);
        const recovered = since !== undefined && news.length <= PAGE;
        return ["joined", { ...place, recovered, events: recovered ? news : [] }];
      }
      case "leave_room":
        return ["left", { roomId }];
      case "history": {
        const entries = log.slice(after, after + PAGE);
        return ["history", { ...place, entries, ...(after + PAGE < log.length ? { next: after + PAGE } : {}) }];
      }
      case "search": {
        const end = (cursor ?? log.length + 1) - 1;
        const entries = log.slice(Math.max(0, end - PAGE), end).reverse();
        const found = entries.filter((it) => it.data.message.includes(query));
        return ["search", { roomId, epoch: this.epoch, entries: found, ...(end > PAGE ? { next: end - PAGE + 1 } : {}) }];
      }
      case "ping": {
        const heads = [...this.#logs].map(([room, { length }]) => [room, { epoch: this.epoch, seq: length }]);
        return ["pong", { time: 1, heads: Object.fromEntries(heads) }];
      }
    }
  }
}
