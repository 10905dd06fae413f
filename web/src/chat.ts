/** What one person has before them: rooms, what was said there, who is there, and whether the service is reached. */
import {
  type Connection,
  type MemberSummary,
  type Released,
  type Request,
  RequestRefused,
  type Saying,
  type Status,
  connect,
} from "roomcast";
import { type Message, Messages } from "./messages.js";
import { Restored } from "./restored.js";
import { current } from "./token.js";

/** Milliseconds for which somebody who has written a letter is said to be writing. */
const WRITING = 4_000;
/** Milliseconds between two words of ours that the person is writing. */
const SAY_WRITING = 3_000;
const PAGE = 50;

export class Room {
  readonly messages = new Messages();
  members: MemberSummary[] = [];
  /** Names of those who are writing. */
  readonly writing = new Map<string, number>();
  /** Name → when they last said something: that they were writing it may be told later. */
  readonly spoke = new Map<string, number>();
  /** The seq up to which the service has counted what is unread, and what that came to; what is beyond is counted here. */
  counted = { head: 0, unread: 0 };
  joined = false;
  /** `before` of the page that comes before what is shown; undefined where that begins with the log. */
  earlier: number | undefined;
  /** Which life of the room is shown; below 0 before the first page of it. */
  epoch = -1;
  /** Whether the user may delete others' messages here; undefined where nobody has asked yet. */
  moderated: boolean | undefined;

  /** `thread`: where this is no room but one of its threads, the seq of the message that began it. */
  constructor(
    readonly id: string,
    public title: string,
    readonly thread?: number,
  ) {}

  /** How many messages of others the user has not seen. */
  unread(user: string): number {
    const { head, unread } = this.counted;
    const { all } = this.messages;
    let count = unread;
    for (let at = all.length - 1; at >= 0 && all[at]!.seq > head; at -= 1) count += Number(all[at]!.senderId !== user);
    return count;
  }

  get isInbox(): boolean {
    return this.id.startsWith("inbox#");
  }
}

export class Chat {
  readonly rooms = new Map<string, Room>();
  shown: Room;
  user = "";
  /** How the user is on this device. */
  status: Status = "online";
  /** The message that the next one answers. */
  answering: Message | undefined;
  /** To whom the next private message goes. */
  to = "";
  /** The thread that is shown in place of all that its room says. */
  thread: Room | undefined;
  /** How often somebody has chosen what to answer, to whom to write, or to see a thread. */
  chosen = 0;
  connected = true;
  /** Why there is no more to come. */
  ended: string | undefined;
  /** What the service last refused to show. */
  trouble = "";
  #me!: Connection;
  #saidWriting = 0;
  #changed: () => void;

  private constructor(room: string, changed: () => void) {
    this.#changed = changed;
    this.shown = this.#room(room, room);
    this.shown.joined = true;
  }

