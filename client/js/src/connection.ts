/**
 * A client over WebSockets, one after the other: the session, a socket, the clock, and reconnects.
 *
 *     const me = await connect("ws://127.0.0.1:8081/dev", { user: "ada", room: "general" });
 *     await me.send("general", "Hello");
 *     for await (const event of me.events()) …
 */
import { Backoff } from "./backoff.js";
import { ClientError, ConnectionEnded, HandshakeRefused, RequestRefused, Unreachable } from "./errors.js";
import type {
  Ack,
  Chat,
  Event,
  HistoryPage,
  Joined,
  Left,
  MemberList,
  MemberSummary,
  Missed,
  Pong,
  PresenceChanged,
  PrivateMessage,
  Released,
  RoomList,
  RoomSummary,
  SearchPage,
  UserStatus,
} from "./events.js";
import { readEvents } from "./frames.js";
import { type Request, SUBPROTOCOL, type Status } from "./requests.js";
import { type Part, type Saying, Session, type Span } from "./session.js";

/** Seconds for a handshake. */
const OPEN_WITHIN = 10;
/** Seconds without a word, while an answer is owed, after which a socket is taken for dead: it need not say so itself. */
const SILENT_FOR = 35;
/** Seconds for which a socket that will be cut stays beside the next one, which joins the rooms meanwhile. */
const OVERLAP = 5;
/** `readyState` of a socket that is open. */
const OPEN = 1;
/** Answers that are worth nothing when nobody waits for them. */
const ANSWERS = /^(ack|left|history|search|pong|room_list|members|notices)$/;

/** What is needed of a WebSocket; browsers' own, that of Node from 22 on, and the package `ws` have it. */
export interface Socket {
  readonly readyState: number;
  readonly protocol: string;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(frame: string): void;
  close(code?: number): void;
}

export type SocketConstructor = new (url: string, protocols: string[]) => Socket;

/** Time, replaceable: with a clock of its own a test lets two hours pass within milliseconds. */
export interface Clock {
  /** Seconds that never go back; only differences mean something. */
  now(): number;
  /** Call `ring` after so many seconds; what it returns cancels that. */
  wait(seconds: number, ring: () => void): () => void;
}

export interface ConnectOptions {
  /** The room that is joined at once; by default `general`. */
  room?: string;
  /** Who it is: taken in demo mode alone. */
  user?: string;
  /** The name that others see. */
  name?: string;
  /** The credential, or what is called for a fresh one before each handshake. What it throws ends the connection. */
  token?: string | (() => string | Promise<string>);
  /** Closes the connection for good. */
  signal?: AbortSignal;
  /** The constructor of sockets: Node 20 has none of its own. */
  WebSocket?: SocketConstructor;
  /** For tests: the time of pings, retries and reconnects. */
  clock?: Clock;
  /** For tests: chance. */
  draw?: () => number;
}

/** Entries of a room, oldest first. `next` is the `before` or `after` of the page that follows, if one does. */
export interface Page {
  events: Event[];
  epoch: number;
  head: number;
  next?: number;
}

/** Messages that were found, the newest first; none is no sign of the end. `next` is the `cursor` of the page after. */
export interface Found {
  messages: (Chat | PrivateMessage)[];
  epoch: number;
  next?: number;
}

/** A connection that is open. Rejects with `Unreachable` or `HandshakeRefused`. */
export async function connect(url: string, options: ConnectOptions = {}): Promise<Connection> {
  const connection = new Connection(url, options);
  await connection.begin();
  return connection;
}

/** A member of rooms, until it is closed. It reconnects by itself, and resumes. */
export class Connection {
  readonly #url: string;
  readonly #options: ConnectOptions;
  readonly #session: Session;
  readonly #clock: Clock;
  readonly #draw: () => number;
  readonly #calls = new Map<string, { answer: (event: Event) => void; fail: (error: Error) => void }>();
  readonly #kept: Released[] = [];
  /** Those who wait for an event. */
  #readers: (() => void)[] = [];
  /** Why there is no connection any more. */
  #ended: unknown;
  /** Sends what there is to send. */
  #turn = (): void => {};
  /** What is to be closed, or waited for no longer, once the connection has ended. */
  readonly #cuts = new Set<() => void>();

  /** @internal `connect` makes them. */
  constructor(url: string, options: ConnectOptions) {
    this.#url = url;
    this.#options = options;
    const { room = "general", clock, draw = Math.random } = options;
    this.#draw = draw;
    this.#clock = clock ?? systemClock;
    this.#session = new Session(room, { draw, newId });
  }

