/** roomcast's client: rooms over one WebSocket at a time, each message once, in order, however often a socket breaks. */
export { Backoff } from "./backoff.js";
export {
  type Clock,
  type ConnectOptions,
  type Connection,
  type Found,
  type Page,
  type Socket,
  type SocketConstructor,
  connect,
} from "./connection.js";
export { ClientError, ConnectionEnded, HandshakeRefused, RequestRefused, Unreachable } from "./errors.js";
export type * from "./events.js";
export { readEvent, readFrame } from "./frames.js";
export type { Request, Status } from "./requests.js";
export { type Part, type Saying, Session, type SessionOptions, type Span } from "./session.js";
