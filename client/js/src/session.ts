/**
 * A client's side of the conversation: frames in, events and frames out. No socket, no clock, no chance of its own.
 *
 * It does what client/session.py does, whose rules stand there; client/traces/ holds both to the same.
 * `now` is in seconds of any clock that never goes back. Frames to send wait in `frames()`; call `tick` at `due`.
 */
import type {
  Ack,
  Event,
  HistoryPage,
  Joined,
  Left,
  LogEvent,
  Pong,
  PresenceChanged,
  Refusal,
  Released,
  UserRead,
  Welcome,
} from "./events.js";
import { Following } from "./following.js";
import { isEntry, isGatewayError, readEvents, readFrame } from "./frames.js";
import { LONG_WAIT, Outbox, type Pending, REPLY_WITHIN, RETRYABLE, patient } from "./outbox.js";
import { Reading } from "./reading.js";
import type { Request, Status } from "./requests.js";

/** Seconds between pings, ± 20 %. */
export const PING_EVERY = 240;
/** Seconds after which the service is asked what a `welcome` would have said. */
export const WELCOME_WITHIN = 65;
/** Seconds between hearing how far a room is and asking for what is missing. */
const ASK_AFTER = [0.5, 2.5] as const;
/** How often a room that is followed is joined again before it is believed to be full. */
const FULL_TRIES = 3;
/** Seconds after a room was left for which its entries may still be on their way. */
const LATE_PUSH = 5;
/** Seconds for which entries that history refuses may still be pushed. */
const LATE_ENTRIES = 60;
/** Where a connection may enter when no room that is followed lets it in. */
const FALLBACK_ROOM = "general";
const INBOX = "inbox#";
/** The line of what the user says of themselves. `#` is in no room's id. */
const STATUS = "#status";

export interface SessionOptions {
  /** A fresh clientId: 8 to 64 letters, digits or any of _ . : - */
  newId: () => string;
  /** A number from 0 to 1, as `Math.random` gives it. */
  draw: () => number;
}

export interface Saying {
  /** The seq of the message that is answered. */
  replyTo?: number;
  /** User ids, at most 20, who are told of it if they are away. */
  mentions?: string[];
}

export interface Span {
  before?: number;
  after?: number;
  limit?: number;
  /** The seq of the message that began a thread. */
  thread?: number;
}

export interface Part {
  /** The `next` of the page before. */
  cursor?: number | undefined;
  limit?: number;
}

/** The conversation of one client, over as many connections as it takes. */
export class Session {
  /** Who the service says we are; undefined before the first `welcome`. */
  user: string | undefined;
  /** How the user is on this device. */
  status: Status = "online";
  #firstRoom: string;
  #named: string;
  readonly #rooms = new Map<string, Following>();
  #inbox: Following | undefined;
  readonly #outbox: Outbox;
  #reading = new Reading();
  /** Room → when it was left; of this connection. */
  readonly #leftAt = new Map<string, number>();
  #resumes = false;
  #pingDue = Infinity;
  #welcomeDue = Infinity;
  #staleAt = Infinity;
  #stale = false;
  /** Seconds by which the service's clock is ahead of ours, since no two need agree. */
  #ahead: number | undefined;
  /** When to ask for what has not come by itself. */
  #askDue = Infinity;
  readonly #draw: () => number;

  constructor(room: string, { newId, draw }: SessionOptions) {
    this.#draw = draw;
    this.#outbox = new Outbox(draw, newId);
    this.#firstRoom = this.#named = room;
    this.#follow(room);
  }

  // ---- what the user asks for. Each returns the clientId that the reply will carry.

  /** Say something in a room. Throws `RequestRefused` if it can't fit into a frame. */
  send(roomId: string, text: string, now: number, { replyTo, mentions }: Saying = {}): string {
    const named = mentions?.length ? mentions : undefined;
    return this.ask({ type: "chat", roomId, message: text || undefined, replyTo, mentions: named } as Request, now);
  }

  /** Say something to one user. Throws `RequestRefused` if it can't fit into a frame. */
  sendPrivate(user: string, text: string, now: number): string {
    return this.#outbox.ask({ type: "private_message", targetUserId: user, message: text }, now, { line: INBOX + user });
  }

