"""`roomcast chat`: a room in a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET

from client.connection import Connection, Page, connect
from client.errors import ClientError, RequestRefused
from client.events import Missed, Released
from client.messages import Message, Messages
from domain.events import (
    Banned,
    Chat,
    Error,
    Kicked,
    MemberSummary,
    MessageDeleted,
    MessageEdited,
    Muted,
    NoticesSet,
    PresenceChanged,
    PrivateMessage,
    Reacted,
    RoleSet,
    RoomChanged,
    RoomDeleted,
    RoomStats,
    Unbanned,
    Unmuted,
    UserJoined,
    UserLeft,
    UserStatus,
    Welcome,
)
from domain.policy import ROLES, VISIBILITIES
from domain.protocol import Status
from domain.requests import (
    Ban,
    CreateRoom,
    DeleteMessage,
    EditMessage,
    Kick,
    Mute,
    React,
    SetNotices,
    SetRole,
    Unban,
    Unmute,
)

__all__ = ["COMMANDS", "HELP", "talk"]

ANSWER_WITHIN = 10.0
"""Seconds before the user is told that an answer takes its time."""
IDLE_AFTER = 300.0
"""Seconds without a line after which who sits at a terminal is away."""
HISTORY = 20
"""Entries that /history and /inbox show, and messages that /search does."""
SEARCH_PAGES = 20
"""Pages that one /search asks for: some 30,000 entries, which an answer has time for."""
MARK_EVERY = 1.0
"""Seconds between two times that the service is told what has been read."""
HELP = """\
TEXT or /chat TEXT  say it in the room you are in; @USER tells them of it if they are away
/private USER TEXT  say it to one user
/rooms              list the rooms, how many are in each, and what you have not read
/members            list who is in the room you are in, and how they are
/away, /busy, /back say how you are; who types nothing for five minutes is away
/join ROOM          go to a room, and follow it from now on
/leave              follow the room you are in no longer
/history [N]        show its last messages
/search WORDS       show the newest messages with all of WORDS; /search alone goes on from there
/reply SEQ TEXT     answer a message; SEQ is the number that /history shows
/edit SEQ TEXT      let a message of yours say something else
/delete SEQ         take a message of yours away, or as a moderator anybody's
/react SEQ EMOJI    react to a message; once more takes it back
/inbox [N]          show the last private messages
/create ROOM [KIND] make a room and go there; KIND: public, private or hidden
/role USER ROLE     let USER into the room, or be more or less there: guest, member, moderator, owner, none
/kick USER [WHY]    end USER's connections in the room
/ban USER [SECONDS] keep USER out; /unban USER
/mute USER [SECONDS] let USER write nothing; /unmute USER
/notices [on | off] whether you are told elsewhere of what is said to you while you are away
/quit               end"""
NO_ROOM = "! you are in no room; /join ROOM"


def talk(*, url: str, room: str, user: str | None, name: str | None, token: str | None) -> None:
    """Until the user leaves. Raises `ClientError` when there is no service, or it refuses."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_talk(connect(url, room=room, user=user, name=name, token=token), room))


async def _talk(connection: Connection, room: str) -> None:
    async with connection as me:
        terminal = _Terminal(me, room)
        tasks = {asyncio.create_task(it) for it in (terminal.listen(), terminal.obey(_lines()), terminal.mark())}
        if sys.stdin.isatty():
            tasks.add(asyncio.create_task(terminal.doze()))
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()


