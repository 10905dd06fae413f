/** The messages of a room as they are by now: what entries of its log, applied in whatever order, come to. */
import type { Chat, PrivateMessage, Released } from "roomcast";

export type Message = Chat | PrivateMessage;

/** By seq, of one room or inbox. What is done to a message that is not here is dropped: whoever reads it sees it done. */
export class Messages {
  readonly #kept = new Map<number, Message>();
  #sorted: Message[] | undefined;

  /** Oldest first; the same list for as long as nothing has changed. */
  get all(): Message[] {
    return (this.#sorted ??= [...this.#kept.values()].sort((one, other) => one.seq - other.seq));
  }

  /** The seq of the newest; 0 where there is none. */
  get last(): number {
    return this.all.at(-1)?.seq ?? 0;
  }

  /** The message as it is by now; undefined where it is not here. */
  at(seq: number | undefined): Message | undefined {
    return seq === undefined ? undefined : this.#kept.get(seq);
  }

  apply(event: Released): void {
    switch (event.type) {
      case "chat":
        if (event.thread !== undefined) this.#answered(event.thread, event.seq);
        this.#keep(event);
        break;
      case "private_message":
        this.#keep(event);
        break;
      case "message_edited": {
        const { message: text, sentAt } = event;
        // An edit without its text is followed by another, or the message is gone.
        if (text !== undefined) this.#change(event.of, { message: text, editedAt: sentAt });
        break;
      }
      case "message_deleted":
        this.#change(event.of, { message: "", deletedAt: event.sentAt, deletedBy: event.by, reactions: [] });
        break;
      case "reaction": {
        const { emoji, count, users } = event;
        const reactions = [...(this.#kept.get(event.of)?.reactions ?? [])];
        const at = reactions.findIndex((it) => it.emoji === emoji);
        // In its place, so that what somebody is about to press does not move.
        reactions.splice(at < 0 ? reactions.length : at, at < 0 ? 0 : 1, ...(count ? [{ emoji, count, users }] : []));
        this.#change(event.of, { reactions });
      }
    }
  }

  clear(): void {
    this.#kept.clear();
    this.#sorted = undefined;
  }

  #answered(first: number, seq: number): void {
    const message = this.#kept.get(first);
    if (message?.type !== "chat") return;
    const { count, lastSeq } = message.replies ?? { count: 0, lastSeq: first };
    if (seq > lastSeq) this.#keep({ ...message, replies: { count: count + 1, lastSeq: seq } });
  }

  #change(seq: number, fields: Partial<Message>): void {
    const message = this.#kept.get(seq);
    if (message && message.deletedAt === undefined) this.#keep({ ...message, ...fields } as Message);
  }

  #keep(message: Message): void {
    this.#kept.set(message.seq, message);
    this.#sorted = undefined;
  }
}
