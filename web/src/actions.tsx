/** What opens at a message: what may be done with it, its text to be edited, or whether it is to be deleted. */
import type { TargetedKeyboardEvent, TargetedSubmitEvent } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Chat } from "./chat.js";
import type { Message } from "./messages.js";

export type Open = "actions" | "edit" | "delete";

/** What a message does to the log around it. */
export interface Acts {
  chat: Chat;
  /** Open something at a message, or close what is open. */
  open(seq: number, open: Open | undefined): void;
  /** Go to a message. */
  go(seq: number): void;
}

/** Those that are a press away; any other can be typed. */
const EMOJIS = ["👍", "❤️", "😂", "🎉", "👀"];

interface ActionsProperties {
  message: Message;
  open: Open;
  /** Whether the user moderates the room; undefined where that is not known yet. */
  moderated: boolean | undefined;
  acts: Acts;
}

export function Actions({ message, open, moderated, acts }: ActionsProperties) {
  const { roomId, seq, senderId, deletedAt } = message;
  const { chat } = acts;
  const close = () => acts.open(seq, undefined);
  /** Close once that is done; what was refused stays open, with the words that were typed. */
  const until = async (done: Promise<boolean>) => void ((await done) && close());
  const gone = deletedAt !== undefined;
  const own = senderId === chat.user;
  if (open === "edit" && !gone) return <Edit text={message.message} save={save} close={close} />;
  if (open === "delete" && !gone) {
    return (
      <div class="open" role="group" aria-label="Delete the message?">
        <span>Delete it for everybody?</span>
        <button onClick={close}>Keep</button>
        <button class="bad" onClick={() => until(chat.change({ type: "delete_message", roomId, seq }))}>
          Delete
        </button>
      </div>
    );
  }
  const answer = () => {
    close();
    chat.answer(message);
  };
  const typed = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const emoji = (new FormData(event.currentTarget).get("emoji") as string).trim();
    if (emoji) void until(chat.react(message, emoji));
  };
  return (
    <div class="open" role="group" aria-label="Actions">
      <button onClick={answer}>Answer</button>
      {message.type === "chat" && (message.thread ?? message.replies) !== undefined && !chat.thread && (
        <button onClick={() => chat.follow(message)}>Thread</button>
      )}
      {!gone && own && (
        <>
          <button onClick={() => acts.open(seq, "edit")}>Edit</button>
          <button onClick={() => acts.open(seq, "delete")}>Delete</button>
        </>
      )}
      {!gone && (
        <>
          {EMOJIS.map((emoji) => (
            <button key={emoji} aria-label={`React with ${emoji}`} onClick={() => until(chat.react(message, emoji))}>
              {emoji}
            </button>
          ))}
          <form onSubmit={typed}>
            <label for="emoji">Another emoji</label>
            <input id="emoji" name="emoji" size={4} maxLength={32} autocomplete="off" />
          </form>
        </>
      )}
      {/* At the end: it may come when the others are there, and nothing moves that somebody is about to press. */}
      {!gone && !own && moderated && <button onClick={() => acts.open(seq, "delete")}>Delete</button>}
    </div>
  );

  function save(text: string): void {
    if (text === message.message) close();
    else if (text.trim()) void until(chat.change({ type: "edit_message", roomId, seq, message: text }));
  }
}

/** Enter saves, as it sends elsewhere; with Shift it begins a line. */
function Edit({ text, save, close }: { text: string; save: (text: string) => void; close: () => void }) {
  const field = useRef<HTMLTextAreaElement>(null);
  // Whoever mends a text mostly goes on with it.
  useLayoutEffect(() => field.current!.setSelectionRange(text.length, text.length), []);
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    save(new FormData(event.currentTarget).get("edit") as string);
  };
  const pressed = (event: TargetedKeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    event.currentTarget.form!.requestSubmit();
  };
  return (
    <form class="open" onSubmit={submit}>
      <label for="edit">Edit the message</label>
      <textarea id="edit" name="edit" rows={2} defaultValue={text} ref={field} onKeyDown={pressed} />
      <button>Save</button>
      <button type="button" onClick={close}>
        Cancel
      </button>
    </form>
  );
}
