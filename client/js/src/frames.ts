/**
 * What stands in a frame, read strictly: an event with a field of another kind than it should be is none.
 *
 * A form is a row of fields, each NAME, a sign, KIND. The sign: `:` it must be there, `?` it may be absent, `~` or be
 * null, `!` or be false, `=` it is 0 where it is absent. The kind: i integer, n number, s string, b boolean, S a status,
 * r anything; else the name of a form; `[` before it a list of them, `{` an object of them.
 */
import type { Event, LogEvent } from "./events.js";

type Fields = Record<string, unknown>;

const TIMES = "timestamp:i sentAt:i";
const PLACE = "roomId:s epoch:i seq:i";
const LOGGED = `${PLACE} ${TIMES}`;
const MESSAGE = `${LOGGED} messageId:s senderId:s senderName:s message:s editedAt?i deletedAt?i deletedBy?s reactions?[Reaction`;
const ABOUT = `roomId:s userId:s username:s ${TIMES}`;
const MODERATED = `${LOGGED} userId:s by:s reason?s`;
const REPLY = "clientId~s";
const STANDS = `${REPLY} roomId:s epoch:i head:i`;

/** Events that are entries of a log, by type. */
const ENTRIES: Fields = {
  chat: `${MESSAGE} replyTo?i thread?i replies?Replies mentions?[s trace?Trace`,
  private_message: `${MESSAGE} targetUserId:s clientId?s`,
  room: `${LOGGED} clientId?s by:s title:s parent:s visibility:s defaultRole:s slowMode:i maxMembers:i retention:i owner:s`,
  room_deleted: `${LOGGED} clientId?s by:s`,
  role: `${MODERATED} role:s`,
  kicked: MODERATED,
  banned: `${MODERATED} until?i`,
  unbanned: MODERATED,
  muted: `${MODERATED} until?i`,
  unmuted: MODERATED,
  message_edited: `${LOGGED} of:i by:s message?s`,
  message_deleted: `${LOGGED} of:i by:s userId?s`,
  reaction: `${LOGGED} of:i userId:s emoji:s removed!b count:i users:[s`,
  opaque: "",
};

const FORMS = new Map(
  Object.entries({
    ...ENTRIES,
    welcome: `connectionId:s userId:s roomId:s message:s protocol:i epoch:i head:i inbox:Inbox reconnectAt:i ${TIMES}`,
    user_joined: ABOUT,
    user_left: ABOUT,
    typing: ABOUT,
    room_stats: `roomId:s activeUsers:i ${TIMES}`,
    ack: `${REPLY} messageId?s ${PLACE} online?b`,
    joined: `${STANDS} recovered:b events:[r`,
    left: `${REPLY} roomId:s`,
    history: `${STANDS} entries:[r next?i`,
    search: `${REPLY} roomId:s epoch:i entries:[r next?i`,
    room_list: `${REPLY} rooms:[Room cursor?s`,
    members: `${REPLY} roomId:s members:[Member cursor?s`,
    pong: `${REPLY} time:i heads:{Head`,
    reauthenticated: `${REPLY} reconnectAt:i`,
    notices: `${REPLY} enabled:b`,
    head: LOGGED,
    error: "code:s message:s request~s clientId~s retryAfter~n",
    batch: "events:[r",
    read: `clientId?s userId:s ${LOGGED} unread?i`,
    presence: `clientId?s roomId:s members:[Status ${TIMES}`,
    Reaction: "emoji:s count:i users:[s",
    Replies: "count:i lastSeq:i",
    Trace: "acceptedAt:i storedAt?i rungAt?i servedAt?i packedAt?i",
    Inbox: "epoch:i seq:i read=i unread=i",
    Head: "epoch:i seq:i",
    Room: "roomId:s activeUsers:i title:s visibility:s parent:s head:i read?i unread?i",
    Member: "userId:s username:s status:S",
    Status: "userId:s status:S since:i",
    Opaque: "roomId?s epoch=i seq=i",
    Gateway: "message:s connectionId:s requestId:s",
  }).map(([name, form]) => [name, [...(form as string).matchAll(/(\w+)(\W)(\S+)/g)]] as const),
);

const PLAIN: Record<string, (value: unknown) => boolean> = {
  i: Number.isInteger,
  n: (value) => typeof value === "number",
  s: (value) => typeof value === "string",
  b: (value) => typeof value === "boolean",
  S: (value) => /^(online|away|busy|offline)$/.test(value as string) && typeof value === "string",
  r: () => true,
};

/** Thrown for what is no event; it goes no further than this file. */
class Foreign extends Error {}

/** The event in a frame; undefined if it is none. */
export function readFrame(frame: string): Event | undefined {
  return readEvent(parsed(frame));
}

/** The event that stands in a frame, a batch, or a page, as JSON; undefined if it is none. */
export function readEvent(value: unknown): Event | undefined {
  try {
    const { type, data = {} } = object(value);
    if (typeof type !== "string") return;
    if (type !== "opaque" && /^[a-z]/.test(type) && FORMS.has(type)) {
      return { ...read(type, data), type } as Event;
    }
    return { roomId: "", ...read("Opaque", data), data, type: "opaque", event: type } as Event;
  } catch (error) {
    if (error instanceof Foreign) return;
    throw error;
  }
}

/** Those that can be read. The others are as good as lost: an entry that counts comes again by history. */
export function readEvents(values: unknown[]): Event[] {
  return values.map(readEvent).filter((it) => it !== undefined);
}

/** Whether the event may be an entry of a log. */
export function isEntry(event: Event): event is LogEvent {
  return Object.hasOwn(ENTRIES, event.type);
}

/** Whether a frame that is no event is API Gateway's own word for a request that failed; it doesn't say which. */
export function isGatewayError(frame: string): boolean {
  try {
    return !!read("Gateway", parsed(frame));
  } catch {
    return false;
  }
}

function parsed(frame: string): unknown {
  try {
    return JSON.parse(frame);
  } catch {
    return;
  }
}

function object(value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Foreign();
  return value as Fields;
}

function read(form: string, value: unknown): Fields {
  const given = object(value);
  const fields: Fields = {};
  for (const [, name, sign, kind] of FORMS.get(form)!) {
    const here = Object.hasOwn(given, name!) ? given[name!] : undefined;
    if (here === undefined && sign !== ":") {
      if (sign === "=") fields[name!] = 0;
    } else if (here !== null || sign !== "~") {
      const field = readValue(kind!, here);
      if (field || sign !== "!") fields[name!] = field;
    }
  }
  return fields;
}

function readValue(kind: string, value: unknown): unknown {
  const inner = kind.slice(1);
  if (kind[0] === "[") {
    if (!Array.isArray(value)) throw new Foreign();
    return value.map((it) => readValue(inner, it));
  }
  if (kind[0] === "{") {
    return Object.fromEntries(Object.entries(object(value)).map(([key, it]) => [key, readValue(inner, it)]));
  }
  if (!Object.hasOwn(PLAIN, kind)) return read(kind, value);
  if (!PLAIN[kind]!(value)) throw new Foreign();
  return value;
}
