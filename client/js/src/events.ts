/** What a session gives to its user: the wire's events, each with its `type` beside its fields, and two of its own. */

/** Where a room is. */
export interface RoomHead {
  epoch: number;
  seq: number;
}

/** An entry of a room's log, or of an inbox. `timestamp` is in seconds, `sentAt` in milliseconds since 1970. */
export interface Logged extends RoomHead {
  roomId: string;
  timestamp: number;
  sentAt: number;
}

export interface Welcome {
  type: "welcome";
  connectionId: string;
  userId: string;
  roomId: string;
  message: string;
  protocol: number;
  epoch: number;
  head: number;
  /** Where the user's inbox, the room `inbox#USER`, stands, how far it is read, and how much is unread. */
  inbox: RoomHead & { read: number; unread: number };
  /** When to open the next socket, in milliseconds since 1970. */
  reconnectAt: number;
  timestamp: number;
  sentAt: number;
}

export interface ReactionCount {
  emoji: string;
  count: number;
  /** At most ten of them. */
  users: string[];
}

/** A message as it is by now, with all that later entries of the log have made of it. */
interface Message extends Logged {
  messageId: string;
  senderId: string;
  senderName: string;
  /** Empty in one that was deleted. */
  message: string;
  editedAt?: number;
  deletedAt?: number;
  deletedBy?: string;
  reactions?: ReactionCount[];
}

export interface Chat extends Message {
  type: "chat";
  /** The seq of the message that it answers. */
  replyTo?: number;
  /** The seq of the message that began the thread which it is in. */
  thread?: number;
  replies?: { count: number; lastSeq: number };
  mentions?: string[];
  trace?: { acceptedAt: number; storedAt?: number; rungAt?: number; servedAt?: number; packedAt?: number };
}

export interface PrivateMessage extends Message {
  type: "private_message";
  targetUserId: string;
  /** In the sender's copy. */
  clientId?: string;
}

export interface Passing {
  type: "user_joined" | "user_left" | "typing";
  roomId: string;
  userId: string;
  username: string;
  timestamp: number;
  sentAt: number;
}

export interface RoomStats {
  type: "room_stats";
  roomId: string;
  activeUsers: number;
  timestamp: number;
  sentAt: number;
}

export interface RoomChanged extends Logged {
  type: "room";
  clientId?: string;
  by: string;
  title: string;
  parent: string;
  visibility: string;
  defaultRole: string;
  slowMode: number;
  maxMembers: number;
  retention: number;
  owner: string;
}

export interface RoomDeleted extends Logged {
  type: "room_deleted";
  clientId?: string;
  by: string;
}

/** What moderators did. */
export interface Moderated extends Logged {
  type: "kicked" | "banned" | "unbanned" | "muted" | "unmuted";
  userId: string;
  by: string;
  reason?: string;
  /** Of a ban or mute that ends: milliseconds since 1970. */
  until?: number;
}

export interface RoleSet extends Logged {
  type: "role";
  userId: string;
  by: string;
  reason?: string;
  role: string;
}

export interface MessageEdited extends Logged {
  type: "message_edited";
  /** The seq of the message. */
  of: number;
  by: string;
  /** Absent where a later edit follows, or the message was deleted. */
  message?: string;
}

export interface MessageDeleted extends Logged {
  type: "message_deleted";
  of: number;
  by: string;
  userId?: string;
}

export interface Reacted extends Logged {
  type: "reaction";
  of: number;
  userId: string;
  emoji: string;
  removed?: boolean;
  count: number;
  users: string[];
}

export interface Ack extends RoomHead {
  type: "ack";
  clientId?: string;
  messageId?: string;
  roomId: string;
  /** Of a private message: whether its target had an open connection. */
  online?: boolean;
}

export interface Joined {
  type: "joined";
  clientId?: string;
  roomId: string;
  epoch: number;
  head: number;
  recovered: boolean;
  /** As they stand on the wire. */
  events: unknown[];
}

export interface Left {
  type: "left";
  clientId?: string;
  roomId: string;
}

export interface HistoryPage {
  type: "history";
  clientId?: string;
  roomId: string;
  epoch: number;
  head: number;
  /** As they stand on the wire, oldest first. */
  entries: unknown[];
  next?: number;
}

export interface SearchPage {
  type: "search";
  clientId?: string;
  roomId: string;
  epoch: number;
  /** As they stand on the wire, the newest first. */
  entries: unknown[];
  next?: number;
}

export interface RoomSummary {
  roomId: string;
  activeUsers: number;
  title: string;
  visibility: string;
  parent: string;
  head: number;
  read?: number;
  unread?: number;
}

export interface RoomList {
  type: "room_list";
  clientId?: string;
  rooms: RoomSummary[];
  cursor?: string;
}

export type Shown = "online" | "away" | "busy" | "offline";

export interface MemberSummary {
  userId: string;
  username: string;
  status: Shown;
}

export interface MemberList {
  type: "members";
  clientId?: string;
  roomId: string;
  members: MemberSummary[];
  cursor?: string;
}

export interface Pong {
  type: "pong";
  clientId?: string;
  time: number;
  heads: Record<string, RoomHead>;
}

export interface Reauthenticated {
  type: "reauthenticated";
  clientId?: string;
  reconnectAt: number;
}

export interface UserRead extends Logged {
  type: "read";
  clientId?: string;
  userId: string;
  unread?: number;
}

export interface NoticesSet {
  type: "notices";
  clientId?: string;
  enabled: boolean;
}

export interface Head extends Logged {
  type: "head";
}

export interface UserStatus {
  userId: string;
  status: Shown;
  /** Milliseconds since 1970. Of two statuses of a user the one with the higher `since` is the later. */
  since: number;
}

export interface PresenceChanged {
  type: "presence";
  clientId?: string;
  roomId: string;
  members: UserStatus[];
  timestamp: number;
  sentAt: number;
}

export interface Refusal {
  type: "error";
  code: string;
  message: string;
  request?: string;
  clientId?: string;
  retryAfter?: number;
}

export interface Batch {
  type: "batch";
  events: unknown[];
}

/** An event of a type that this version does not know. One with a seq is an entry of its room's log. */
export interface Opaque extends RoomHead {
  type: "opaque";
  event: string;
  roomId: string;
  data: unknown;
}

/** Entries `first` to `last` of a room will not come: its log no longer holds them, or nobody can be asked. */
export interface Missed {
  type: "missed";
  roomId: string;
  epoch: number;
  first: number;
  last: number;
}

/** What is in a log. */
export type LogEvent =
  | Chat
  | PrivateMessage
  | RoomChanged
  | RoomDeleted
  | RoleSet
  | Moderated
  | MessageEdited
  | MessageDeleted
  | Reacted
  | Opaque;

export type Event =
  | LogEvent
  | Welcome
  | Passing
  | RoomStats
  | Ack
  | Joined
  | Left
  | HistoryPage
  | SearchPage
  | RoomList
  | MemberList
  | Pong
  | Reauthenticated
  | UserRead
  | NoticesSet
  | Head
  | PresenceChanged
  | Refusal
  | Batch;

export type Released = Event | Missed;
