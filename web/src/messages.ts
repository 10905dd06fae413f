/** The messages of a room as they are by now: what entries of its log, applied in whatever order, come to. */
import type { Chat, PrivateMessage, Released } from "roomcast";

export type Message = Chat | PrivateMessage;

/** By seq, of one room or inbox. What is done to a message that is not here is dropped: whoever reads it sees it done. */
export class Messages {
  readonly #kept = new Map<number, Message>();

  /** Oldest first. */
  get all(): Message[] {
    return [...this.#kept.values()].sort((one, other) => one.seq - other.seq);
  }

  get last(): number {
    return Math.max(0, ...this.#kept.keys());
  }

  apply(event: Released): void {
    switch (event.type) {
      case "chat":
      case "private_message":
        this.#kept.set(event.seq, event);
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
        const others = (this.#kept.get(event.of)?.reactions ?? []).filter((it) => it.emoji !== emoji);
        this.#change(event.of, { reactions: count ? [...others, { emoji, count, users }] : others });
      }
    }
  }

  clear(): void {
    this.#kept.clear();
  }

  #change(seq: number, fields: Partial<Message>): void {
    const message = this.#kept.get(seq);
    if (message && message.deletedAt === undefined) this.#kept.set(seq, { ...message, ...fields } as Message);
  }
}