class _Terminal:
    def __init__(self, me: Connection, room: str) -> None:
        self._me = me
        self._room: str | None = room
        self._user = ""
        self._counts: dict[str, int] = {}
        """Room → how many are in it, as last shown."""
        self._messages = Messages()
        self._reacted: set[tuple[str, int, str]] = set()
        """(room, seq, emoji) of the user's own reactions that were seen, and not taken back."""
        self._shown: dict[str, int] = {}
        """Room → the seq up to which it was shown since the service was told."""
        self._shows = asyncio.Event()
        self._search: _Search | None = None
        """What /search alone goes on with."""
        self._unseen = 0
        """Private messages from before, which only /inbox shows: until then the inbox is not marked."""
        self._statuses: dict[str, UserStatus] = {}
        """User → how they are, as last heard."""
        self._status: Status = "online"
        """What the user has said of themselves here."""
        self._typed = asyncio.Event()

    async def listen(self) -> None:
        """Show what happens."""
        async for event in self._me.events():
            self._messages.apply(event)
            line = self._line(event)
            if line is not None:
                _show(line)

    async def mark(self) -> None:
        """Say that what was shown is read: at once, and then once a second."""
        while True:
            await self._shows.wait()
            self._shows.clear()
            shown, self._shown = self._shown, {}
            for room, seq in shown.items():
                self._me.read(room, seq)
            await asyncio.sleep(MARK_EVERY)

    async def obey(self, lines: AsyncIterator[str]) -> None:
        """Do what the user types, one after the other, until /quit or the end of the input."""
        async for line in lines:
            self._typed.set()
            text = line.strip()
            if text == "/quit":
                return
            if text:
                await self._do(text)

    async def doze(self, after: float = IDLE_AFTER) -> None:
        """Be away when nobody has typed for so many seconds, and back with the next line."""
        while True:
            self._typed.clear()
            try:
                async with asyncio.timeout(after):
                    await self._typed.wait()
            except TimeoutError:
                if self._status != "online":
                    continue
                with suppress(ClientError):
                    await self._me.presence("away")
                    await self._typed.wait()
                    if self._status == "online":  # the line that was typed says nothing else
                        await self._me.presence("online")

    async def _do(self, text: str) -> None:
        word, _, rest = text.partition(" ") if text.startswith("/") else ("/chat", "", text)
        command = COMMANDS.get(word)
        if command is None:
            _show(f"! there is no {word}; /help lists the commands")
            return
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                await command(self, rest.strip())
        except TimeoutError:
            _show(f"! no answer to {word} yet; it is sent again until there is one")
        except RequestRefused as error:
            _show(f"! {error.message} ({error.code})")
        except ClientError as error:
            _show(f"! {error}")

    async def _chat(self, text: str) -> None:
        if self._room is None:
            _show(NO_ROOM)
        elif text:
            await self._me.send(self._room, text, mentions=_mentioned(text))

    async def _private(self, rest: str) -> None:
        user, _, text = rest.partition(" ")
        if not text.strip():
            _show("! to whom, and what? /private USER TEXT")
            return
        ack = await self._me.send_private(user, text.strip())
        if ack.online is False:
            _show(f"* {user} is not here; they find it when they are")

    async def _rooms(self, _: str) -> None:
        rooms = await self._me.rooms()
        for it in rooms:
            title = f"  {it.title}" if it.title != it.room_id else ""
            unread = f", {it.unread} unread" if it.unread else ""
            _show(f"* {it.room_id}: {it.active_users} here{unread}{title}")
        if not rooms:
            _show("* there are no rooms")

    async def _members(self, _: str) -> None:
        if self._room is None:
            _show(NO_ROOM)
            return
        members = await self._me.members(self._room)
        _show(f"* in {self._room}: {', '.join(map(_named, members))}")

    async def _away(self, _: str) -> None:
        await self._be("away")

    async def _busy(self, _: str) -> None:
        await self._be("busy")

    async def _back(self, _: str) -> None:
        await self._be("online")

    async def _be(self, status: Status) -> None:
        self._status = status
        own = await self._me.presence(status)
        if own.status != status:
            _show(f"* on another device you are {own.status}, which counts")

    async def _join(self, room: str) -> None:
        if not room:
            _show("! which room? /join ROOM")
            return
        joined = await self._me.join(room)
        self._room = joined.room_id
        _show(f"* you are in {joined.room_id}, where {joined.head} messages have been said")

    async def _leave(self, _: str) -> None:
        if self._room is None:
            _show("! you are in no room")
            return
        room, self._room = self._room, None
        await self._me.leave(room)
        _show(f"* you have left {room}")

    async def _history(self, count: str) -> None:
        if self._room is None:
            _show(NO_ROOM)
            return
        page = await self._page("/history", self._room, count)
        if page is not None and not page.events:
            _show(f"* nothing has been said in {self._room} yet")

    async def _look(self, words: str) -> None:
        if self._room is None:
            _show(NO_ROOM)
            return
        search = _Search(self._room, words, None) if words else self._search
        if search is None:
            _show("! for what? /search WORDS")
            return
        found, cursor = 0, search.cursor
        for _ in range(SEARCH_PAGES):
            page = await self._me.search_page(search.room, search.words, cursor=cursor, limit=HISTORY - found)
            for it in page.messages:
                _show(
                    f"{it.seq:>5}  {_at(it)}  {self._whispered(it) if isinstance(it, PrivateMessage) else _shown(it)}"
                )
            found, cursor = found + len(page.messages), page.next
            self._search = None if cursor is None else _Search(search.room, search.words, cursor)
            if cursor is None or found >= HISTORY:
                break
        so_far = "that is all" if cursor is None else f"/search alone looks further back, below {cursor}"
        _show(f"* {found or 'no'} message{'s' * (found != 1)} with “{search.words}” in {search.room}; {so_far}")

    async def _inbox(self, count: str) -> None:
        page = await self._page("/inbox", f"inbox#{self._user}", count)
        if page is None:
            return
        self._unseen = 0
        if not page.events:
            _show("* nobody has written to you yet")

    async def _page(self, command: str, room: str, count: str) -> Page | None:
        """Show the last messages of a room, or of the inbox; None where that is not what was asked for."""
        if count and not (count.isdecimal() and 1 <= int(count) <= 100):
            _show(f"! {command} takes a number from 1 to 100")
            return None
        page = await self._me.history(room, limit=int(count or HISTORY))
        for event in page.events:
            if isinstance(event, Chat):
                _show(f"{event.seq:>5}  {_shown(event)}")
            elif isinstance(event, PrivateMessage):
                _show(f"{event.seq:>5}  {self._whispered(event)}")
        self._has_shown(room, page.head)
        return page

    async def _reply(self, rest: str) -> None:
        about = self._message(rest, "/reply SEQ TEXT")
        if about is not None:
            await self._me.send(about.room, about.rest, reply_to=about.seq, mentions=_mentioned(about.rest))

    async def _edit(self, rest: str) -> None:
        about = self._message(rest, "/edit SEQ TEXT")
        if about is not None:
            await self._me.ask(EditMessage(room_id=about.room, seq=about.seq, message=about.rest))

    async def _delete(self, rest: str) -> None:
        about = self._message(f"{rest} -", "/delete SEQ")
        if about is not None:
            await self._me.ask(DeleteMessage(room_id=about.room, seq=about.seq))

    async def _react(self, rest: str) -> None:
        about = self._message(rest, "/react SEQ EMOJI")
        if about is not None:
            given = (about.room, about.seq, about.rest) in self._reacted
            await self._me.ask(React(room_id=about.room, seq=about.seq, emoji=about.rest, remove=given))

    def _message(self, rest: str, usage: str) -> _About | None:
        """What a command is about; None, once the user was told, where that can't be read."""
        seq, _, more = rest.partition(" ")
        if self._room is None:
            _show(NO_ROOM)
        elif not (seq.isdecimal() and len(seq) <= 15 and more.strip()):
            _show(f"! which message, and what? {usage}; /history shows the numbers")
        else:
            return _About(self._room, int(seq), more.strip())
        return None

    async def _create(self, rest: str) -> None:
        room, _, kind = rest.partition(" ")
        visibility = next((it for it in VISIBILITIES if it == kind), None)
        if kind and visibility is None:
            _show("! a room is public, private or hidden: /create ROOM private")
            return
        await self._me.ask(CreateRoom(room_id=room, visibility=visibility))
        await self._join(room)

    async def _role(self, rest: str) -> None:
        user, _, role = rest.partition(" ")
        if role not in {*ROLES, "none"}:
            _show(f"! which role? /role USER {' | '.join([*ROLES, 'none'])}")
            return
        await self._moderate(SetRole, user, role=role)

    async def _kick(self, rest: str) -> None:
        user, _, reason = rest.partition(" ")
        await self._moderate(Kick, user, reason=reason.strip() or None)

    async def _ban(self, rest: str) -> None:
        await self._for_a_while(Ban, rest)

    async def _unban(self, user: str) -> None:
        await self._moderate(Unban, user)

    async def _mute(self, rest: str) -> None:
        await self._for_a_while(Mute, rest)

    async def _unmute(self, user: str) -> None:
        await self._moderate(Unmute, user)

    async def _for_a_while(self, kind: type[Ban | Mute], rest: str) -> None:
        user, _, seconds = rest.partition(" ")
        if seconds and not seconds.isdecimal():
            _show("! for how many seconds? Without a number it is for good")
            return
        await self._moderate(kind, user, seconds=int(seconds) if seconds else None)

    async def _moderate(
        self, kind: type[SetRole | Kick | Ban | Unban | Mute | Unmute], user: str, **fields: Any
    ) -> None:
        if self._room is None:
            _show(NO_ROOM)
            return
        if not user:
            _show("! whom? Name a user id; /members shows them")
            return
        await self._me.ask(kind(room_id=self._room, user_id=user, **fields))

    async def _notices(self, word: str) -> None:
        if word not in {"", "on", "off"}:
            _show("! /notices on, or /notices off; without a word it says which")
            return
        stands = await self._me.ask(SetNotices(enabled={"on": True, "off": False}.get(word)))
        if isinstance(stands, NoticesSet):
            _show(f"* notices of what is said to you while you are away are {'on' if stands.enabled else 'off'}")

    async def _help(self, _: str) -> None:
        for line in HELP.splitlines():
            _show(line)

    # ---- what others do, as a line; None for what is not shown

    def _line(self, event: Released) -> str | None:
        line = _LINES.get(type(event))
        return line(self, event) if line is not None else None

    def _has_shown(self, room: str, seq: int) -> None:
        if seq > self._shown.get(room, 0):
            self._shown[room] = seq
            self._shows.set()

    def _chatted(self, chat: Chat) -> str | None:
        self._has_shown(chat.room_id, chat.seq)
        own = chat.sender_id == self._user
        return None if own else f"{self._place(chat.room_id)}{chat.sender_name}: {chat.message}"

    def _came_in(self, private: PrivateMessage) -> str:
        if not self._unseen:
            self._has_shown(private.room_id, private.seq)
        return self._whispered(private)

    def _whispered(self, private: PrivateMessage) -> str:
        # What this terminal sent does not come back: an own message is from another device.
        own = private.sender_id == self._user
        who = f"you to {private.target_user_id}" if own else private.sender_name
        return f"(private) {who}: {private.message}"

    def _edited(self, event: MessageEdited) -> str | None:
        if event.message is UNSET or event.by == self._user:
            return None
        return f"* {self._place(event.room_id)}message {event.of} by {event.by} says now: {event.message}"

    def _deleted_message(self, event: MessageDeleted) -> str:
        return f"* {self._place(event.room_id)}message {event.of} was deleted (by {event.by})"

    def _reacted_to(self, event: Reacted) -> str:
        if event.user_id == self._user:
            own = event.room_id, event.of, event.emoji
            (self._reacted.discard if event.removed else self._reacted.add)(own)
        message = self._messages.get(event.room_id, event.epoch, event.of)
        about = f"message {event.of}" if message is None else f"message {event.of}, {_shown(message)}"
        deed = "takes back" if event.removed else "reacts"
        return f"* {self._place(event.room_id)}{event.user_id} {deed} {event.emoji} to {about}"

    def _came(self, event: UserJoined) -> str | None:
        return self._moved(event, "joined")

    def _went(self, event: UserLeft) -> str | None:
        return self._moved(event, "left")

    def _moved(self, event: UserJoined | UserLeft, word: str) -> str | None:
        own = event.user_id == self._user
        return None if own else f"* {self._place(event.room_id)}{event.username} has {word}"

    def _changed(self, room: RoomChanged) -> str:
        slow = f", {room.slow_mode} s between messages" if room.slow_mode else ""
        kept = f", kept for {room.retention} s" if room.retention else ""
        return f"* {room.room_id} is {room.visibility}, “{room.title}”{slow}{kept} (by {room.by})"

    def _deleted(self, room: RoomDeleted) -> str:
        return f"* {room.room_id} has ended (by {room.by})"

    def _ruled(self, event: Any) -> str:
        what = f"is now {event.role}" if isinstance(event, RoleSet) else f"was {event.type}"
        return f"* {self._place(event.room_id)}{event.user_id} {what} (by {event.by})"

    def _were(self, event: PresenceChanged) -> str | None:
        """Who is away or busy, or is so no longer; that somebody came or went, is shown by itself."""
        news = []
        for it in event.members:
            before = self._statuses.get(it.user_id)
            if before is not None and before.since >= it.since:
                continue
            self._statuses[it.user_id] = it
            was = before.status if before is not None else "online"
            if it.status in {"away", "busy"}:
                news.append(f"{it.user_id} is {it.status}")
            elif it.status == "online" and was in {"away", "busy"}:
                news.append(f"{it.user_id} is back")
        return f"* {', '.join(news)}" if news else None

    def _counted(self, stats: RoomStats) -> str | None:
        if self._counts.get(stats.room_id) == stats.active_users:
            return None
        self._counts[stats.room_id] = stats.active_users
        return f"* {self._place(stats.room_id)}{stats.active_users} are here"

    def _welcomed(self, welcome: Welcome) -> str | None:
        if self._user:
            return None
        self._user, self._unseen = welcome.user_id, welcome.inbox.unread
        messages = "message" if self._unseen == 1 else "messages"
        waiting = f" {self._unseen} unread private {messages}: /inbox." if self._unseen else ""
        return f"* {welcome.message} You are {welcome.user_id}; /help lists the commands.{waiting}"

    def _missed(self, missed: Missed) -> str:
        return f"* messages {missed.first} to {missed.last} of {missed.room_id} are lost"

    def _refused(self, error: Error) -> str:
        return f"! {error.message} ({error.code})"

    def _place(self, room: str) -> str:
        return "" if room == self._room else f"[{room}] "


