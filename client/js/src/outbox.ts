/** Requests on their way: lines, answers, and sending again. Each leaves with one `clientId`, however often. */
import { RequestRefused } from "./errors.js";
import { FRAME_LIMIT, type Request } from "./requests.js";

/** Seconds after which a request without an answer is sent again. */
export const REPLY_WITHIN = 10;
/** How often a request of the user is sent before it is given up. */
export const TRIES = 10;
/** Seconds between tries: full jitter below 0.1 × 2^tries, at most 10. */
const PAUSE = 0.1;
const PAUSE_LIMIT = 10;
/** Error codes after which the same request may succeed. */
export const RETRYABLE = /^(ROOM_BUSY|RATE_LIMITED|INTERNAL)$/;
/** Seconds to wait that are the user's to know of, as a slow room's minutes are: what is behind it waits, too. */
export const LONG_WAIT = 30;

/** A request without its answer. */
export interface Pending {
  readonly clientId: string;
  readonly request: Request;
  readonly frame: string;
  /** The room, or the target's inbox, in whose line it stands; undefined for one that waits for no other. */
  readonly line: string | undefined;
  /** Asked by the session for its own ends: it is never given up, and the user never sees the reply. */
  readonly ours: boolean;
  tries: number;
  due: number;
}

interface Asking {
  line?: string | undefined;
  ours?: boolean;
  /** Before all others of its line. */
  first?: boolean;
}

/** Whether it may be sent once more. */
export const patient = (it: Pending): boolean => it.ours || it.tries < TRIES;

/** What was asked and not yet answered. Times are in seconds of the session's clock. */
export class Outbox {
  /** Whether there is a connection to send on. */
  open = false;
  readonly #draw: () => number;
  readonly #newId: () => string;
  readonly #lines = new Map<string, Pending[]>();
  #waiting = new Map<string, Pending>();
  #unsent: string[] = [];

  constructor(draw: () => number, newId: () => string) {
    this.#draw = draw;
    this.#newId = newId;
  }

  get empty(): boolean {
    return !this.#waiting.size && !this.#lines.size;
  }

  /**
   * Send the request, or put it into a room's line: at its end, or (`first`) before all that are not under way; returns
   * its clientId.
   *
   * Throws `RequestRefused` for one that fits into no frame, since the service would close the socket for it.
   */
  ask(asked: Request, now: number, { line, ours = false, first = false }: Asking = {}): string {
    const clientId = this.#newId();
    const request = { ...asked, clientId };
    const frame = JSON.stringify(request);
    if (new TextEncoder().encode(frame).length > FRAME_LIMIT) {
      throw new RequestRefused("TOO_LARGE", "A request is at most 32 KB");
    }
    const pending = { clientId, request, frame, line, ours, tries: 0, due: Infinity };
    if (line === undefined) {
      this.#waiting.set(clientId, pending);
      if (this.open) this.#transmit(pending, now);
    } else {
      const queue = this.line(line);
      queue.splice(first ? +(!!queue[0] && this.#waiting.has(queue[0].clientId)) : queue.length, 0, pending);
      this.#lines.set(line, queue);
      this.#advance(line, now);
    }
    return clientId;
  }

  /** Send a request that has no answer, if there is a connection. */
  tell(request: Request): void {
    if (this.open) this.#unsent.push(JSON.stringify(request));
  }

  /** The requests that stand in a line. The first is under way, if there is a connection. */
  line(line: string): Pending[] {
    return this.#lines.get(line) ?? [];
  }

  /** The request that stands first in a line. */
  first(line: string): Pending | undefined {
    return this.line(line)[0];
  }

  /** The request that was sent under this id and is not answered. */
  find(clientId: string | undefined): Pending | undefined {
    return this.#waiting.get(clientId!);
  }

  /** The request is answered for good; the next in its line goes out. */
  finish(clientId: string | undefined, now: number): Pending | undefined {
    const pending = this.find(clientId);
    if (pending) {
      this.#waiting.delete(clientId!);
      if (pending.line !== undefined) {
        this.#lines.get(pending.line)!.shift();
        this.#advance(pending.line, now);
      }
    }
    return pending;
  }

  /** Send it again after `atLeast` seconds and a jittered pause. */
  postpone(pending: Pending, now: number, atLeast = 0): void {
    pending.due = now + atLeast + Math.min(PAUSE_LIMIT, PAUSE * 2 ** pending.tries) * this.#draw();
  }

  /** Some request failed, and nobody says which: send every one again. */
  postponeAll(now: number): void {
    for (const pending of this.#waiting.values()) this.postpone(pending, now);
  }

  /** Send all that waits; of each line the first. */
  connected(now: number): void {
    this.open = true;
    for (const pending of [...this.#waiting.values()]) this.#transmit(pending, now);
    for (const line of [...this.#lines.keys()]) this.#advance(line, now);
  }

  /** No answer will come: lines stand still, the user's other requests wait, ours are dropped. */
  disconnected(): void {
    this.open = false;
    this.#unsent = [];
    this.#waiting = new Map([...this.#waiting].filter(([, it]) => it.line === undefined && !it.ours));
  }

  /** The frames to send now, in order; they are handed out once. */
  frames(): string[] {
    const frames = this.#unsent;
    this.#unsent = [];
    return frames;
  }

  /** When `overdue` is wanted next. */
  due(): number {
    return this.open ? Math.min(Infinity, ...[...this.#waiting.values()].map((it) => it.due)) : Infinity;
  }

  /** Send again what is due; returns those that have been tried often enough. */
  overdue(now: number): Pending[] {
    const due = [...this.#waiting.values()].filter((it) => it.due <= now);
    for (const pending of due.filter(patient)) this.#transmit(pending, now);
    return due.filter((it) => it.due <= now);
  }

  #advance(line: string, now: number): void {
    const [next] = this.#lines.get(line)!;
    if (!next) this.#lines.delete(line);
    else if (this.open && !this.#waiting.has(next.clientId)) this.#transmit(next, now);
  }

  #transmit(pending: Pending, now: number): void {
    pending.tries += 1;
    pending.due = now + REPLY_WITHIN;
    this.#waiting.set(pending.clientId, pending);
    this.#unsent.push(pending.frame);
  }
}
