/** The page: who one is, then the chat. Every text is a text node: what people write is never read as HTML. */
import { Component } from "preact";
import { useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { Chat, type Room } from "./chat.js";
import type { Message } from "./messages.js";

/** Pixels from an end of the log at which one counts as being there. */
const NEAR = 60;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export function Page({ url }: { url: string }) {
  const [, changed] = useReducer((count: number, _: void) => count + 1, 0);
  const [chat, setChat] = useState<Chat>();
  if (!chat) return <Entrance enter={async (name) => setChat(await Chat.enter(url, name, () => changed()))} />;
  const state = chat.ended ?? (chat.connected ? "Connected" : "Reconnecting …");
  return (
    <div class="chat">
      <header>
        <h1>roomcast</h1>
        <p role="status" class={chat.connected && !chat.ended ? "good" : "bad"}>
          {state}
        </p>
        <p role="alert">{chat.trouble}</p>
        <p class="me">{chat.user}</p>
      </header>
      <Rooms chat={chat} />
      <main>
        <h2>{chat.shown.title}</h2>
        <Log chat={chat} room={chat.shown} key={chat.shown.id} />
        <p class="writing" aria-live="polite">
          {written([...chat.shown.writing.keys()])}
        </p>
        <Composer chat={chat} key={`say ${chat.shown.id}`} />
      </main>
      {!chat.shown.isInbox && <Members room={chat.shown} />}
    </div>
  );
}

function Entrance({ enter }: { enter: (name: string) => Promise<void> }) {
  const [trouble, setTrouble] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const name = new FormData(event.currentTarget as HTMLFormElement).get("name") as string;
    try {
      await enter(name.trim());
    } catch (error) {
      setTrouble(String(error));
    }
  };
  return (
    <main class="entrance">
      <h1>roomcast</h1>
      <form onSubmit={submit}>
        <label for="name">Your name</label>
        <input id="name" name="name" required maxLength={40} autocomplete="nickname" autofocus />
        <button>Enter</button>
      </form>
      <p role="alert">{trouble}</p>
    </main>
  );
}

function Rooms({ chat }: { chat: Chat }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const room = (new FormData(form).get("room") as string).trim();
    if (room) chat.show(room);
    form.reset();
  };
  return (
    <nav aria-label="Rooms">
      <ul>
        {[...chat.rooms.values()].map((room) => (
          <li key={room.id}>
            <button aria-current={room === chat.shown ? "page" : undefined} onClick={() => chat.show(room.id)}>
              {room.title}
              {room.unread > 0 && <span class="unread">{` ${room.unread} unread`}</span>}
            </button>
          </li>
        ))}
      </ul>
      <form onSubmit={submit}>
        <label for="room">Another room</label>
        <input id="room" name="room" maxLength={64} autocomplete="off" />
      </form>
    </nav>
  );
}

function Log({ chat, room }: { chat: Chat; room: Room }) {
  const list = useRef<HTMLDivElement>(null);
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
  const scrolled = () => {
    const it = list.current!;
    below.current = it.scrollHeight - it.clientHeight - it.scrollTop;
    if (it.scrollTop < NEAR) chat.earlier(room);
  };
  return (
    <div class="log" role="log" aria-label={`Messages in ${room.title}`} tabIndex={0} ref={list} onScroll={scrolled}>
      {room.earlier !== undefined && <button onClick={() => chat.earlier(room)}>Earlier messages</button>}
      <Lines messages={messages} />
    </div>
  );
}

class Lines extends Component<{ messages: Message[] }> {
  override shouldComponentUpdate(next: { messages: Message[] }): boolean {
    return next.messages !== this.props.messages;
  }

  override render({ messages }: { messages: Message[] }) {
    return (
      <ol>
        {messages.map((message) => (
          <Line key={message.seq} message={message} />
        ))}
      </ol>
    );
  }
}

/** A message, drawn anew only where another stands in its place: there may be thousands of them. */
class Line extends Component<{ message: Message }> {
  override shouldComponentUpdate(next: { message: Message }): boolean {
    return next.message !== this.props.message;
  }

  override render({ message }: { message: Message }) {
    const at = new Date(message.sentAt);
    const to = message.type === "private_message" ? ` to ${message.targetUserId}` : "";
    return (
      <li>
        <p class="head">
          <strong>{message.senderName + to}</strong> <time dateTime={at.toISOString()}>{clock.format(at)}</time>
          {message.editedAt !== undefined && " (edited)"}
        </p>
        {message.deletedAt === undefined ? <p class="text">{message.message}</p> : <p class="gone">deleted</p>}
        {message.reactions?.map((it) => (
          <span class="reaction" key={it.emoji} title={it.users.join(", ")}>{`${it.emoji} ${it.count}`}</span>
        ))}
      </li>
    );
  }
}

function Composer({ chat }: { chat: Chat }) {
  const [trouble, setTrouble] = useState("");
  const { isInbox } = chat.shown;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const said = new FormData(form);
    const text = said.get("text") as string;
    const to = (said.get("to") as string | null)?.trim();
    if (!text.trim()) return;
    (form.elements.namedItem("text") as HTMLInputElement).value = "";
    setTrouble("");
    try {
      await chat.say(text, to);
    } catch (error) {
      setTrouble(String(error));
    }
  };
  return (
    <form class="composer" onSubmit={submit}>
      {isInbox && (
        <>
          <label for="to">To</label>
          <input id="to" name="to" required maxLength={64} autocomplete="off" />
        </>
      )}
      <label for="text">Message</label>
      <input id="text" name="text" autocomplete="off" onInput={() => chat.writing()} autofocus />
      <button>Send</button>
      <p role="alert">{trouble}</p>
    </form>
  );
}

function Members({ room }: { room: Room }) {
  const sorted = room.members.toSorted((one, other) => one.username.localeCompare(other.username));
  return (
    <aside aria-label="Members">
      <h2>Here</h2>
      <ul>
        {sorted.map(({ userId, username, status }) => (
          <li key={userId}>
            {username} <span class={`status ${status}`}>{status}</span>
          </li>
        ))}
      </ul>
    </aside>
  );
}

function written(names: string[]): string {
  if (!names.length) return "";
  return `${names.join(", ")} ${names.length === 1 ? "is" : "are"} writing …`;
}
