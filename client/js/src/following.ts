/** One room's log as a client follows it: each entry once, in order, however often and in whatever order it comes. */
import type { LogEvent, Missed } from "./events.js";

/** The cursor, and the epoch, before it is known where in the log this client begins. */
export const UNPLACED = -1;
/** Entries kept at most while earlier ones are missing; those beyond come again by history. */
export const HELD_LIMIT = 1_000;

/** Where a client is in a room. Epochs rise: a later one is another room of the same name, and begins anew. */
export class Following {
  epoch = UNPLACED;
  /** The last seq that was released. */
  cursor = UNPLACED;
  /** The highest seq that is known to be stored. */
  known = 0;
  /** Entries that wait for earlier ones; null for one that is had, and whose turn will pass in silence. */
  readonly held = new Map<number, LogEvent | null>();
  /** What was known when history was asked for; undefined while no answer is owed. */
  asked: number | undefined;
  /** When history was refused first, since the room is deleted and its last life is another than this one. */
  refusedAt: number | undefined;

  constructor(readonly room: string) {}

  /** Whether entries are known that were not released. */
  get behind(): boolean {
    return this.placed && this.cursor < this.known;
  }

  get placed(): boolean {
    return this.cursor !== UNPLACED;
  }

  /** An entry came; returns those that are now next in order. */
  arrive(event: LogEvent): LogEvent[] {
    this.hold(event);
    return this.#release();
  }

  /** Keep an entry until its turn, unless it is old, or too many wait that can be asked for again. */
  hold(event: LogEvent, askedFor = false): void {
    const { epoch, seq } = event;
    if (epoch > this.epoch) this.#begin(epoch);
    if (epoch < this.epoch || seq <= this.cursor) return;
    this.known = Math.max(this.known, seq);
    if ((askedFor || this.held.size < HELD_LIMIT) && !this.held.has(seq)) this.held.set(seq, event);
  }

  /** The entry at `seq` is had already: its turn passes without it. Returns those that are now next in order. */
  passOver(epoch: number, seq: number): LogEvent[] {
    if (epoch > this.epoch) this.#begin(epoch);
    if (epoch < this.epoch || seq <= this.cursor) return [];
    this.known = Math.max(this.known, seq);
    this.held.set(seq, null);
    return this.#release();
  }

  /**
   * The room stands at `head`. The first time this is where the client begins, or at the first entry it holds: that one
   * was pushed to it, so it was a member already.
   */
  place(epoch: number, head: number): LogEvent[] {
    if (epoch < this.epoch) return [];
    if (epoch > this.epoch) this.#begin(epoch);
    if (!this.placed) this.cursor = Math.min(head, this.#first - 1);
    this.known = Math.max(this.known, head);
    return this.#release();
  }

  /** History gave `entries`, and has nothing else up to `covered`: what is still missing there is gone. */
  fill(entries: LogEvent[], covered: number): (LogEvent | Missed)[] {
    for (const event of entries) this.hold(event, true);
    const released: (LogEvent | Missed)[] = this.#release();
    while (this.placed && this.cursor < covered) {
      const last = Math.min(covered, this.#first - 1);
      released.push({ type: "missed", roomId: this.room, epoch: this.epoch, first: this.cursor + 1, last });
      this.cursor = last;
      released.push(...this.#release());
    }
    return released;
  }

  /** Release all that is held, in order: nothing will come between any more. */
  surrender(): (LogEvent | Missed)[] {
    if (!this.held.size) return [];
    if (!this.placed) this.cursor = this.#first - 1;
    return this.fill([], [...this.held.keys()].reduce((one, other) => Math.max(one, other)));
  }

  /** The lowest seq that is held. */
  get #first(): number {
    return [...this.held.keys()].reduce((one, other) => Math.min(one, other), Infinity);
  }

  #begin(epoch: number): void {
    this.epoch = epoch;
    this.cursor = UNPLACED;
    this.known = 0;
    this.asked = this.refusedAt = undefined;
    this.held.clear();
  }

  #release(): LogEvent[] {
    const released: LogEvent[] = [];
    for (let event; this.placed && (event = this.held.get(this.cursor + 1)) !== undefined; ) {
      this.held.delete(++this.cursor);
      if (event) released.push(event);
    }
    return released;
  }
}
