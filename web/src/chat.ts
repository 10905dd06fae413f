/** What one person has before them: rooms, what was said there, who is there, and whether the service is reached. */
import { type Connection, type MemberSummary, type Released, connect } from "roomcast";
import { Messages } from "./messages.js";

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
  unread = 0;
  joined = false;
  /** `before` of the page that comes before what is shown; undefined where that begins with the log. */
  earlier: number | undefined;
  epoch = 0;

  constructor(
    readonly id: string,
    public title: string,
  ) {}

  get isInbox(): boolean {
    return this.id.startsWith("inbox#");
  }
}

export class Chat {
  readonly rooms = new Map<string, Room>();
  shown: Room;
  user = "";
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

  /** Who is let in; rejects as `connect` does. `changed` is called whenever anything here has changed. */
  static async enter(url: string, name: string, changed: () => void): Promise<Chat> {
    const chat = new Chat("general", changed);
    class Watched extends WebSocket {
      constructor(where: string, protocols: string[]) {
        super(where, protocols);
        this.addEventListener("open", () => chat.#reached(true));
        this.addEventListener("close", () => chat.#reached(false));
      }
    }
    chat.#me = await connect(url, { user: idOf(name), name, room: "general", WebSocket: Watched });
    void chat.#hear();
    chat.#try(chat.#list());
    return chat;
  }

  /** Show a room, joining it if need be. */
  show(id: string): void {
    this.shown = this.#room(id, id);
    this.trouble = "";
    this.#try(this.#enter(this.shown));
    this.#changed();
  }

  /** The page before what is shown. */
  earlier(room: Room): void {
    const before = room.earlier;
    if (before === undefined) return;
    room.earlier = undefined;
    this.#try(this.#page(room, before));
  }

  /** `to`: of a private message. */
  async say(text: string, to?: string): Promise<void> {
    await (to === undefined ? this.#me.send(this.shown.id, text) : this.#me.sendPrivate(to, text));
    if (to !== undefined) await this.#page(this.shown); // one's own come back to other devices alone
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
    for (const { roomId, title, unread } of await this.#me.rooms()) {
      const room = this.#room(roomId, title || roomId);
      if (!room.joined) room.unread = unread ?? 0;
    }
    this.#changed();
  }

  #room(id: string, title: string): Room {
    const room = this.rooms.get(id) ?? new Room(id, title);
    this.rooms.set(id, room);
    return room;
  }

  async #enter(room: Room): Promise<void> {
    if (!room.joined) await this.#me.join(room.id);
    room.joined = true;
    await this.#page(room);
    if (!room.isInbox) room.members = await this.#me.members(room.id);
    this.#changed();
  }

  /** The newest page of a room's log, or the one before. */
  async #page(room: Room, before?: number): Promise<void> {
    const page = await this.#me.history(room.id, { limit: PAGE, ...(before === undefined ? {} : { before }) });
    if (page.epoch > room.epoch) room.messages.clear();
    room.epoch = page.epoch;
    for (const event of page.events) room.messages.apply(event);
    room.earlier = page.next;
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
    shown.unread = 0;
    if (shown.messages.last) this.#me.read(shown.id, shown.messages.last);
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
        inbox.unread = event.inbox.unread;
        if (this.shown.joined && !this.shown.epoch) this.#try(this.#enter(this.shown));
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
      case "joined":
        if (room) this.#try(this.#enter(room));
        break;
      default:
        if (!room) break;
        room.messages.apply(event);
        if (event.type !== "chat" && event.type !== "private_message") break;
        clearTimeout(room.writing.get(event.senderName));
        room.writing.delete(event.senderName);
        room.spoke.set(event.senderName, event.sentAt);
        if (room === this.shown) this.#read();
        else room.unread += 1;
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