  /** Follow a room. */
  join(roomId: string, now: number): string {
    this.#follow(roomId);
    return this.ask({ type: "join_room", roomId }, now);
  }

  /** Follow a room no longer. */
  leave(roomId: string, now: number): string {
    return this.ask({ type: "leave_room", roomId }, now);
  }

  /** A page of a room's log, or of the thread that the message at `thread` began; it moves no cursor. */
  history(roomId: string, now: number, span: Span = {}): string {
    return this.#outbox.ask({ type: "history", roomId, ...span }, now);
  }

  /** A page of the messages of a room, or of the inbox, that have all the words of `query`. */
  search(roomId: string, query: string, now: number, part: Part = {}): string {
    return this.#outbox.ask({ type: "search", roomId, query, ...part } as Request, now);
  }

  /** A page of the rooms below `parent`. */
  listRooms(now: number, options: { parent?: string; cursor?: string | undefined } = {}): string {
    return this.#outbox.ask({ type: "room_list", ...options } as Request, now);
  }

  /** A page of who is in a room. */
  listMembers(roomId: string, now: number, cursor?: string): string {
    return this.#outbox.ask({ type: "members", roomId, cursor } as Request, now);
  }

  /** Anything else. In the line of the room it is about, so that it comes after what was said before. */
  ask(request: Request, now: number): string {
    return this.#outbox.ask(request, now, { line: (request as { roomId?: string }).roomId });
  }

  /** Say how the user is on this device; the reply says how they are over all of theirs. */
  presence(status: Status, now: number): string {
    this.status = status;
    return this.#outbox.ask({ type: "presence", status }, now, { line: STATUS });
  }

  /** Ask where the rooms are; entries that were lost are then asked for. */
  ping(now: number, ours = false): string {
    const rooms = this.#followed();
    // Without cursors the answer names all rooms, also one of which nothing is known yet.
    const known = this.#inbox && rooms.every((it) => it.placed);
    const cursors = known ? Object.fromEntries(rooms.map((it) => [it.room, it.cursor])) : undefined;
    return this.#outbox.ask({ type: "ping", cursors } as Request, now, { ours });
  }

  /** The user has read a room that is followed, or the inbox, up to `seq`. `read` among the events says what stands. */
  read(room: string, seq: number, now: number): void {
    const following = this.#following(room);
    if (following?.placed) {
      this.#reading.want(room, { epoch: following.epoch, seq });
      this.#mark(room, now);
    }
  }

  /** The user is writing. Nothing answers, and nothing is said while there is no connection. */
  typing(roomId: string): void {
    this.#outbox.tell({ type: "typing", roomId });
  }

  // ---- the connection