@dataclass(frozen=True, slots=True)
class _About:
    room: str
    seq: int
    rest: str


@dataclass(frozen=True, slots=True)
class _Search:
    room: str
    words: str
    cursor: int | None
    """Below which seq it goes on; None: from the newest message."""


def _at(message: Message) -> str:
    """When it was said, by this machine's clock and place."""
    return f"{datetime.fromtimestamp(message.sent_at / 1000, UTC).astimezone():%Y-%m-%d %H:%M}"


def _mentioned(text: str) -> list[str]:
    """The user ids behind an `@` that begins a word; the first twenty."""
    found = (it.rstrip(".:-") for it in re.findall(r"(?<!\S)@([A-Za-z0-9_.:-]{1,64})(?![A-Za-z0-9_.:-])", text))
    return list(dict.fromkeys(it for it in found if it))[:20]


def _shown(message: Message) -> str:
    """A message as it is by now."""
    if message.deleted_at is not UNSET:
        return f"{message.sender_name}: (deleted by {message.deleted_by})"
    answers = "" if not isinstance(message, Chat) or message.reply_to is UNSET else f"(to {message.reply_to}) "
    edited = "" if message.edited_at is UNSET else " (edited)"
    reactions = "" if message.reactions is UNSET else "".join(f"  {it.emoji} {it.count}" for it in message.reactions)
    return f"{message.sender_name}: {answers}{message.message}{edited}{reactions}"