  /** @internal Open the first socket, and stay. */
  async begin(): Promise<void> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    const { room } = this.#session;
    const end = () => this.close();
    signal?.addEventListener("abort", end, { once: true });
    try {
      const opened = await this.#open(room);
      signal?.throwIfAborted();
      void this.#stay(opened, room).finally(() => signal?.removeEventListener("abort", end));
    } catch (error) {
      signal?.removeEventListener("abort", end);
      throw signal?.aborted ? signal.reason : error;
    }
  }

  /** Close the socket. Requests that wait reject with `ConnectionEnded`, and `events` ends. */
  close(): void {
    this.#end(new ConnectionEnded("the connection is closed"));
  }

  // ---- requests. Each rejects with `RequestRefused`, and survives reconnects.

  /** Say something in a room; resolves when it is stored. */
  send(room: string, text: string, saying?: Saying): Promise<Ack> {
    return this.#reply((now) => this.#session.send(room, text, now, saying));
  }

  /** Say something to one user; resolves when it is stored, with `online`: whether they were there. */
  sendPrivate(user: string, text: string): Promise<Ack> {
    return this.#reply((now) => this.#session.sendPrivate(user, text, now));
  }

  /** Follow a room. */
  join(room: string): Promise<Joined> {
    return this.#reply((now) => this.#session.join(room, now));
  }

  /** Follow a room no longer. */
  leave(room: string): Promise<Left> {
    return this.#reply((now) => this.#session.leave(room, now));
  }

  /** A page of a room's log: the newest entries, those `before` a seq, or those `after` one; or so of one `thread`. */
  async history(room: string, span?: Span): Promise<Page> {
    const { entries, epoch, head, next } = await this.#reply<HistoryPage>((now) =>
      this.#session.history(room, now, span),
    );
    return { events: readEvents(entries), epoch, head, ...(next === undefined ? {} : { next }) };
  }

  /** Those messages of a room, or of the inbox, in a bounded part of its log that have all the words of `query`. */
  async searchPage(room: string, query: string, part?: Part): Promise<Found> {
    const { entries, epoch, next } = await this.#reply<SearchPage>((now) =>
      this.#session.search(room, query, now, part),
    );
    return { messages: readEvents(entries).filter(isMessage), epoch, ...(next === undefined ? {} : { next }) };
  }

  /** All of them, the newest first, for as far as it is iterated; a page is asked for when one is wanted. */
  async *search(room: string, query: string): AsyncGenerator<Chat | PrivateMessage, void, undefined> {
    let epoch: number | undefined;
    for (let cursor: number | undefined; ; ) {
      const page = await this.searchPage(room, query, { cursor });
      // A cursor of a room that was made anew meanwhile means nothing in this one.
      if ((epoch ??= page.epoch) !== page.epoch) throw new RequestRefused("ROOM_NOT_FOUND", "The room has ended");
      yield* page.messages;
      if ((cursor = page.next) === undefined) return;
    }
  }

  /** The rooms below `parent`, by id: all pages. */
  async rooms(parent?: string): Promise<RoomSummary[]> {
    const found: RoomSummary[] = [];
    for (let cursor: string | undefined; ; ) {
      const options = { ...(parent === undefined ? {} : { parent }), cursor };
      const page: RoomList = await this.#reply((now) => this.#session.listRooms(now, options));
      found.push(...page.rooms);
      if ((cursor = page.cursor) === undefined) return found;
    }
  }

  /** Who is in a room that we are in, each user once: all pages. */
  async members(room: string): Promise<MemberSummary[]> {
    const found = new Map<string, MemberSummary>();
    for (let cursor: string | undefined; ; ) {
      const page: MemberList = await this.#reply((now) => this.#session.listMembers(room, now, cursor));
      for (const member of page.members) found.set(member.userId, member);
      if ((cursor = page.cursor) === undefined) return [...found.values()];
    }
  }

  /** Any other request: make, change or end a room, do what its moderators do, or change messages; and what answers it. */
  ask(request: Request): Promise<Event> {
    return this.#reply((now) => this.#session.ask(request, now));
  }

  /** Say how the user is on this device; returns how they are over all of theirs. The next connection is told. */
  async presence(status: Status): Promise<UserStatus> {
    const { members } = await this.#reply<PresenceChanged>((now) => this.#session.presence(status, now));
    return members[0]!;
  }

  /** Tell the others in a room that the user is writing. Nothing answers but an `error` among the events. */
  typing(room: string): void {
    this.#session.typing(room);
    this.#turn();
  }

  /** Say that the user has read a room that is followed, or the inbox (`inbox#USER`), up to `seq`. */
  read(room: string, seq: number): void {
    this.#session.read(room, seq, this.#clock.now());
    this.#turn();
  }

  /** Ask where the rooms are; what was lost comes through `events` soon after. */
  ping(): Promise<Pong> {
    return this.#reply((now) => this.#session.ping(now));
  }

  /**
   * What happens in the rooms, each once and in order, until the connection is closed.
   *
   * They are kept until they are read. Throws `HandshakeRefused` if the service refuses a reconnect.
   */
  async *events(): AsyncGenerator<Released, void, undefined> {
    for (;;) {
      while (this.#kept.length) yield this.#kept.shift()!;
      if (this.#ended) break;
      await new Promise<void>((wake) => this.#readers.push(wake));
    }
    if (!(this.#ended instanceof ConnectionEnded)) throw this.#ended;
  }

  // ---- the socket

  async #stay(opened: Opened, room: string): Promise<void> {
    try {
      for (;;) [opened, room] = await this.#converse(opened, room);
    } catch (error) {
      this.#end(error);
    }
  }

  /**
   * Until the socket, which was opened naming `room`, is closed, by whomever, is of no use any more, or has a successor,
   * beside which it stays for a while then: nobody sees the user leave. Resolves with the next one.
   */
  #converse({ socket, early }: Opened, room: string): Promise<[Opened, string]> {
    const session = this.#session;
    const clock = this.#clock;
    return new Promise((over) => {
      let silentSince: number | undefined;
      let cancel = (): void => {};
      let successor: Promise<[Opened, string]> | undefined;
      const close = (): void => {
        this.#cuts.delete(close);
        socket.close();
      };
      const end = (outlived?: unknown): void => {
        if (this.#turn !== turn) return;
        socket.onmessage = socket.onclose = null;
        socket.onerror = () => {}; // what comes after the end
        this.#turn = () => {};
        this.#cuts.delete(end);
        cancel();
        session.disconnected();
        if (outlived === true) {
          this.#cuts.add(close);
          clock.wait(OVERLAP, close);
        } else socket.close();
        over(successor ?? this.#reopen());
      };
      const turn = (): void => {
        const now = clock.now();
        const silent = silentSince !== undefined && now >= silentSince + SILENT_FOR;
        if (silent || socket.readyState !== OPEN) return end();
        if (!successor && session.stale(now)) {
          successor = this.#reopen();
          // Where it is refused, the old one may have the last place in the room, or the last that the user may have.
          successor.then(
            () => end(true),
            () => end((successor = undefined)),
          );
        }
        const frames = session.frames();
        for (const frame of frames) socket.send(frame);
        if (frames.length && session.busy) silentSince ??= now;
        cancel();
        const due = Math.min(session.due ?? Infinity, (silentSince ?? Infinity) + SILENT_FOR);
        if (due < Infinity) cancel = clock.wait(Math.max(0, due - now), ring);
      };
      const ring = (): void => {
        this.#deliver(session.tick(clock.now()));
        turn();
      };
      const hear = (frame: unknown): void => {
        silentSince = undefined;
        // Whoever hears the last word may close the connection within it.
        if (typeof frame === "string") this.#deliver(session.receive(frame, clock.now()));
        this.#turn();
      };
      this.#turn = turn;
      this.#cuts.add(end);
      if (this.#ended) return end();
      socket.onmessage = ({ data }) => hear(data);
      socket.onclose = socket.onerror = end;
      session.connected(clock.now(), room);
      turn();
      for (const frame of early) if (this.#turn === turn) hear(frame);
    });
  }

  /** The next socket, and the room that it named. */
  async #reopen(): Promise<[Opened, string]> {
    const backoff = new Backoff(this.#session.entrances, this.#draw);
    for (;;) {
      await this.#pause(backoff.pause());
      if (this.#ended) throw this.#ended;
      const { room } = backoff;
      try {
        return [await this.#open(room), room];
      } catch (error) {
        if (error instanceof Unreachable) backoff.unanswered();
        else if (!(error instanceof HandshakeRefused && backoff.refused(error.status))) throw error;
      }
    }
  }

  #pause(seconds: number): Promise<void> {
    return new Promise((over) => {
      const end = (): void => {
        cancel();
        this.#cuts.delete(end);
        over();
      };
      const cancel = this.#clock.wait(this.#ended ? 0 : seconds, end);
      this.#cuts.add(end);
    });
  }

  async #open(room: string): Promise<Opened> {
    const { user, name, token, WebSocket = globalThis.WebSocket as SocketConstructor | undefined } = this.#options;
    if (!WebSocket) throw new TypeError("no WebSocket here: give one, such as `ws`");
    const url = new URL(this.#url);
    // Whoever came without a name stays who the service made them: a message sent again must have the same sender.
    const query = { roomId: room, userId: this.#session.user ?? user, username: name };
    for (const [field, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(field, value);
    const credential = typeof token === "function" ? await token() : token;
    if (this.#ended) throw this.#ended;
    // Beside the subprotocol, since browsers set no header, and URLs end in logs.
    const protocols = credential === undefined ? [] : [`bearer.${credential}`];
    const socket = new WebSocket(url.href, [SUBPROTOCOL, ...protocols]);
    return new Promise((answer, fail) => {
      const early: unknown[] = [];
      const refuse = (words: string, status?: number): void => {
        settle();
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.onerror = () => {}; // a socket that is closed before it was open says so once more
        socket.close();
        const where = `no WebSocket service answers at ${this.#url} (${words})`;
        fail(status ? new HandshakeRefused(status) : new Unreachable(where));
      };
      const cut = (): void => refuse("closed");
      const cancel = systemClock.wait(OPEN_WITHIN, () => refuse(`nothing within ${OPEN_WITHIN} s`));
      const settle = (): void => {
        cancel();
        this.#cuts.delete(cut);
      };
      this.#cuts.add(cut);
      socket.onmessage = ({ data }) => early.push(data);
      socket.onclose = () => refuse("it closed the socket");
      socket.onerror = ({ message = "" }: { message?: string }) =>
        // `ws` names the status of a refusal; browsers keep it to themselves.
        refuse(message, Number(/response: (\d{3})/.exec(message)?.[1]));
      socket.onopen = () => {
        if (socket.protocol !== SUBPROTOCOL) return refuse(`it does not speak ${SUBPROTOCOL}`);
        settle();
        answer({ socket, early });
      };
    });
  }

  #end(why: unknown): void {
    if (this.#ended) return;
    this.#ended = why;
    for (const cut of this.#cuts) cut();
    const error = why instanceof Error ? why : new ClientError(String(why));
    for (const { fail } of this.#calls.values()) fail(error);
    this.#calls.clear();
    this.#wake();
  }

  // ---- replies and events

  async #reply<Reply extends Event>(ask: (now: number) => string): Promise<Reply> {
    if (this.#ended) throw this.#ended;
    const clientId = ask(this.#clock.now());
    const reply = new Promise<Event>((answer, fail) => this.#calls.set(clientId, { answer, fail }));
    this.#turn();
    return (await reply) as Reply;
  }

  #deliver(released: Released[]): void {
    for (const event of released) {
      // The sender's copy of a #message is no answer, although it carries a clientId.
      const { clientId } = event as { clientId?: string };
      const call = event.type === "private_message" || clientId === undefined ? undefined : this.#calls.get(clientId);
      if (call) {
        this.#calls.delete(clientId!);
        if (event.type === "error") call.fail(new RequestRefused(event.code, event.message, event.retryAfter));
        else call.answer(event as Exclude<Released, Missed>);
      } else if (!ANSWERS.test(event.type)) {
        this.#kept.push(event);
      }
    }
    this.#wake();
  }

  #wake(): void {
    const readers = this.#readers;
    this.#readers = [];
    for (const wake of readers) wake();
  }
}

const isMessage = (event: Event): event is Chat | PrivateMessage => /^(chat|private_message)$/.test(event.type);

interface Opened {
  socket: Socket;
  /** Frames that came before anybody listened. */
  early: unknown[];
}

const systemClock: Clock = {
  now: () => performance.now() / 1000,
  wait(seconds, ring) {
    const alarm = setTimeout(ring, seconds * 1000);
    return () => clearTimeout(alarm);
  },
};

/** 32 characters of chance. Pages that came without TLS have no `crypto.randomUUID`. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (it) => it.toString(16).padStart(2, "0")).join("");
}
