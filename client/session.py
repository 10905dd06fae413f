"""A client's side of the conversation: frames in, events and frames out. No socket, no clock, no chance of its own.

1. Requests carry a `clientId`; a request without an answer is sent again with the same one: after a reconnect, after
   `ROOM_BUSY`, `RATE_LIMITED`, `INTERNAL` or API Gateway's own error, and when no answer comes in time. It is carried
   out once.
2. Joins, leaves and messages of a room stand in one line (in the recipe's dialect, those of all rooms), private
   messages to one user in another, and the next goes out when the one before is answered: only so is their order
   promised.
3. A room's entries are released once each, by seq. What is missing below a seq that the room is known to have reached
   is asked for, with one `history` request at a time: at once where a later entry has come, a moment later where the
   service has only said how far the room is, since what is missing is most often on its way.
4. A room joined for the first time, or made anew (another epoch), begins at the head it is at.
5. After a reconnect every room is joined again with `since`.
6. The user's inbox is a room that nobody joins: `welcome` and `pong` say where it is. A private message that this
   session sent is no news to its user, whichever comes first, its `ack` or its copy in the inbox.
7. What is not in a log (`user_joined`, `typing` …) is released as it comes.
8. A request that was sent twice may be carried out for the second time when things have moved on. So who is told to
   have joined a room that is followed no longer, or is pushed what is said there, leaves it; who is told to have left
   a room that is followed, or is refused its history as no member, or does not find it in a `pong`, joins it again
   with `since`.
9. When `stale` says so, the next connection is to be opened: the service will cut this one soon, or its token is over,
   and what was refused for that is sent there. This one may be used until `disconnected`, right before `connected`.
10. Of a room's read marks one is under way at a time; the next one is the highest that was asked for meanwhile. They
   stand in nobody's way, but wait for the room's join. The user's own mark is released when it rises, whichever device
   has raised it.
11. A status belongs to its connection, and is said again on the next one.

With `dialect="recipe"` rules 3, 5 and 10 fall away, since those clients know neither `since` nor history: entries are
ordered among themselves, and a connection begins where its `welcome` says, but never behind the one before.

`now` is in seconds of any clock that never goes back. Frames to send wait in `frames()`; call `tick` at `due()`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw

from client.events import LogEvent, Opaque, Released, is_gateway_error, read_event, read_events
from client.following import UNPLACED, Following
from client.outbox import LONG_WAIT, REPLY_WITHIN, RETRYABLE, Outbox, Pending
from client.reading import Reading
from domain.events import (
    Ack,
    Banned,
    Batch,
    Chat,
    Error,
    Event,
    Head,
    HistoryPage,
    Joined,
    Kicked,
    Left,
    MemberList,
    MessageDeleted,
    MessageEdited,
    Muted,
    NoticesSet,
    Pong,
    PresenceChanged,
    PrivateMessage,
    Reacted,
    Reauthenticated,
    RoleSet,
    RoomChanged,
    RoomDeleted,
    RoomList,
    SearchPage,
    Unbanned,
    Unmuted,
    UserRead,
    Welcome,
)
from domain.protocol import HISTORY_LIMIT, ROOT, Status
from domain.requests import (
    ChatMessage,
    HistoryRequest,
    JoinRoom,
    LeaveRoom,
    ListMembers,
    ListRooms,
    MarkRead,
    Ping,
    Reauth,
    Request,
    Search,
    SendPrivateMessage,
    SetPresence,
    Typing,
    request_type,
)

__all__ = ["Dialect", "Session"]

PING_EVERY = 240.0
"""Seconds between pings, ± 20 %: whatever else failed, a client has all it is owed after its next ping."""
WELCOME_WITHIN = 65.0
"""Seconds after which the service is asked what a `welcome` would have said: it sends none later than after 60. Not
sooner, since only the welcome tells where the connection's membership began: an entry from before the answer that comes
after it would be taken for an old one."""
ASK_AFTER = (0.5, 2.5)
"""Seconds between hearing how far a room is and asking for what is missing. While a broadcast to a large room is late,
whoever joins hears of messages that are on their way to it; thousands that asked at once would delay them further."""
FULL_TRIES = 3
"""How often a room that is followed is joined again before it is believed to be full."""
LATE_PUSH = 5.0
"""Seconds after a room was left for which its entries may still be on their way."""
LATE_ENTRIES = 60.0
"""Seconds for which entries that history refuses may still be pushed: several times what a broadcast stands still for
whose worker has died."""
FALLBACK_ROOM = "general"
"""Where a connection may enter when no room that is followed lets it in."""
_NOT_THERE = frozenset({"NOT_A_MEMBER", "ROOM_NOT_FOUND"})
_INBOX = "inbox#"
_MOVES = "#"
"""The line of the recipe's dialect. `#` is in no room's id."""
_STATUS = "#status"
"""The line of what the user says of themselves."""

Dialect = Literal["v1", "recipe"]


class Session:
    """The conversation of one client, over as many connections as it takes."""

    def __init__(
        self,
        room: str,
        *,
        new_id: Callable[[], str],
        draw: random.Random,
        dialect: Dialect = "v1",
        observe: Callable[[LogEvent, bool], None] | None = None,
    ) -> None:
        """`observe` sees every log entry as it comes off the wire, before ordering, with True if it was asked for."""
        self.dialect: Dialect = dialect
        self._new_id = new_id
        self._draw = draw
        self._observe = observe
        self.user: str | None = None
        """Who the service says we are; None before the first `welcome`."""
        self._first_room = self._named = room
        self._rooms: dict[str, Following] = {}
        self._inbox: Following | None = None
        self._outbox = Outbox(draw)
        self._reading = Reading()
        self._had: dict[str, tuple[int, int]] = {}
        """Room → the (epoch, seq) that its user was at when a connection of the recipe's ended."""
        self._left_at: dict[str, float] = {}
        """Room → when it was left; of this connection."""
        self.status: Status = "online"
        """How the user is on this device."""
        self._resumes = False
        self._ping_due = math.inf
        self._welcome_due = math.inf
        self._stale_at = math.inf
        self._stale = False
        self._ahead: float | None = None
        """Seconds by which the service's clock is ahead of ours, since no two need agree; None before any `welcome`."""
        self._ask_due = math.inf
        """When to ask for what has not come by itself."""
        self._follow(room)

    # ---- what the user asks for. Each returns the clientId that the reply will carry.

    def send(
        self, room: str, text: str, now: float, *, reply_to: int | None = None, mentions: Sequence[str] = ()
    ) -> str:
        """Say something in a room, or answer the message at `reply_to`; who is mentioned is told if they are away.
        Raises `RequestRefused` if it can't fit into a frame."""
        request = ChatMessage(
            client_id=self._new_id(), room_id=room, message=text, reply_to=reply_to, mentions=list(mentions) or None
        )
        return self._outbox.ask(request, now, line=self._line(room))

    def send_private(self, target: str, text: str, now: float) -> str:
        """Say something to one user. Raises `RequestRefused` if it can't fit into a frame."""
        request = SendPrivateMessage(client_id=self._new_id(), target_user_id=target, message=text)
        return self._outbox.ask(request, now, line=_INBOX + target)

    def join(self, room: str, now: float) -> str:
        """Follow a room."""
        self._follow(room)
        return self._outbox.ask(JoinRoom(client_id=self._new_id(), room_id=room), now, line=self._line(room))

    def leave(self, room: str, now: float) -> str:
        """Follow a room no longer."""
        return self._outbox.ask(LeaveRoom(client_id=self._new_id(), room_id=room), now, line=self._line(room))

    def history(
        self,
        room: str,
        now: float,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = HISTORY_LIMIT,
        thread: int | None = None,
    ) -> str:
        """A page of a room's log, or of the thread that the message at `thread` began; it moves no cursor."""
        request = HistoryRequest(
            client_id=self._new_id(), room_id=room, before=before, after=after, limit=limit, thread=thread
        )
        return self._outbox.ask(request, now)

    def search(
        self, room: str, query: str, now: float, *, cursor: int | None = None, limit: int = HISTORY_LIMIT
    ) -> str:
        """A page of the messages of a room, or of the inbox, that have all the words of `query`."""
        request = Search(client_id=self._new_id(), room_id=room, query=query, cursor=cursor, limit=limit)
        return self._outbox.ask(request, now)

    def list_rooms(self, now: float, *, parent: str = ROOT, cursor: str | None = None) -> str:
        """A page of the rooms below `parent`."""
        return self._outbox.ask(ListRooms(client_id=self._new_id(), parent=parent, cursor=cursor), now)

    def list_members(self, room: str, now: float, *, cursor: str | None = None) -> str:
        """A page of who is in a room."""
        return self._outbox.ask(ListMembers(client_id=self._new_id(), room_id=room, cursor=cursor), now)

    def ask(self, request: Request, now: float) -> str:
        """Anything else: what becomes of messages, what is done to rooms, and in them by their moderators. In the line
        of the room it is about, so that it comes after what was said before."""
        named = msgspec.structs.replace(request, client_id=self._new_id())
        room = getattr(request, "room_id", None)
        return self._outbox.ask(named, now, line=None if room is None else self._line(room))

    def presence(self, status: Status, now: float) -> str:
        """Say how the user is on this device; the reply says how they are over all of theirs."""
        self.status = status
        return self._outbox.ask(SetPresence(client_id=self._new_id(), status=status), now, line=_STATUS)

    def ping(self, now: float, *, ours: bool = False) -> str:
        """Ask where the rooms are; entries that were lost are then asked for."""
        rooms = [*self._rooms.values(), *self._inboxes()]
        # Without cursors the answer names all rooms, also one of which nothing is known yet.
        known = self._inbox is not None and all(it.placed for it in rooms)
        cursors = {it.room: it.cursor for it in rooms} if known else None
        return self._outbox.ask(Ping(client_id=self._new_id(), cursors=cursors), now, ours=ours)

    def read(self, room: str, seq: int, now: float) -> None:
        """The user has read a room that is followed, or the inbox, up to `seq`. As often as one likes: what is no news
        is not sent. `UserRead` among the events says what stands, also when another device has said more."""
        following = self._following(room)
        if following is not None and following.placed:
            self._reading.want(room, (following.epoch, seq))
            self._mark(room, now)

    def typing(self, room: str) -> None:
        """The user is writing. Nothing answers, and nothing is said while there is no connection."""
        self._outbox.tell(Typing(room_id=room))

    # ---- the connection

    @property
    def room(self) -> str:
        """The room to name when the next connection is opened, since it joins one."""
        return self._first_room if self._first_room in self._rooms else next(iter(self._rooms), self._first_room)

    @property
    def entrances(self) -> list[str]:
        """The rooms to name, one after the other, where the service refuses the one before."""
        return list(dict.fromkeys([self.room, *self._rooms, FALLBACK_ROOM]))

    @property
    def busy(self) -> bool:
        """Whether any request waits for its answer, or is to be made before long."""
        return not self._outbox.empty or self._ask_due < math.inf

    def follows(self, room: str) -> bool:
        """Whether a room was joined, or is to be, and not left since."""
        return room in self._rooms

    def cursor(self, room: str) -> tuple[int, int] | None:
        """(epoch, last seq released) of a room, or of the inbox, once it is known where the client begins."""
        following = self._following(room)
        return (following.epoch, following.cursor) if following is not None and following.placed else None

    def connected(self, now: float, named: str | None = None) -> None:
        """A connection is open. It was opened naming `named`, by default `room`, and is a member there."""
        self._named = named or self.room
        self._welcome_due = now + WELCOME_WITHIN
        if self._resumes:
            self._resume(now)
        elif self._named != self._first_room:
            self._rooms.pop(self._first_room, None)
            self._first_room = self._named
            self._follow(self._named)
        if self.status != "online" and self._outbox.first(_STATUS) is None:
            again = SetPresence(client_id=self._new_id(), status=self.status)
            self._outbox.ask(again, now, line=_STATUS, ours=True)
        if self.dialect == "v1":
            self._resumes = True
            self._ping_due = now + self._ping_pause()
        self._outbox.connected(now)

    def disconnected(self) -> Sequence[Released]:
        """The connection has ended; returns what will not be completed any more."""
        self._outbox.disconnected()
        self._reading.lost()
        self._left_at.clear()
        self._ping_due = self._welcome_due = self._stale_at = self._ask_due = math.inf
        self._stale = False
        followed = [*self._rooms.values(), *self._inboxes()]
        for following in followed:
            following.asked = None
        if self.dialect == "v1":
            return ()
        released = [event for it in followed for event in it.surrender()]
        self._remember(followed)
        self._first_room = self.room
        self._rooms.clear()
        self._inbox = None
        self._follow(self._first_room)
        return released

    def frames(self) -> list[bytes]:
        """The frames to send now, in order; they are handed out once."""
        return self._outbox.frames()

    def receive(self, frame: str | bytes, now: float) -> Sequence[Released]:
        """A frame came; returns what it lets the user have, in order."""
        try:
            event = read_event(frame)
        except ValueError:
            return self._foreign(frame, now)
        return self._answer(event, now)

    # ---- time

    def due(self) -> float | None:
        """When `tick` is wanted next, or `stale` begins."""
        due = min(self._ping_due, self._welcome_due, self._stale_at, self._ask_due, self._outbox.due())
        return None if due == math.inf else due

    def stale(self, now: float) -> bool:
        """Whether to open the next connection, since this one will be cut before long. What is under way survives
        that."""
        return self._stale or self._stale_at <= now

    def tick(self, now: float) -> Sequence[Released]:
        """Do what is due; returns refusals of requests that have been tried often enough."""
        released: list[Released] = []
        if not self._outbox.open:
            return released
        for pending in self._outbox.overdue(now):
            words = f"No answer to {pending.tries} tries"
            error = Error(
                code="INTERNAL", message=words, request=request_type(pending.request), client_id=pending.client_id
            )
            released += self._give_up(pending, error, now)
        if self._stale_at <= now:
            self._stale, self._stale_at = True, math.inf
        if self._ping_due <= now:
            self._ping_due = now + self._ping_pause()
            self.ping(now, ours=True)
        if self._welcome_due <= now:
            self._welcome_due = math.inf
            following = self._rooms.get(self._named)
            if following is not None and not following.placed and not self._joining(self._named):
                request = JoinRoom(client_id=self._new_id(), room_id=self._named)
                self._outbox.ask(request, now, line=self._line(self._named), ours=True)
            self.ping(now, ours=True)
        if self._ask_due <= now:
            self._ask_due = math.inf
            for following in (*self._rooms.values(), *self._inboxes()):
                if following.behind:
                    self._fill(following, now)
                self._mark(following.room, now)
        return released

    # ---- events

    def _answer(self, event: Event | Opaque, now: float) -> Sequence[Released]:
        if type(event) is Chat:
            return self._entry(event, now)
        answer = _ANSWERS.get(type(event))
        return answer(self, event, now) if answer is not None else (event,)

    def _entry(self, event: LogEvent, now: float) -> Sequence[Released]:
        if self._observe is not None:
            self._observe(event, False)
        following = self._rooms.get(event.room_id) or self._met(event.room_id)
        if following is None:
            if now - self._left_at.get(event.room_id, -math.inf) > LATE_PUSH:
                self._leave_unwanted(event.room_id, now)
            return ()
        own = self._is_own_copy(event)
        released = following.pass_over(event.epoch, event.seq) if own else following.arrive(event)
        self._catch_up(following, now)
        return released

    def _opaque(self, event: Opaque, now: float) -> Sequence[Released]:
        return self._entry(event, now) if event.seq else (event,)

    def _batch(self, batch: Batch, now: float) -> Sequence[Released]:
        return [released for event in read_events(batch.events) for released in self._answer(event, now)]

    def _welcomed(self, welcome: Welcome, now: float) -> Sequence[Released]:
        self.user = welcome.user_id
        self._welcome_due = math.inf
        self._ahead = welcome.sent_at / 1000 - now
        if welcome.reconnect_at > welcome.sent_at:
            self._lasts(welcome.reconnect_at)
        released: list[Released] = [welcome, *self._told(welcome.room_id, welcome.epoch, welcome.head, now)]
        inbox = _INBOX + welcome.user_id
        if self._inbox is not None and self._inbox.room != inbox:
            # We are somebody else now, as anonymous users are after a reconnect.
            released += self._inbox.surrender()
            self._inbox, self._reading = None, Reading()
        if welcome.inbox.read:
            self._reading.stands(inbox, (welcome.inbox.epoch, welcome.inbox.read))
        return [*released, *self._placed(inbox, welcome.inbox.epoch, welcome.inbox.seq, now)]

    def _beacon(self, head: Head, now: float) -> Sequence[Released]:
        return self._mentioned(head.room_id, head.epoch, head.seq, now)

    def _ponged(self, pong: Pong, now: float) -> Sequence[Released]:
        pending = self._outbox.finish(pong.client_id, now)
        released: list[Released] = [] if pending is not None and pending.ours else [pong]
        for room, head in pong.heads.items():
            released += self._mentioned(room, head.epoch, head.seq, now)
        cursors = pending.request.cursors if pending is not None and isinstance(pending.request, Ping) else None
        for room in cursors or ():
            if room in self._rooms and room not in pong.heads:
                self._rejoin(room, now)
        return released

    def _acked(self, ack: Ack, now: float) -> Sequence[Released]:
        pending = self._outbox.finish(ack.client_id, now)
        following = self._met(ack.room_id) if ack.room_id.startswith(_INBOX) else None
        # Of a message alone there is an own copy; what becomes of one is pushed to who asked for it, too.
        if following is None or ack.message_id is UNSET or (pending is None and self.dialect == "v1"):
            return (ack,)
        released = following.pass_over(ack.epoch, ack.seq)
        self._catch_up(following, now)
        return [ack, *released]

    def _listed(self, page: RoomList | MemberList | NoticesSet | SearchPage, now: float) -> Sequence[Released]:
        self._outbox.finish(page.client_id, now)
        return (page,)

    def _reauthenticated(self, answer: Reauthenticated, now: float) -> Sequence[Released]:
        self._outbox.finish(answer.client_id, now)
        self._lasts(answer.reconnect_at)
        return (answer,)

    def _lasts(self, reconnect_at: int) -> None:
        if self._ahead is not None and self.dialect == "v1":
            self._stale, self._stale_at = False, reconnect_at / 1000 - self._ahead

    def _read(self, read: UserRead, now: float) -> Sequence[Released]:
        pending = self._outbox.finish(read.client_id or None, now)
        if pending is None and read.user_id != self.user:
            return (read,)
        if pending is not None and pending.ours:
            self._reading.answered(read.room_id)
        news = self._reading.stands(read.room_id, (read.epoch, read.seq))
        self._mark(read.room_id, now)
        return (read,) if news or (pending is not None and not pending.ours) else ()

    def _was(self, event: PresenceChanged, now: float) -> Sequence[Released]:
        """The reply to who said how they are; the same tells others of it."""
        if event.client_id is UNSET:
            return (event,)
        pending = self._outbox.finish(event.client_id, now)
        return () if pending is not None and pending.ours else (event,)

    def _settled(self, event: RoomChanged | RoomDeleted, now: float) -> Sequence[Released]:
        """The reply to who did it; the same is an entry of the room's log, for all that are in it."""
        if event.client_id is UNSET:
            return self._entry(event, now)
        self._outbox.finish(event.client_id, now)
        return (event,)

    def _joined(self, joined: Joined, now: float) -> Sequence[Released]:
        pending = self._outbox.finish(joined.client_id, now)
        if self.dialect == "recipe":
            self._left_at |= dict.fromkeys(self._rooms, now)
            self._remember(self._rooms.values())
            self._rooms = {room: it for room, it in self._rooms.items() if room == joined.room_id}
        following = self._follow(joined.room_id) if pending is not None else self._rooms.get(joined.room_id)
        if following is None:
            self._leave_unwanted(joined.room_id, now)
            return ()
        if pending is None and self._leaving(joined.room_id):
            # Which of the two is carried out last nobody knows.
            self._leave_again(joined.room_id, now, first=True)
            return ()
        begins = not following.placed or joined.epoch != following.epoch
        for event in self._entries(joined.events):
            following.hold(event, asked_for=True)
        placed = self._placed(joined.room_id, joined.epoch, joined.head, now)
        return [joined, *placed] if begins or pending is None or not pending.ours else placed

    def _left(self, left: Left, now: float) -> Sequence[Released]:
        pending = self._outbox.finish(left.client_id, now)
        if pending is None:
            self._rejoin(left.room_id, now)
            return ()
        self._rooms.pop(left.room_id, None)
        self._left_at[left.room_id] = now
        return () if pending.ours else (left,)

    def _history(self, page: HistoryPage, now: float) -> Sequence[Released]:
        pending = self._outbox.finish(page.client_id, now)
        if pending is None or not pending.ours:
            return (page,)
        following = self._following(page.room_id)
        if following is None or page.epoch < following.epoch:
            return ()
        asked, following.asked = following.asked or 0, None
        entries = self._entries(page.entries)
        released: list[Released] = []
        for event in entries:
            if self._is_own_copy(event):
                released += following.pass_over(event.epoch, event.seq)
        if page.epoch == following.epoch:
            last = entries[-1].seq if entries else following.cursor
            # A page that ends the log holds all that was known to be stored when it was asked for.
            ended = page.next is UNSET or not entries
            released += following.fill(entries, max(last, asked) if ended else last)
        return [*released, *self._placed(page.room_id, page.epoch, page.head, now)]

    def _refused(self, error: Error, now: float) -> Sequence[Released]:
        pending = self._outbox.waiting(error.client_id)
        if pending is None:
            return (error,)
        # The recipe's clients are to be cut, and a fresh token that is none is the user's to know of.
        expired = error.code == "TOKEN_EXPIRED" and self.dialect == "v1" and not isinstance(pending.request, Reauth)
        self._stale |= expired
        # The place in the room may be taken by the connection before.
        full = error.code == "ROOM_FULL" and pending.ours and pending.tries < FULL_TRIES
        wait = REPLY_WITHIN if expired or full else error.retry_after or 0.0
        if (expired or full or error.code in RETRYABLE) and pending.patient and wait <= LONG_WAIT:
            self._outbox.postpone(pending, now, wait)
            return ()
        return self._give_up(pending, error, now)

    def _foreign(self, frame: str | bytes, now: float) -> Sequence[Released]:
        """A frame that is no event: API Gateway's own error, which names no request, or nothing we know."""
        if is_gateway_error(frame):
            self._outbox.postpone_all(now)
        return ()

    def _give_up(self, pending: Pending, error: Error, now: float) -> Sequence[Released]:
        self._outbox.finish(pending.client_id, now)
        request = pending.request
        if isinstance(request, JoinRoom):
            following = self._rooms.get(request.room_id)
            if following is not None and (pending.ours or not following.placed):
                del self._rooms[request.room_id]
            return (error,)
        if not pending.ours:
            return (error,)
        if isinstance(request, MarkRead):
            return self._without_mark(request, error, now)
        return self._without_history(request, error, now) if isinstance(request, HistoryRequest) else ()

    def _without_mark(self, request: MarkRead, error: Error, now: float) -> Sequence[Released]:
        """The room can't be marked; whoever is no member of a room that they follow joins it again first."""
        room, following = request.room_id, self._following(request.room_id)
        self._reading.answered(room)
        if error.code == "NOT_A_MEMBER" and room in self._rooms:
            self._reading.want(room, (request.epoch or 0, request.seq))
            self._ask_due = min(self._ask_due, now + self._draw.uniform(*ASK_AFTER))
            self._rejoin(room, now)
            return ()
        self._reading.forget(room)
        here = following is not None and following.epoch == request.epoch
        return (error,) if here and error.code not in _NOT_THERE else ()

    def _without_history(self, request: HistoryRequest, error: Error, now: float) -> Sequence[Released]:
        """What is missing is not to be had: released is what came after it, unless it may yet come."""
        following = self._following(request.room_id)
        if following is None or following.asked is None:
            return ()
        asked, following.asked = following.asked, None
        if error.code == "NOT_A_MEMBER" and request.room_id in self._rooms:
            self._ask_due = min(self._ask_due, now + self._draw.uniform(*ASK_AFTER))
            self._rejoin(request.room_id, now)
            return ()
        if error.code == "ROOM_NOT_FOUND":
            # Whoever was a member of a room that is deleted, and anew, is still pushed what was said there.
            following.refused_at = now if following.refused_at is None else following.refused_at
            if now < following.refused_at + LATE_ENTRIES:
                self._ask_due = min(self._ask_due, now + LATE_PUSH)
                return ()
        return following.fill((), asked)

    # ---- rooms

    def _follow(self, room: str) -> Following:
        if room not in self._rooms:
            self._rooms[room] = self._begin(room)
        return self._rooms[room]

    def _remember(self, followed: Iterable[Following]) -> None:
        """What has been given of these rooms is not given again, should they be met anew and what was pushed be pushed
        once more. In the recipe's dialect alone: in v1 a room that is met anew is asked for by `since`."""
        self._had.update((it.room, (it.epoch, it.cursor)) for it in followed if it.placed)

    def _following(self, room: str) -> Following | None:
        return self._inbox if self._inbox is not None and self._inbox.room == room else self._rooms.get(room)

    def _met(self, room: str) -> Following | None:
        """A room that the service names, if it is followed. The first inbox is ours: nobody is sent another's."""
        if self._inbox is None and room.startswith(_INBOX):
            self._inbox = self._begin(room)
        return self._following(room)

    def _begin(self, room: str) -> Following:
        if self.dialect == "v1":
            return Following(room)
        return Following(room, math.inf, self._had.get(room, (UNPLACED, UNPLACED)))

    def _inboxes(self) -> Sequence[Following]:
        return () if self._inbox is None else (self._inbox,)

    def _is_own_copy(self, event: LogEvent) -> bool:
        """Whether this is a private message that we are sending: its answer may come later, or be lost."""
        return (
            isinstance(event, PrivateMessage)
            and event.client_id is not UNSET
            and self._outbox.waiting(event.client_id) is not None
        )

    def _mark(self, room: str, now: float) -> None:
        """Tell the service how far the room is read, if that is wanted and nothing of it is under way."""
        if not self._outbox.open or self._joining(room):
            return
        place = self._reading.begin(room)
        if place is not None:
            epoch, seq = place
            request = MarkRead(client_id=self._new_id(), room_id=room, seq=seq, epoch=epoch)
            self._outbox.ask(request, now, ours=True)

    def _line(self, room: str) -> str:
        """Where a room's requests stand. A connection in the recipe's dialect is in one room, so one move waits for
        another."""
        return room if self.dialect == "v1" else _MOVES

    def _joining(self, room: str) -> bool:
        pending = self._outbox.first(self._line(room))
        return pending is not None and isinstance(pending.request, JoinRoom) and pending.request.room_id == room

    def _leaving(self, room: str) -> bool:
        """Whether a leave of the room is under way, and no join waits behind it. A leave that waits for its turn itself
        may wait for what is to be said first."""
        line = self._outbox.line(self._line(room))
        leave = line[0].request if line else None
        wanted = any(isinstance(it.request, JoinRoom) for it in line)
        return isinstance(leave, LeaveRoom) and leave.room_id == room and not wanted

    def _mentioned(self, room: str, epoch: int, head: int, now: float) -> Sequence[Released]:
        """The service mentions where a room is. Where we begin there is for `welcome` or `joined` to say."""
        following = self._met(room)
        expected = self._welcome_due < math.inf or self._joining(room)
        if following is None or (expected and not following.placed):
            return ()
        return self._told(room, epoch, head, now)

    def _told(self, room: str, epoch: int, head: int, now: float) -> Sequence[Released]:
        """The room is at `head`; what is missing may be on its way."""
        following = self._met(room)
        if following is None:
            return ()
        released = following.place(epoch, head)
        self._catch_up(following, now)
        self._mark(room, now)
        return released

    def _placed(self, room: str, epoch: int, head: int, now: float) -> Sequence[Released]:
        """The room is at `head`; what is missing was stored long ago."""
        following = self._met(room)
        if following is None:
            return ()
        released = following.place(epoch, head)
        if following.behind:
            self._fill(following, now)
        self._mark(room, now)
        return released

    def _catch_up(self, following: Following, now: float) -> None:
        """Ask for what is missing: at once where a later entry has come, else if it does not come by itself."""
        if following.placed and following.held:
            self._fill(following, now)
        elif following.behind and following.asked is None:
            self._ask_due = min(self._ask_due, now + self._draw.uniform(*ASK_AFTER))

    def _fill(self, following: Following, now: float) -> None:
        # The answer to a join under way may bring all of it.
        if self._joining(following.room) or following.asked is not None or self.dialect == "recipe":
            return
        following.asked = following.known
        request = HistoryRequest(client_id=self._new_id(), room_id=following.room, after=following.cursor)
        self._outbox.ask(request, now, ours=True)

    def _resume(self, now: float) -> None:
        for room in self._rooms:
            if not self._joining(room):
                self._rejoin(room, now, first=True)
        if self._named not in self._rooms:
            # A connection joins a room when it opens, wanted or not.
            self._leave_unwanted(self._named, now, first=True)

    def _rejoin(self, room: str, now: float, *, first: bool = False) -> None:
        """Make sure that we are a member of a room that is followed, unless what stands in its line says more."""
        following = self._rooms.get(room)
        if following is None or (self._outbox.first(self._line(room)) is not None and not first):
            return
        since, epoch = (following.cursor, following.epoch) if following.placed else (None, None)
        request = JoinRoom(client_id=self._new_id(), room_id=room, since=since, epoch=epoch)
        self._outbox.ask(request, now, line=self._line(room), ours=True, first=first)

    def _leave_unwanted(self, room: str, now: float, *, first: bool = False) -> None:
        if first or self._outbox.first(self._line(room)) is None:
            self._leave_again(room, now, first=first)

    def _leave_again(self, room: str, now: float, *, first: bool = False) -> None:
        request = LeaveRoom(client_id=self._new_id(), room_id=room)
        self._outbox.ask(request, now, line=self._line(room), ours=True, first=first)

    def _entries(self, raws: Iterable[Raw]) -> list[LogEvent]:
        entries = [event for event in read_events(raws) if isinstance(event, LogEvent)]
        if self._observe is not None:
            for event in entries:
                self._observe(event, True)
        return entries

    def _ping_pause(self) -> float:
        return PING_EVERY * self._draw.uniform(0.8, 1.2)


_ANSWERS: Mapping[type, Callable[[Session, Any, float], Sequence[Released]]] = {
    PrivateMessage: Session._entry,
    RoomChanged: Session._settled,
    RoomDeleted: Session._settled,
    RoleSet: Session._entry,
    Kicked: Session._entry,
    Banned: Session._entry,
    Unbanned: Session._entry,
    Muted: Session._entry,
    Unmuted: Session._entry,
    Opaque: Session._opaque,
    Batch: Session._batch,
    Welcome: Session._welcomed,
    Head: Session._beacon,
    Pong: Session._ponged,
    Ack: Session._acked,
    Joined: Session._joined,
    Left: Session._left,
    HistoryPage: Session._history,
    RoomList: Session._listed,
    MemberList: Session._listed,
    NoticesSet: Session._listed,
    SearchPage: Session._listed,
    Reauthenticated: Session._reauthenticated,
    Error: Session._refused,
    MessageEdited: Session._entry,
    MessageDeleted: Session._entry,
    Reacted: Session._entry,
    UserRead: Session._read,
    PresenceChanged: Session._was,
}