  /**
   * Who is let in, by a name or, where the service asks for it, a token; rejects as `connect` does, or with `NotLetIn`.
   * `changed` is called whenever anything here has changed.
   */
  static async enter(url: string, who: { name: string } | { token: string }, changed: () => void): Promise<Chat> {
    const chat = new Chat("general", changed);
    class Watched extends WebSocket {
      constructor(where: string, protocols: string[]) {
        super(where, protocols);
        this.addEventListener("open", () => chat.#reached(true));
        this.addEventListener("close", () => chat.#reached(false));
      }
    }
    const credential = "token" in who ? { token: () => current(who.token) } : { user: idOf(who.name), name: who.name };
    chat.#me = await connect(url, { ...credential, room: "general", WebSocket: Watched });
    void chat.#hear();
    const { rooms, shown } = Restored.rooms;
    for (const id of rooms) if (id !== "general") chat.#try(chat.#join(chat.#room(id, id)));
    if (shown) chat.show(shown);
    chat.#try(chat.#list());
    return chat;
  }

  /** Show a room, joining it if need be. */
  show(id: string): void {
    this.shown = this.#room(id, id);
    this.answering = this.thread = undefined;
    this.to = "";
    this.trouble = "";
    this.#try(this.#enter(this.shown));
    this.#remember();
    this.#changed();
  }

  /** The page before what is shown. */
  earlier(room: Room): void {
    const before = room.earlier;
    if (before === undefined) return;
    room.earlier = undefined;
    this.#try(this.#page(room, before));
  }

  /** `to`: of a private message. In a room it answers what was to be answered. */
  async say(text: string, to?: string): Promise<void> {
    const { shown, answering, thread } = this;
    this.answer(undefined);
    if (to === undefined) {
      const replyTo = answering?.seq ?? thread?.thread;
      const saying: Saying = replyTo === undefined ? {} : { replyTo };
      await this.#me.send(shown.id, text, saying);
    } else {
      await this.#me.sendPrivate(to, text);
      await this.#page(shown); // one's own come back to other devices alone
    }
  }

  /** The next message answers this one; a private message's answer goes to the other of the two. */
  answer(message: Message | undefined): void {
    if (message?.type === "private_message") {
      this.write(message.senderId === this.user ? message.targetUserId : message.senderId);
      return;
    }
    this.answering = message;
    if (message) this.chosen += 1;
    this.#changed();
  }

  /** Show the thread that a message is in, where the next one answers the first; or the whole room again. */
  follow(message: Message | undefined): void {
    this.answering = this.thread = undefined;
    if (message?.type === "chat") {
      this.thread = new Room(this.shown.id, `A thread in ${this.shown.title}`, message.thread ?? message.seq);
      this.#try(this.#page(this.thread));
    }
    this.chosen += 1;
    this.#changed();
  }

  /** The next message is a private one, to that user. */
  write(user: string): void {
    this.show(`inbox#${this.user}`);
    this.to = user;
    this.chosen += 1;
  }

  /** Change a message that is shown, or react to it. Whether that was done; if not, `trouble` says why. */
  async change(request: Request): Promise<boolean> {
    this.trouble = "";
    try {
      await this.#me.ask(request);
      return true;
    } catch (error) {
      this.trouble = String(error);
      return false;
    } finally {
      this.#changed();
    }
  }

  /** React to a message, or take that back. */
  react({ roomId, seq, reactions }: Message, emoji: string): Promise<boolean> {
    const given = reactions?.find((it) => it.emoji === emoji)?.users.includes(this.user);
    return this.change({ type: "react", roomId, seq, emoji, ...(given ? { remove: true } : {}) });
  }

  /** Find out whether the user moderates a room: who does may read what its moderators did. Nothing else says so. */
  async asModerator(room: Room): Promise<void> {
    if (room.isInbox || room.moderated !== undefined) return;
    room.moderated = false;
    try {
      await this.#me.history(`audit#${room.id}`, { limit: 1 });
      room.moderated = true;
    } catch (error) {
      if (!(error instanceof RequestRefused)) room.moderated = undefined;
    }
    this.#changed();
  }

  be(status: Status): void {
    this.status = status;
    this.#try(this.#me.presence(status).then(() => {}));
    this.#changed();
  }

  writing(): void {
    if (this.shown.isInbox || Date.now() < this.#saidWriting + SAY_WRITING) return;
    this.#saidWriting = Date.now();
    this.#me.typing(this.shown.id);
  }

  leave(): void {
    this.#me.close();
  }

  /** The rooms that there are. */
  async #list(): Promise<void> {
    for (const { roomId, title, head, unread = 0 } of await this.#me.rooms()) {
      const room = this.#room(roomId, title || roomId);
      room.title = title || roomId;
      if (room !== this.shown) room.counted = { head, unread };
    }
    this.#changed();
  }

  /** What a reload of the page finds again. */
  #remember(): void {
    const joined = [...this.rooms.values()].filter((it) => it.joined && !it.isInbox);
    Restored.rooms = { rooms: joined.map((it) => it.id), shown: this.shown.isInbox ? "" : this.shown.id };
  }

  #room(id: string, title: string): Room {
    const room = this.rooms.get(id) ?? new Room(id, title);
    this.rooms.set(id, room);
    return room;
  }

