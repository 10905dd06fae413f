/** The page: who one is, then the chat. Every text is a text node: what people write is never read as HTML. */
import type { Status } from "roomcast";
import { useLayoutEffect, useReducer, useRef, useState } from "preact/hooks";
import { Chat, type Room } from "./chat.js";
import { Entrance, type Who } from "./entrance.js";
import { Log } from "./log.js";

const STATUSES: Status[] = ["online", "away", "busy"];

/** `dashboard`: where the twin's is; a deployment has none. */
export function Page({ url, byToken, dashboard }: { url: string; byToken: boolean; dashboard: string | undefined }) {
  const [, changed] = useReducer((count: number, _: void) => count + 1, 0);
  const [chat, setChat] = useState<Chat>();
  if (!chat) {
    const enter = async (who: Who) => setChat(await Chat.enter(url, who, () => changed()));
    return <Entrance byToken={byToken} enter={enter} dashboard={dashboard} />;
  }
  const shown = chat.thread ?? chat.shown;
  const state = chat.ended ?? (chat.connected ? "Connected" : "Reconnecting …");
  return (
    <div class="chat">
      <header>
        <h1>roomcast</h1>
        <p role="status" class={chat.connected && !chat.ended ? "good" : "bad"}>
          {state}
        </p>
        <p role="alert">{chat.trouble}</p>
        {dashboard && <a href={dashboard}>Dashboard</a>}
        <p class="me">
          <label for="status">{`${chat.user} is `}</label>
          <select id="status" onChange={(event) => chat.be(event.currentTarget.value as Status)}>
            {STATUSES.map((it) => (
              <option key={it} selected={it === chat.status}>
                {it}
              </option>
            ))}
          </select>
        </p>
      </header>
      <Rooms chat={chat} />
      <main>
        <h2>{shown.title}</h2>
        {chat.thread && <button onClick={() => chat.follow(undefined)}>{`Back to all of ${chat.shown.title}`}</button>}
        <Log chat={chat} room={shown} key={`${shown.id} ${shown.thread}`} />
        <p class="writing" aria-live="polite">
          {written([...chat.shown.writing.keys()])}
        </p>
        <Composer chat={chat} key={`say ${chat.shown.id} ${chat.to}`} />
      </main>
      {!chat.shown.isInbox && <Members chat={chat} room={chat.shown} />}
    </div>
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
              {room.unread(chat.user) > 0 && <span class="unread">{` ${room.unread(chat.user)} unread`}</span>}
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

function Composer({ chat }: { chat: Chat }) {
  const [trouble, setTrouble] = useState("");
  const field = useRef<HTMLInputElement>(null);
  const { answering, to, chosen } = chat;
  const { isInbox } = chat.shown;
  const before = useRef(chosen);
  // Whoever has chosen what to answer, to whom to write, or what to see, goes on here.
  useLayoutEffect(() => {
    if (answering || to || chosen !== before.current) field.current!.focus();
    before.current = chosen;
  }, [chosen, to]);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const said = new FormData(form);
    const text = said.get("text") as string;
    if (!text.trim()) return;
    field.current!.value = "";
    setTrouble("");
    try {
      await chat.say(text, (said.get("to") as string | null)?.trim());
    } catch (error) {
      setTrouble(String(error));
      if (field.current?.value === "") field.current.value = text;
    }
  };
  const stop = () => {
    chat.answer(undefined);
    field.current!.focus();
  };
  return (
    <form class="composer" onSubmit={submit} onKeyDown={(event) => event.key === "Escape" && answering && stop()}>
      {answering && (
        <p class="answering" id="answering">
          <span>{`In answer to ${answering.senderName}: ${answering.message}`}</span>
          <button type="button" onClick={stop}>
            Cancel
          </button>
        </p>
      )}
      {isInbox && (
        <>
          <label for="to">To</label>
          <input id="to" name="to" required maxLength={64} autocomplete="off" defaultValue={to} />
        </>
      )}
      <label for="text">Message</label>
      <input
        id="text"
        name="text"
        autocomplete="off"
        aria-describedby={answering && "answering"}
        ref={field}
        onInput={() => chat.writing()}
        autofocus
      />
      <button>Send</button>
      <p role="alert">{trouble}</p>
    </form>
  );
}

function Members({ chat, room }: { chat: Chat; room: Room }) {
  const sorted = room.members.toSorted((one, other) => one.username.localeCompare(other.username));
  return (
    <aside aria-label="Members">
      <h2>Here</h2>
      <ul>
        {sorted.map(({ userId, username, status }) => (
          <li key={userId}>
            {username} <span class={`status ${status}`}>{status}</span>
            {userId !== chat.user && (
              <button aria-label={`Write to ${username}`} onClick={() => chat.write(userId)}>
                Write
              </button>
            )}
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
