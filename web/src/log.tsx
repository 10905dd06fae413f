/** What was said in a room, and what one may do with a message: by mouse, by keys, and with a screen reader. */
import { Component, type TargetedKeyboardEvent, type TargetedMouseEvent } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { Actions, type Acts, type Open } from "./actions.js";
import type { Chat, Room } from "./chat.js";
import type { Message } from "./messages.js";

/** Pixels from an end of the log at which one counts as being there. */
const NEAR = 60;
/** Characters of an answered message that are shown above the answer. */
const QUOTED = 80;
/** Key → the message to go to, of so many, from the one at `at`. */
const STEPS: Record<string, (at: number, count: number) => number> = {
  ArrowUp: (at) => at - 1,
  ArrowDown: (at) => at + 1,
  Home: () => 0,
  End: (_, count) => count - 1,
};
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** The message whose parts Tab reaches, by default the newest, and what is open there. */
interface Place {
  seq?: number | undefined;
  open?: Open | undefined;
}

export function Log({ chat, room }: { chat: Chat; room: Room }) {
  const list = useRef<HTMLDivElement>(null);
  const [place, setPlace] = useState<Place>({});
  /** Pixels below what is seen: what is added above does not move it. */
  const below = useRef(0);
  const messages = room.messages.all;
  const first = messages[0]?.seq;
  const shownFirst = useRef(first);
  useLayoutEffect(() => {
    const it = list.current!;
    if (below.current < NEAR) it.scrollTop = it.scrollHeight;
    else if (shownFirst.current !== first) it.scrollTop = it.scrollHeight - it.clientHeight - below.current;
    shownFirst.current = first;
  }, [messages.length, first]);
  const acts = useMemo<Acts>(
    () => ({
      chat,
      open: (seq, open) => {
        if (open) void chat.asModerator(room);
        setPlace({ seq, open });
      },
      go: (seq) => list.current!.querySelector<HTMLElement>(`[data-seq="${seq}"] .more`)?.focus(),
    }),
    [chat, room],
  );
  const scrolled = () => {
    const it = list.current!;
    below.current = it.scrollHeight - it.clientHeight - it.scrollTop;
    if (it.scrollTop < NEAR) chat.earlier(room);
  };
  const focused = ({ target }: FocusEvent) => {
    const seq = Number((target as Element).closest<HTMLElement>("[data-seq]")?.dataset["seq"]);
    if (seq && seq !== place.seq) setPlace({ seq });
  };
  // What is pressed stays under the pointer until it is let go: the focus would close what is open above, and move it.
  const aimed = (event: TargetedMouseEvent<HTMLDivElement>) => {
    if ((event.target as Element).closest(".more, .reaction, .answered")) event.preventDefault();
  };
  const pressed = (event: TargetedKeyboardEvent<HTMLDivElement>) => {
    if (event.key === "Escape") setPlace({ seq: place.seq });
    const step = STEPS[event.key];
    const all = [...event.currentTarget.querySelectorAll<HTMLElement>(".more")];
    const at = all.indexOf(event.target as HTMLElement);
    if (!step || at < 0) return;
    event.preventDefault();
    all[step(at, all.length)]?.focus();
  };
  return (
    <div
      class="log"
      role="log"
      aria-label={`Messages in ${room.title}`}
      tabIndex={0}
      ref={list}
      onScroll={scrolled}
      onFocusIn={focused}
      onMouseDown={aimed}
      onKeyDown={pressed}
    >
      {room.earlier !== undefined && <button onClick={() => chat.earlier(room)}>Earlier messages</button>}
      <Lines room={room} messages={messages} place={place} moderated={room.moderated} acts={acts} />
    </div>
  );
}

/** Drawn anew only where a property has changed: there may be thousands of messages. */
abstract class Still<Properties extends object> extends Component<Properties> {
  override shouldComponentUpdate(next: Properties): boolean {
    return Object.entries(next).some(([name, value]) => this.props[name as keyof Properties] !== value);
  }
}

interface LinesProperties {
  room: Room;
  messages: Message[];
  place: Place;
  moderated: boolean | undefined;
  acts: Acts;
}

