/**
 * What can go wrong between a client and the service.
 *
 * ClientError
 * ├── Unreachable        nobody answers there, not in time, or (browsers don't tell) with a refusal
 * ├── HandshakeRefused   the service does not let this client in; `status` is its HTTP answer
 * ├── RequestRefused     a request was answered with an error; `code` is one of the wire's
 * └── ConnectionEnded    the connection was closed for good while a request waited for its answer
 */

/** The root of the tree above. Names are written out, since a minifier changes those of classes. */
export class ClientError extends Error {
  override name = "ClientError";
}

/** No WebSocket service answers at the address, or it refuses us and the socket can't say so. */
export class Unreachable extends ClientError {
  override name = "Unreachable";
}

/** The handshake was answered with another status than 101. */
export class HandshakeRefused extends ClientError {
  override name = "HandshakeRefused";
  constructor(readonly status: number) {
    super(`the service refused the connection (HTTP ${status})`);
  }
}

/** The service, or the client on its behalf, refused a request. */
export class RequestRefused extends ClientError {
  override name = "RequestRefused";
  /** `retryAfter`: seconds after which the same request may succeed; undefined where it can't. */
  constructor(
    readonly code: string,
    readonly reason: string,
    readonly retryAfter?: number,
  ) {
    super(`${code}: ${reason}`);
  }
}

/** Closed by its owner, or refused when it tried to come back. A message under way may be stored or not. */
export class ConnectionEnded extends ClientError {
  override name = "ConnectionEnded";
}