  /** The room to name when the next connection is opened, since it joins one. */
  get room(): string {
    const [first = this.#firstRoom] = this.#rooms.keys();
    return this.#rooms.has(this.#firstRoom) ? this.#firstRoom : first;
  }

  /** The rooms to name, one after the other, where the service refuses the one before. */
  get entrances(): string[] {
    return [...new Set([this.room, ...this.#rooms.keys(), FALLBACK_ROOM])];
  }

  /** Whether any request waits for its answer, or is to be made before long. */
  get busy(): boolean {
    return !this.#outbox.empty || this.#askDue < Infinity;
  }

  /** [epoch, last seq released] of a room, or of the inbox, once it is known where the client begins. */
  cursor(room: string): [epoch: number, seq: number] | undefined {
    const following = this.#following(room);
    return following?.placed ? [following.epoch, following.cursor] : undefined;
  }

  /** A connection is open. It was opened naming `named`, by default `room`, and is a member there. */
  connected(now: number, named = this.room): void {
    this.#named = named;
    this.#welcomeDue = now + WELCOME_WITHIN;
    if (this.#resumes) {
      this.#resume(now);
    } else if (named !== this.#firstRoom) {
      this.#rooms.delete(this.#firstRoom);
      this.#firstRoom = named;
      this.#follow(named);
    }
    if (this.status !== "online" && !this.#outbox.first(STATUS)) {
      this.#outbox.ask({ type: "presence", status: this.status }, now, { line: STATUS, ours: true });
    }
    this.#resumes = true;
    this.#pingDue = now + this.#pingPause();
    this.#outbox.connected(now);
  }

  /** The connection has ended. */
  disconnected(): void {
    this.#outbox.disconnected();
    this.#reading.lost();
    this.#leftAt.clear();
    this.#pingDue = this.#welcomeDue = this.#staleAt = this.#askDue = Infinity;
    this.#stale = false;
    for (const following of this.#followed()) following.asked = undefined;
  }

  /** The frames to send now, in order; they are handed out once. */
  frames(): string[] {
    return this.#outbox.frames();
  }

  /** A frame came; returns what it lets the user have, in order. */
  receive(frame: string, now: number): Released[] {
    const event = readFrame(frame);
    if (event) return this.#answer(event, now);
    // API Gateway's own error names no request; anything else is nothing we know.
    if (isGatewayError(frame)) this.#outbox.postponeAll(now);
    return [];
  }

  // ---- time

  /** When `tick` is wanted next, or `stale` begins; undefined for never. */
  get due(): number | undefined {
    const due = Math.min(this.#pingDue, this.#welcomeDue, this.#staleAt, this.#askDue, this.#outbox.due());
    return due === Infinity ? undefined : due;
  }

  /** Whether to open the next connection, since this one will be cut before long. */
  stale(now: number): boolean {
    return this.#stale || this.#staleAt <= now;
  }

  /** Do what is due; returns refusals of requests that have been tried often enough. */
  tick(now: number): Released[] {
    const released: Released[] = [];
    if (!this.#outbox.open) return released;
    for (const pending of this.#outbox.overdue(now)) {
      const { clientId, request, tries } = pending;
      const message = `No answer to ${tries} tries`;
      const error: Refusal = { type: "error", code: "INTERNAL", message, request: request.type, clientId };
      released.push(...this.#giveUp(pending, error, now));
    }
    if (this.#staleAt <= now) {
      this.#stale = true;
      this.#staleAt = Infinity;
    }
    if (this.#pingDue <= now) {
      this.#pingDue = now + this.#pingPause();
      this.ping(now, true);
    }
    if (this.#welcomeDue <= now) {
      this.#welcomeDue = Infinity;
      const following = this.#rooms.get(this.#named);
      if (following && !following.placed && !this.#joining(this.#named)) {
        const request: Request = { type: "join_room", roomId: this.#named };
        this.#outbox.ask(request, now, { line: this.#named, ours: true });
      }
      this.ping(now, true);
    }
    if (this.#askDue <= now) {
      this.#askDue = Infinity;
      for (const following of this.#followed()) {
        if (following.behind) this.#fill(following, now);
        this.#mark(following.room, now);
      }
    }
    return released;
  }

  // ---- events

  #answer(event: Event, now: number): Released[] {
    switch (event.type) {
      case "opaque":
        return event.seq ? this.#entry(event, now) : [event];
      case "room":
      case "room_deleted":
        // The reply to who did it; the same is an entry of the room's log, for all that are in it.
        return event.clientId === undefined ? this.#entry(event, now) : this.#replied(event, now);
      case "batch":
        return readEvents(event.events).flatMap((it) => this.#answer(it, now));
      case "welcome":
        return this.#welcomed(event, now);
      case "head":
        return this.#mentioned(event.roomId, event.epoch, event.seq, now);
      case "pong":
        return this.#ponged(event, now);
      case "ack":
        return this.#acked(event, now);
      case "joined":
        return this.#joined(event, now);
      case "left":
        return this.#left(event, now);
      case "history":
        return this.#paged(event, now);
      case "reauthenticated":
        this.#lasts(event.reconnectAt);
        return this.#replied(event, now);
      case "room_list":
      case "members":
      case "notices":
      case "search":
        return this.#replied(event, now);
      case "error":
        return this.#refused(event, now);
      case "read":
        return this.#marked(event, now);
      case "presence":
        return this.#was(event, now);
      default:
        return isEntry(event) ? this.#entry(event, now) : [event];
    }
  }

  #entry(event: LogEvent, now: number): Released[] {
    const { roomId, epoch, seq } = event;
    const following = this.#met(roomId);
    if (!following) {
      if (now - (this.#leftAt.get(roomId) ?? -Infinity) > LATE_PUSH) this.#leaveUnwanted(roomId, now);
      return [];
    }
    const released = this.#isOwnCopy(event) ? following.passOver(epoch, seq) : following.arrive(event);
    this.#catchUp(following, now);
    return released;
  }

  #replied(event: Event & { clientId?: string }, now: number): Released[] {
    this.#outbox.finish(event.clientId, now);
    return [event];
  }

  #welcomed(welcome: Welcome, now: number): Released[] {
    const { userId, roomId, epoch, head, inbox, reconnectAt, sentAt } = welcome;
    this.user = userId;
    this.#welcomeDue = Infinity;
    this.#ahead = sentAt / 1000 - now;
    if (reconnectAt > sentAt) this.#lasts(reconnectAt);
    const released: Released[] = [welcome, ...this.#told(roomId, epoch, head, now)];
    const room = INBOX + userId;
    if (this.#inbox && this.#inbox.room !== room) {
      // We are somebody else now, as anonymous users are after a reconnect.
      released.push(...this.#inbox.surrender());
      this.#inbox = undefined;
      this.#reading = new Reading();
    }
    if (inbox.read) this.#reading.stands(room, { epoch: inbox.epoch, seq: inbox.read });
    return [...released, ...this.#placed(room, inbox.epoch, inbox.seq, now)];
  }

  #lasts(reconnectAt: number): void {
    if (this.#ahead === undefined) return;
    this.#stale = false;
    this.#staleAt = reconnectAt / 1000 - this.#ahead;
  }

  #ponged(pong: Pong, now: number): Released[] {
    const pending = this.#outbox.finish(pong.clientId, now);
    const released: Released[] = pending?.ours ? [] : [pong];
    for (const [room, head] of Object.entries(pong.heads)) {
      released.push(...this.#mentioned(room, head.epoch, head.seq, now));
    }
    if (pending?.request.type === "ping") {
      for (const room of Object.keys(pending.request.cursors ?? {})) {
        if (this.#rooms.has(room) && !Object.hasOwn(pong.heads, room)) this.#rejoin(room, now);
      }
    }
    return released;
  }

  #acked(ack: Ack, now: number): Released[] {
    const pending = this.#outbox.finish(ack.clientId, now);
    const following = ack.roomId.startsWith(INBOX) ? this.#met(ack.roomId) : undefined;
    // Of a message alone there is an own copy; what becomes of one is pushed to who asked for it, too.
    if (!following || ack.messageId === undefined || !pending) return [ack];
    const released = following.passOver(ack.epoch, ack.seq);
    this.#catchUp(following, now);
    return [ack, ...released];
  }

  #marked(read: UserRead, now: number): Released[] {
    const { roomId, epoch, seq } = read;
    const pending = this.#outbox.finish(read.clientId, now);
    if (!pending && read.userId !== this.user) return [read];
    if (pending?.ours) this.#reading.answered(roomId);
    const news = this.#reading.stands(roomId, { epoch, seq });
    this.#mark(roomId, now);
    return news || (pending && !pending.ours) ? [read] : [];
  }

  /** The reply to who said how they are; the same tells others of it. */
  #was(event: PresenceChanged, now: number): Released[] {
    return this.#outbox.finish(event.clientId, now)?.ours ? [] : [event];
  }

  #joined(joined: Joined, now: number): Released[] {
    const { roomId, epoch, head } = joined;
    const pending = this.#outbox.finish(joined.clientId, now);
    const following = pending ? this.#follow(roomId) : this.#rooms.get(roomId);
    if (!following) {
      this.#leaveUnwanted(roomId, now);
      return [];
    }
    const line = pending ? [] : this.#outbox.line(roomId).map((it) => it.request.type);
    // A leave that waits for its turn itself may wait for what is to be said first.
    if (line[0] === "leave_room" && !line.includes("join_room")) {
      // Which of the two is carried out last nobody knows.
      this.#leaveAgain(roomId, now, true);
      return [];
    }
    const begins = !following.placed || epoch !== following.epoch;
    for (const event of readEvents(joined.events).filter(isEntry)) following.hold(event, true);
    const placed = this.#placed(roomId, epoch, head, now);
    return begins || !pending?.ours ? [joined, ...placed] : placed;
  }

  #left(left: Left, now: number): Released[] {
    const pending = this.#outbox.finish(left.clientId, now);
    if (!pending) {
      this.#rejoin(left.roomId, now);
      return [];
    }
    this.#rooms.delete(left.roomId);
    this.#leftAt.set(left.roomId, now);
    return pending.ours ? [] : [left];
  }

  #paged(page: HistoryPage, now: number): Released[] {
    const { roomId, epoch, head, next } = page;
    const pending = this.#outbox.finish(page.clientId, now);
    if (!pending?.ours) return [page];
    const following = this.#following(roomId);
    if (!following || epoch < following.epoch) return [];
    const asked = following.asked ?? 0;
    following.asked = undefined;
    const entries = readEvents(page.entries).filter(isEntry);
    const released: Released[] = entries
      .filter((it) => this.#isOwnCopy(it))
      .flatMap((it) => following.passOver(it.epoch, it.seq));
    if (epoch === following.epoch) {
      const last = entries.at(-1)?.seq ?? following.cursor;
      // A page that ends the log holds all that was known to be stored when it was asked for.
      const ended = next === undefined || !entries.length;
      released.push(...following.fill(entries, ended ? Math.max(last, asked) : last));
    }
    return [...released, ...this.#placed(roomId, epoch, head, now)];
  }

  #refused(error: Refusal, now: number): Released[] {
    const pending = this.#outbox.find(error.clientId);
    if (!pending) return [error];
    // A fresh token that is none is the user's to know of.
    const expired = error.code === "TOKEN_EXPIRED" && pending.request.type !== "reauth";
    this.#stale ||= expired;
    // The place in the room may be taken by the connection before.
    const later = expired || (error.code === "ROOM_FULL" && pending.ours && pending.tries < FULL_TRIES);
    const wait = later ? REPLY_WITHIN : (error.retryAfter ?? 0);
    if (!(later || RETRYABLE.test(error.code)) || !patient(pending) || wait > LONG_WAIT) {
      return this.#giveUp(pending, error, now);
    }
    this.#outbox.postpone(pending, now, wait);
    return [];
  }

  #giveUp(pending: Pending, error: Refusal, now: number): Released[] {
    const { clientId, request, ours } = pending;
    this.#outbox.finish(clientId, now);
    if (request.type === "join_room") {
      const following = this.#rooms.get(request.roomId);
      if (following && (ours || !following.placed)) this.#rooms.delete(request.roomId);
      return [error];
    }
    if (!ours) return [error];
    if (request.type === "read") return this.#withoutMark(request, error, now);
    return request.type === "history" ? this.#withoutHistory(request.roomId, error, now) : [];
  }

  /** The room can't be marked; whoever is no member of a room that they follow joins it again first. */
  #withoutMark(request: Request & { type: "read" }, error: Refusal, now: number): Released[] {
    const { roomId, seq, epoch = 0 } = request;
    this.#reading.answered(roomId);
    if (error.code === "NOT_A_MEMBER" && this.#rooms.has(roomId)) {
      this.#reading.want(roomId, { epoch, seq });
      this.#askSoon(now);
      this.#rejoin(roomId, now);
      return [];
    }
    this.#reading.forget(roomId);
    const here = this.#following(roomId)?.epoch === epoch;
    return here && !/^(NOT_A_MEMBER|ROOM_NOT_FOUND)$/.test(error.code) ? [error] : [];
  }

  /** What is missing is not to be had: released is what came after it, unless it may yet come. */
  #withoutHistory(room: string, error: Refusal, now: number): Released[] {
    const following = this.#following(room);
    if (following?.asked === undefined) return [];
    const { asked } = following;
    following.asked = undefined;
    if (error.code === "NOT_A_MEMBER" && this.#rooms.has(room)) {
      this.#askSoon(now);
      this.#rejoin(room, now);
      return [];
    }
    if (error.code === "ROOM_NOT_FOUND") {
      // Whoever was a member of a room that is deleted, and anew, is still pushed what was said there.
      following.refusedAt ??= now;
      if (now < following.refusedAt + LATE_ENTRIES) {
        this.#askDue = Math.min(this.#askDue, now + LATE_PUSH);
        return [];
      }
    }
    return following.fill([], asked);
  }

  // ---- rooms

  #follow(room: string): Following {
    const following = this.#rooms.get(room) ?? new Following(room);
    this.#rooms.set(room, following);
    return following;
  }

  #following(room: string): Following | undefined {
    return this.#inbox?.room === room ? this.#inbox : this.#rooms.get(room);
  }

  /** All rooms, and the inbox. */
  #followed(): Following[] {
    return [...this.#rooms.values(), ...(this.#inbox ? [this.#inbox] : [])];
  }

  /** A room that the service names, if it is followed. The first inbox is ours: nobody is sent another's. */
  #met(room: string): Following | undefined {
    if (!this.#inbox && room.startsWith(INBOX)) this.#inbox = new Following(room);
    return this.#following(room);
  }

  /** Whether this is a #message that we are sending: its answer may come later, or be lost. */
  #isOwnCopy(event: LogEvent): boolean {
    return event.type === "private_message" && this.#outbox.find(event.clientId) !== undefined;
  }

  /** Tell the service how far the room is read, if that is wanted and nothing of it is under way. */
  #mark(roomId: string, now: number): void {
    const place = this.#outbox.open && !this.#joining(roomId) && this.#reading.begin(roomId);
    if (place) this.#outbox.ask({ type: "read", roomId, ...place }, now, { ours: true });
  }

