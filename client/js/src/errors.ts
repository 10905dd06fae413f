/**
 * What can go wrong between a client and the service.
 *
 * ClientError
 * ├── Unreachable        nobody answers there, not in time, or (browsers don't tell) with a refusal
 * ├── HandshakeRefused   the service does not let this client in; `status` is its HTTP answer
 * ├── RequestRefused     a request was answered with an error; `code` is one of the wire's
 * └── ConnectionEnded    the connection was closed for good while a request waited for its answer
 */

/** The root of the tree above. */
export class ClientError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/** No WebSocket service answers at the address, or it refuses us and the socket can't say so. */
export class Unreachable extends ClientError {}

/** The handshake was answered with another status than 101. */
export class HandshakeRefused extends ClientError {
  constructor(readonly status: number) {
    super(`the service refused the connection (HTTP ${status})`);
  }
}

/** The service, or the client on its behalf, refused a request. */
export class RequestRefused extends ClientError {
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
export class ConnectionEnded extends ClientError {}
