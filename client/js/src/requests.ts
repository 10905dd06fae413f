/** Requests, client to service, and the limits of the wire. */

export const SUBPROTOCOL = "roomcast.v1";
/** Bytes in one frame; the service closes the socket beyond it. */
export const FRAME_LIMIT = 32 * 1024;

/** How a connection says that its user is. */
export type Status = "online" | "away" | "busy";

interface Profile {
  roomId: string;
  title?: string;
  visibility?: "public" | "private" | "hidden";
  defaultRole?: "guest" | "member";
  /** Seconds between two messages of one user; 0 for none. */
  slowMode?: number;
  maxMembers?: number;
  /** Seconds for which what is said is kept; 0 for as long as the deployment keeps it. */
  retention?: number;
}

interface AboutUser {
  roomId: string;
  userId: string;
  reason?: string;
}

type Fields =
  | { type: "chat"; roomId?: string; message?: string; replyTo?: number; mentions?: string[]; trace?: boolean }
  | { type: "private_message"; targetUserId: string; message: string }
  | { type: "join_room"; roomId: string; since?: number; epoch?: number }
  | { type: "leave_room"; roomId?: string }
  | { type: "history"; roomId: string; before?: number; after?: number; limit?: number; thread?: number }
  | { type: "search"; roomId: string; query: string; cursor?: number; limit?: number }
  | { type: "ping"; cursors?: Record<string, number> }
  | { type: "room_list"; parent?: string; cursor?: string; limit?: number }
  | { type: "members"; roomId: string; cursor?: string }
  | { type: "typing"; roomId: string }
  | ({ type: "create_room"; parent?: string } & Profile)
  | ({ type: "update_room" } & Profile)
  | { type: "delete_room"; roomId: string }
  | ({ type: "set_role"; role: "guest" | "member" | "moderator" | "owner" | "none" } & AboutUser)
  | ({ type: "kick" | "unban" | "unmute" } & AboutUser)
  | ({ type: "ban" | "mute"; seconds?: number } & AboutUser)
  | { type: "reauth"; token: string }
  | { type: "edit_message"; roomId: string; seq: number; message: string }
  | { type: "delete_message"; roomId: string; seq: number }
  | { type: "react"; roomId: string; seq: number; emoji: string; remove?: boolean }
  | { type: "read"; roomId: string; seq: number; epoch?: number }
  | { type: "notices"; enabled?: boolean }
  | { type: "presence"; status: Status };

/** A request; `clientId` is the session's to give. */
export type Request = Fields & { clientId?: string };