class Lines extends Still<LinesProperties> {
  override render() {
    const { room, messages, place, moderated, acts } = this.props;
    const at = place.seq ?? messages.at(-1)?.seq;
    return (
      <ol>
        {messages.map((message) => {
          const { seq } = message;
          const replyTo = message.type === "chat" ? message.replyTo : undefined;
          const open = seq === at ? place.open : undefined;
          const answered = room.messages.at(replyTo);
          const its = { message, answered, open, acts, reached: seq === at, moderated: open && moderated };
          return <Line key={seq} {...its} />;
        })}
      </ol>
    );
  }
}

interface LineProperties {
  message: Message;
  /** The message that it answers, where that is here. */
  answered: Message | undefined;
  /** Whether Tab reaches its parts. */
  reached: boolean;
  open: Open | undefined;
  /** Whether what is open lets the user delete it, whoever has said it. */
  moderated: boolean | undefined;
  acts: Acts;
}

class Line extends Still<LineProperties> {
  #element: HTMLLIElement | null = null;

  /** Whether somebody is here by keys. */
  override getSnapshotBeforeUpdate(): boolean {
    return this.#element!.contains(document.activeElement);
  }

  /** Whoever was here stays here, also where what they were at is gone, unless they have gone on to another message. */
  override componentDidUpdate(before: LineProperties, _: unknown, here: boolean): void {
    const it = this.#element!;
    const { open, reached } = this.props;
    const lost = here && document.activeElement === document.body;
    if (open && open !== before.open) it.querySelector<HTMLElement>(".open :is(button, textarea)")?.focus();
    else if (lost && reached) it.querySelector<HTMLElement>(".more")?.focus();
  }

  override render() {
    const { message, answered, reached, open, moderated, acts } = this.props;
    const { seq, reactions, senderName } = message;
    const at = new Date(message.sentAt);
    const to = message.type === "private_message" ? ` to ${message.targetUserId}` : "";
    const replies = message.type === "chat" ? message.replies?.count : undefined;
    const tabIndex = reached ? 0 : -1;
    return (
      <li data-seq={seq} ref={(it) => void (this.#element = it)}>
        {message.type === "chat" && message.replyTo !== undefined && <Answered {...{ message: answered, tabIndex, acts }} />}
        <p class="head">
          <strong>{senderName + to}</strong> <time dateTime={at.toISOString()}>{clock.format(at)}</time>
          {message.editedAt !== undefined && " (edited)"}
          {replies && ` · ${replies} ${replies === 1 ? "answer" : "answers"}`}
        </p>
        {message.deletedAt === undefined ? (
          <p class="text" id={`text-${seq}`}>
            {message.message}
          </p>
        ) : (
          <p class="gone" id={`text-${seq}`}>
            {message.deletedBy === message.senderId ? "deleted" : "deleted by a moderator"}
          </p>
        )}
        {reactions?.map(({ emoji, count, users }) => (
          <button
            class="reaction"
            key={emoji}
            tabIndex={tabIndex}
            title={users.join(", ")}
            aria-pressed={users.includes(acts.chat.user)}
            onClick={() => void acts.chat.react(message, emoji)}
          >{`${emoji} ${count}`}</button>
        ))}
        <div class="actions" aria-live="off">
          <button
            class="more"
            tabIndex={tabIndex}
            aria-label={`Actions for the message of ${senderName}`}
            aria-describedby={`text-${seq}`}
            aria-expanded={open !== undefined}
            onClick={() => acts.open(seq, open ? undefined : "actions")}
          >
            ⋯
          </button>
          {open && <Actions message={message} open={open} moderated={moderated} acts={acts} />}
        </div>
      </li>
    );
  }
}

/** What a message answers, and the way there. */
function Answered({ message, tabIndex, acts }: { message: Message | undefined; tabIndex: number; acts: Acts }) {
  if (!message) return <p class="answered">In answer to an earlier message</p>;
  const words = message.deletedAt === undefined ? message.message.slice(0, QUOTED) : "deleted";
  return (
    <button class="answered" tabIndex={tabIndex} onClick={() => acts.go(message.seq)}>
      {`In answer to ${message.senderName}: ${words}`}
    </button>
  );
}
