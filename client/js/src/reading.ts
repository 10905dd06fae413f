/**
 * How far the user has read each room, and what of that the service has still to be told: one mark at a time a room.
 *
 * The highest mark that was wanted while one is under way goes out when that is answered.
 */
import type { RoomHead } from "./events.js";

const NOWHERE: RoomHead = { epoch: -1, seq: -1 };

function beyond(one: RoomHead, other: RoomHead = NOWHERE): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.seq > other.seq);
}

/** The marks of one user. */
export class Reading {
  /** Room → the mark that the service has named. */
  readonly #named = new Map<string, RoomHead>();
  /** Room → the one that is under way. */
  #asked = new Map<string, RoomHead>();
  /** Room → one beyond both. */
  readonly #wanted = new Map<string, RoomHead>();

  /** The user has read so far. */
  want(room: string, place: RoomHead): void {
    if ([this.#named, this.#asked, this.#wanted].every((it) => beyond(place, it.get(room)))) this.#wanted.set(room, place);
  }

  /** The mark to ask for now, if there is one and none is under way. */
  begin(room: string): RoomHead | undefined {
    const place = this.#wanted.get(room);
    if (!place || this.#asked.has(room)) return;
    this.#wanted.delete(room);
    this.#asked.set(room, place);
    return place;
  }

  /** None is under way any more. */
  answered(room: string): void {
    this.#asked.delete(room);
  }

  /** The service has named the user's mark; whether that is news. */
  stands(room: string, place: RoomHead): boolean {
    if (!beyond(place, this.#named.get(room))) return false;
    this.#named.set(room, place);
    const wanted = this.#wanted.get(room);
    if (wanted && !beyond(wanted, place)) this.forget(room);
    return true;
  }

  /** No answer will come to any; what was under way is wanted again. */
  lost(): void {
    const asked = this.#asked;
    this.#asked = new Map();
    for (const [room, place] of asked) this.want(room, place);
  }

  /** Want nothing of the room. */
  forget(room: string): void {
    this.#wanted.delete(room);
  }
}