  async #join(room: Room): Promise<void> {
    if (!room.joined) await this.#me.join(room.id);
    room.joined = true;
    this.#remember();
  }

  async #enter(room: Room): Promise<void> {
    await this.#join(room);
    await this.#page(room);
    if (!room.isInbox) room.members = await this.#me.members(room.id);
    this.#changed();
  }

  /** The newest page of a room's log, or the one before. */
  async #page(room: Room, before?: number): Promise<void> {
    const { thread } = room;
    const place = { ...(before === undefined ? {} : { before }), ...(thread === undefined ? {} : { thread }) };
    const page = await this.#me.history(room.id, { limit: PAGE, ...place });
    const anew = page.epoch > room.epoch;
    if (anew && room.epoch >= 0) {
      room.messages.clear();
      room.counted = { head: 0, unread: 0 };
      room.moderated = undefined;
      if (room === this.shown) this.thread = undefined;
    }
    room.epoch = page.epoch;
    for (const event of page.events) room.messages.apply(event);
    if (anew || before !== undefined) room.earlier = page.next;
    if (room === this.shown) this.#read();
    this.#changed();
  }

  #try(doing: Promise<void>): void {
    doing.catch((error) => {
      this.trouble = String(error);
      this.#changed();
    });
  }

  #read(): void {
    const { shown } = this;
    const { last } = shown.messages;
    shown.counted = { head: Math.max(last, shown.counted.head), unread: 0 };
    // Also that nothing was there to be read: what comes while the page is loaded again is unread then.
    this.#me.read(shown.id, last);
  }

  #reached(connected: boolean): void {
    this.connected = connected;
    this.#changed();
  }

  async #hear(): Promise<void> {
    try {
      for await (const event of this.#me.events()) {
        this.#take(event);
        this.#changed();
      }
      this.ended = "You have left.";
    } catch (error) {
      this.ended = String(error);
    }
    this.#changed();
  }

  #take(event: Released): void {
    const room = "roomId" in event ? this.rooms.get(event.roomId) : undefined;
    switch (event.type) {
      case "welcome": {
        this.user = event.userId;
        const inbox = this.#room(`inbox#${event.userId}`, "Private messages");
        inbox.joined = true;
        if (inbox !== this.shown) inbox.counted = { head: event.inbox.seq, unread: event.inbox.unread };
        if (this.shown.joined && this.shown.epoch < 0) this.#try(this.#enter(this.shown));
        break;
      }
      case "user_joined":
      case "user_left":
        if (room) {
          room.members = room.members.filter((it) => it.userId !== event.userId);
          const { userId, username } = event;
          if (event.type === "user_joined") room.members.push({ userId, username, status: "online" });
        }
        break;
      case "presence":
        for (const { userId, status } of event.members) {
          if (room) room.members = room.members.map((it) => (it.userId === userId ? { ...it, status } : it));
        }
        break;
      case "typing":
        if (room && event.userId !== this.user && event.sentAt > (room.spoke.get(event.username) ?? 0)) {
          this.#write(room, event.username);
        }
        break;
      case "read":
        // On another device.
        if (room && event.userId === this.user && event.seq >= room.counted.head) {
          room.counted = { head: event.seq, unread: 0 };
        }
        break;
      case "role":
        if (room && event.userId === this.user) room.moderated = undefined;
        break;
      case "joined":
        if (room) this.#try(this.#enter(room));
        break;
      default:
        if (!room) break;
        room.messages.apply(event);
        if (room === this.shown && (event.type !== "chat" || event.thread === this.thread?.thread)) {
          this.thread?.messages.apply(event);
        }
        if (event.type !== "chat" && event.type !== "private_message") break;
        clearTimeout(room.writing.get(event.senderName));
        room.writing.delete(event.senderName);
        room.spoke.set(event.senderName, event.sentAt);
        if (room === this.shown) this.#read();
    }
  }

  #write(room: Room, name: string): void {
    clearTimeout(room.writing.get(name));
    const stop = setTimeout(() => {
      room.writing.delete(name);
      this.#changed();
    }, WRITING);
    room.writing.set(name, stop as unknown as number);
  }
}

/** A user id for a name: whoever comes by the same name is the same user, on all their devices. */
function idOf(name: string): string {
  const plain = name.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  return plain || `user-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
}