async def _lines() -> AsyncIterator[str]:
    """The lines of standard input, whatever it is: only a thread can wait for a terminal, a pipe and a file alike."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        rest = b""
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            while chunk := os.read(sys.stdin.fileno(), 65_536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(queue.put_nowait, line.decode("utf-8", "replace"))
            loop.call_soon_threadsafe(queue.put_nowait, rest.decode("utf-8", "replace"))
            loop.call_soon_threadsafe(queue.put_nowait, None)

    # A daemon: nothing can end a read of a terminal, and the program must not wait for one.
    threading.Thread(target=read, daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line


def _named(member: MemberSummary) -> str:
    """A member as /members lists them: `Ada (ada) is away`."""
    name = member.user_id if member.username == member.user_id else f"{member.username} ({member.user_id})"
    return name if member.status == "online" else f"{name} is {member.status}"


def _show(line: str) -> None:
    """Print a line. What others wrote must not steer this terminal."""
    print("".join(it if it.isprintable() else "\N{REPLACEMENT CHARACTER}" for it in line), flush=True)


COMMANDS: dict[str, Callable[[_Terminal, str], Awaitable[None]]] = {
    "/chat": _Terminal._chat,
    "/private": _Terminal._private,
    "/rooms": _Terminal._rooms,
    "/members": _Terminal._members,
    "/join": _Terminal._join,
    "/leave": _Terminal._leave,
    "/history": _Terminal._history,
    "/search": _Terminal._look,
    "/reply": _Terminal._reply,
    "/edit": _Terminal._edit,
    "/delete": _Terminal._delete,
    "/react": _Terminal._react,
    "/inbox": _Terminal._inbox,
    "/create": _Terminal._create,
    "/role": _Terminal._role,
    "/kick": _Terminal._kick,
    "/ban": _Terminal._ban,
    "/unban": _Terminal._unban,
    "/mute": _Terminal._mute,
    "/unmute": _Terminal._unmute,
    "/notices": _Terminal._notices,
    "/help": _Terminal._help,
    "/away": _Terminal._away,
    "/busy": _Terminal._busy,
    "/back": _Terminal._back,
}
_LINES: dict[type, Callable[[_Terminal, Any], str | None]] = {
    Chat: _Terminal._chatted,
    PrivateMessage: _Terminal._came_in,
    UserJoined: _Terminal._came,
    UserLeft: _Terminal._went,
    RoomStats: _Terminal._counted,
    RoomChanged: _Terminal._changed,
    RoomDeleted: _Terminal._deleted,
    **dict.fromkeys((RoleSet, Kicked, Banned, Unbanned, Muted, Unmuted), _Terminal._ruled),
    Welcome: _Terminal._welcomed,
    Missed: _Terminal._missed,
    Error: _Terminal._refused,
    MessageEdited: _Terminal._edited,
    MessageDeleted: _Terminal._deleted_message,
    Reacted: _Terminal._reacted_to,
    PresenceChanged: _Terminal._were,
}
