/** How a client that has lost its socket comes back: after which pauses, through which rooms, and when it gives up. */

/** Seconds before a reconnect: full jitter below 0.5 × 2^tries, at most 30. */
export const PAUSE = 0.5;
export const PAUSE_LIMIT = 30;
/** Tries without a word after which another room is named: a browser does not say that a handshake was refused. */
export const SILENT_TRIES = 4;

/** The tries of one reconnect. Wait for `pause()`, open a socket that names `room`, and tell what became of it. */
export class Backoff {
  readonly #entrances: string[];
  readonly #draw: () => number;
  #bound = PAUSE;
  #silent = 0;

  /** `entrances`: the rooms to name, one after the other, where the service refuses the one before. */
  constructor(entrances: string[], draw: () => number) {
    this.#entrances = entrances;
    this.#draw = draw;
  }

  /** The room to name at the next try. */
  get room(): string {
    return this.#entrances[0]!;
  }

  /** The seconds before the next try. */
  pause(): number {
    const pause = this.#bound * this.#draw();
    this.#bound = Math.min(PAUSE_LIMIT, 2 * this.#bound);
    return pause;
  }

  /** The handshake was answered with that HTTP status. Whether another try may succeed. */
  refused(status: number): boolean {
    if (status === 403 && this.#entrances.length > 1) {
      // This room is closed to us; we may still be welcome in another.
      this.#entrances.shift();
      this.#bound = PAUSE;
      return true;
    }
    return status === 429 || status >= 500;
  }

  /** The try failed, and nobody says why: nobody may be there, or this room may be closed to us. */
  unanswered(): void {
    if (++this.#silent % SILENT_TRIES === 0) this.#entrances.push(this.#entrances.shift()!);
  }
}
