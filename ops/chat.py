"""`roomcast chat`: a room in a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from client.connection import Connection, connect
from client.errors import ClientError, RequestRefused
from client.events import Missed, Released
from domain.events import (
    Banned,
    Chat,
    Error,
    Kicked,
    MemberSummary,
    Muted,
    PresenceChanged,
    PrivateMessage,
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
from domain.requests import Ban, CreateRoom, Kick, Mute, SetRole, Unban, Unmute

__all__ = ["talk"]

ANSWER_WITHIN = 10.0
"""Seconds before the user is told that an answer takes its time."""
IDLE_AFTER = 300.0
"""Seconds without a line after which who sits at a terminal is away."""
HISTORY = 20
"""Entries that /history shows."""
HELP = """\
TEXT or /chat TEXT  say it in the room you are in
/private USER TEXT  say it to one user
/rooms              list the rooms, and how many are in each
/members            list who is in the room you are in, and how they are
/away, /busy, /back say how you are; who types nothing for five minutes is away
/join ROOM          go to a room, and follow it from now on
/leave              follow the room you are in no longer
/history [N]        show its last messages
/create ROOM [KIND] make a room and go there; KIND: public, private or hidden
/role USER ROLE     let USER into the room, or be more or less there: guest, member, moderator, owner, none
/kick USER [WHY]    end USER's connections in the room
/ban USER [SECONDS] keep USER out; /unban USER
/mute USER [SECONDS] let USER write nothing; /unmute USER
/quit               end"""
NO_ROOM = "! you are in no room; /join ROOM"


def talk(*, url: str, room: str, user: str | None, name: str | None, token: str | None) -> None:
    """Until the user leaves. Raises `ClientError` when there is no service, or it refuses."""
    with suppress(KeyboardInterrupt):
        asyncio.run(_talk(connect(url, room=room, user=user, name=name, token=token), room))


async def _talk(connection: Connection, room: str) -> None:
    async with connection as me:
        terminal = _Terminal(me, room)
        tasks = {asyncio.create_task(terminal.listen()), asyncio.create_task(terminal.obey(_lines()))}
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
        self._statuses: dict[str, UserStatus] = {}
        """User → how they are, as last heard."""
        self._status: Status = "online"
        """What the user has said of themselves here."""
        self._typed = asyncio.Event()

    async def listen(self) -> None:
        """Show what happens."""
        async for event in self._me.events():
            line = self._line(event)
            if line is not None:
                _show(line)

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
        command = _COMMANDS.get(word)
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
            await self._me.send(self._room, text)

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
            _show(f"* {it.room_id}: {it.active_users} here{title}")
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
        elif count and not (count.isdecimal() and 1 <= int(count) <= 100):
            _show("! /history takes a number from 1 to 100")
        else:
            page = await self._me.history(self._room, limit=int(count or HISTORY))
            for event in page.events:
                if isinstance(event, Chat):
                    _show(f"{event.seq:>5}  {event.sender_name}: {event.message}")
            if not page.events:
                _show(f"* nothing has been said in {self._room} yet")

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

    async def _help(self, _: str) -> None:
        for line in HELP.splitlines():
            _show(line)

    # ---- what others do, as a line; None for what is not shown

    def _line(self, event: Released) -> str | None:
        line = _LINES.get(type(event))
        return line(self, event) if line is not None else None

    def _chatted(self, chat: Chat) -> str | None:
        own = chat.sender_id == self._user
        return None if own else f"{self._place(chat.room_id)}{chat.sender_name}: {chat.message}"

    def _whispered(self, private: PrivateMessage) -> str:
        # What this terminal sent does not come back: an own message is from another device.
        own = private.sender_id == self._user
        who = f"you to {private.target_user_id}" if own else private.sender_name
        return f"(private) {who}: {private.message}"

    def _came(self, event: UserJoined) -> str | None:
        return self._moved(event, "joined")

    def _went(self, event: UserLeft) -> str | None:
        return self._moved(event, "left")

    def _moved(self, event: UserJoined | UserLeft, word: str) -> str | None:
        own = event.user_id == self._user
        return None if own else f"* {self._place(event.room_id)}{event.username} has {word}"

    def _changed(self, room: RoomChanged) -> str:
        slow = f", {room.slow_mode} s between messages" if room.slow_mode else ""
        return f"* {room.room_id} is {room.visibility}, “{room.title}”{slow} (by {room.by})"

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
        first = not self._user
        self._user = welcome.user_id
        return f"* {welcome.message} You are {welcome.user_id}; /help lists the commands." if first else None

    def _missed(self, missed: Missed) -> str:
        return f"* messages {missed.first} to {missed.last} of {missed.room_id} are lost"

    def _refused(self, error: Error) -> str:
        return f"! {error.message} ({error.code})"

    def _place(self, room: str) -> str:
        return "" if room == self._room else f"[{room}] "


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


_COMMANDS: dict[str, Callable[[_Terminal, str], Awaitable[None]]] = {
    "/chat": _Terminal._chat,
    "/private": _Terminal._private,
    "/rooms": _Terminal._rooms,
    "/members": _Terminal._members,
    "/join": _Terminal._join,
    "/leave": _Terminal._leave,
    "/history": _Terminal._history,
    "/create": _Terminal._create,
    "/role": _Terminal._role,
    "/kick": _Terminal._kick,
    "/ban": _Terminal._ban,
    "/unban": _Terminal._unban,
    "/mute": _Terminal._mute,
    "/unmute": _Terminal._unmute,
    "/help": _Terminal._help,
    "/away": _Terminal._away,
    "/busy": _Terminal._busy,
    "/back": _Terminal._back,
}
_LINES: dict[type, Callable[[_Terminal, Any], str | None]] = {
    Chat: _Terminal._chatted,
    PrivateMessage: _Terminal._whispered,
    UserJoined: _Terminal._came,
    UserLeft: _Terminal._went,
    RoomStats: _Terminal._counted,
    RoomChanged: _Terminal._changed,
    RoomDeleted: _Terminal._deleted,
    **dict.fromkeys((RoleSet, Kicked, Banned, Unbanned, Muted, Unmuted), _Terminal._ruled),
    Welcome: _Terminal._welcomed,
    Missed: _Terminal._missed,
    Error: _Terminal._refused,
    PresenceChanged: _Terminal._were,
}