  #joining(room: string): boolean {
    const request = this.#outbox.first(room)?.request;
    return request?.type === "join_room" && request.roomId === room;
  }

  /** The service mentions where a room is. Where we begin there is for `welcome` or `joined` to say. */
  #mentioned(room: string, epoch: number, head: number, now: number): Released[] {
    const following = this.#met(room);
    const expected = this.#welcomeDue < Infinity || this.#joining(room);
    return !following || (expected && !following.placed) ? [] : this.#told(room, epoch, head, now);
  }

  /** The room is at `head`; what is missing may be on its way. */
  #told(room: string, epoch: number, head: number, now: number): Released[] {
    const following = this.#met(room);
    if (!following) return [];
    const released = following.place(epoch, head);
    this.#catchUp(following, now);
    this.#mark(room, now);
    return released;
  }

  /** The room is at `head`; what is missing was stored long ago. */
  #placed(room: string, epoch: number, head: number, now: number): Released[] {
    const following = this.#met(room);
    if (!following) return [];
    const released = following.place(epoch, head);
    if (following.behind) this.#fill(following, now);
    this.#mark(room, now);
    return released;
  }

  /** Ask for what is missing: at once where a later entry has come, else if it does not come by itself. */
  #catchUp(following: Following, now: number): void {
    if (following.placed && following.held.size) this.#fill(following, now);
    else if (following.behind && following.asked === undefined) this.#askSoon(now);
  }

  #askSoon(now: number): void {
    this.#askDue = Math.min(this.#askDue, now + this.#uniform(...ASK_AFTER));
  }

  #fill(following: Following, now: number): void {
    // The answer to a join under way may bring all of it.
    if (this.#joining(following.room) || following.asked !== undefined) return;
    following.asked = following.known;
    const request: Request = { type: "history", roomId: following.room, after: following.cursor };
    this.#outbox.ask(request, now, { ours: true });
  }

  #resume(now: number): void {
    for (const room of this.#rooms.keys()) {
      if (!this.#joining(room)) this.#rejoin(room, now, true);
    }
    // A connection joins a room when it opens, wanted or not.
    if (!this.#rooms.has(this.#named)) this.#leaveUnwanted(this.#named, now, true);
  }

  /** Make sure that we are a member of a room that is followed, unless what stands in its line says more. */
  #rejoin(roomId: string, now: number, first = false): void {
    const following = this.#rooms.get(roomId);
    if (!following || (this.#outbox.first(roomId) && !first)) return;
    const place = following.placed ? { since: following.cursor, epoch: following.epoch } : {};
    this.#outbox.ask({ type: "join_room", roomId, ...place }, now, { line: roomId, ours: true, first });
  }

  #leaveUnwanted(roomId: string, now: number, first = false): void {
    if (first || !this.#outbox.first(roomId)) this.#leaveAgain(roomId, now, first);
  }

  #leaveAgain(roomId: string, now: number, first = false): void {
    this.#outbox.ask({ type: "leave_room", roomId }, now, { line: roomId, ours: true, first });
  }

  #pingPause(): number {
    return PING_EVERY * this.#uniform(0.8, 1.2);
  }

  #uniform(from: number, to: number): number {
    return from + (to - from) * this.#draw();
  }
}
