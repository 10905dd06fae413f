"""Simulated clients: the SDK's session over sockets that are lost, and a record of all that came."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from client.backoff import Backoff
from client.connection import OVERLAP
from client.events import LogEvent, Released, is_gateway_error, read_event
from client.messages import Messages
from client.session import Dialect, Session
from domain.events import (
    Ack,
    Chat,
    Error,
    Joined,
    Left,
    Logged,
    NoticesSet,
    PresenceChanged,
    PrivateMessage,
    UserRead,
    UserStatus,
    Welcome,
)
from domain.policy import ADMINS
from domain.protocol import Status
from domain.requests import Ban, CreateRoom, DeleteRoom, Kick, Mute, SetNotices, Unban, Unmute
from domain.rooms import is_inbox
from tests.simulation.amends import Asked
from tests.simulation.sockets import Socket

if TYPE_CHECKING:
    from tests.simulation.service import Service

__all__ = ["Client", "Life", "Said"]


@dataclass(slots=True, eq=False)
class Life:
    """One connection of a client, and what came over it."""

    socket: Socket
    user: str
    dialect: Dialect
    before: Mapping[str, tuple[int, int]]
    """Room → (epoch, head) when it began to connect: of those rooms it may be pushed only what is newer."""
    pushed: list[tuple[str, int, int]] = field(default_factory=list)
    """(room, epoch, seq), as they came, without having been asked for."""
    begun: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Room → (epoch, head) from which on everything is owed: by its `welcome` or `joined`."""
    welcomed: bool = False
    moved: bool = False
    """It has left a room: a welcome may be late, or not be sent any more."""
    doubtful: set[str] = field(default_factory=set)
    """Rooms that a request sent twice may have ended behind its back, for a while."""
    leaving: set[str] = field(default_factory=set)
    """Rooms that it has asked to leave, and not to join again."""
    left: dict[str, int] = field(default_factory=dict)
    """Room → when its `left` came, in milliseconds since 1970, unless it is joined again."""
    shut: dict[str, int] = field(default_factory=dict)
    """Rooms that its user was removed from, as was acknowledged to who did it → the epoch: of a life before, in which
    they may have been a member, the last entries may be on their way."""
    leaked: list[tuple[str, int]] = field(default_factory=list)
    """(room, seq) that came all the same."""
    gone_at: float = math.inf
    """When its client lost it."""
    opened_at: int = 0
    """In milliseconds since 1970: whose status changes later, it has to hear of."""
    heard: dict[str, UserStatus] = field(default_factory=dict)
    """User → the latest that it was told of their status."""

    def hear(self, statuses: Sequence[UserStatus]) -> None:
        """Keep the latest of each user."""
        for it in statuses:
            known = self.heard.get(it.user_id)
            if known is None or known.since <= it.since:
                self.heard[it.user_id] = it


@dataclass(slots=True)
class Said:
    """A message that a client has sent."""

    user: str
    room: str
    text: str
    ack: Ack | None = None
    refused: str | None = None


_ACTS: Mapping[str, type[Kick | Ban | Unban | Mute | Unmute]] = {
    "kick": Kick,
    "ban": Ban,
    "unban": Unban,
    "mute": Mute,
    "unmute": Unmute,
}


class Client:
    """A client, until it quits. It reconnects by itself."""

    def __init__(
        self,
        service: Service,
        name: str,
        room: str,
        dialect: Dialect,
        draw: random.Random,
        *,
        rules: bool = False,
        user: str = "",
    ) -> None:
        """`rules`: whether its user may do everything everywhere. `user`: if it is not the only device of theirs."""
        self.name = name
        self.user = user or name
        self.groups = frozenset({ADMINS} if rules else ())
        self.judged: dict[str, tuple[str, str, str]] = {}
        """clientId → (what, room, user) that it asked for as a moderator, and was not told yet."""
        self.dialect: Dialect = dialect
        self.lives: list[Life] = []
        self.said: dict[str, Said] = {}
        """By clientId."""
        self.bodies: dict[tuple[str, int, int], list[object]] = defaultdict(list)
        """(room, epoch, seq) → each way in which the entry came, by whatever path."""
        self.released: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """Room → (epoch, seq), in the order in which the user got them; (0, 0) where it was followed anew."""
        self.asked_for_quiet = False
        self.quiet_since: int | None = None
        """When it was told that it gets no notices, in milliseconds since 1970."""
        self.starting = False
        self.quits = False
        self.service = service
        self.draw = draw
        self.asked: dict[str, Asked] = {}
        """clientId → what it asked to become of messages."""
        self.messages = Messages()
        """What it was given, as it is by now."""
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self.session = Session(room, new_id=self._new_id, draw=draw, dialect=dialect, observe=self._observe)
        self._alarm: asyncio.TimerHandle | None = None
        self._opening = False
        """Whether a socket is on its way."""
        self._joins: dict[str, str] = {}
        """clientId → the room that it asked to join."""
        self._answered: set[str] = set()
        """The ids of joins that were answered."""
        self._backoff = Backoff(self.session.entrances, draw)
        service.lives[name] = self.lives
        self._before: Mapping[str, tuple[int, int]] = {}
        self.marks: dict[str, tuple[str, int, int]] = {}
        """clientId → (room, epoch, seq) up to which it asked to be taken for having read."""
        self.marked: dict[str, tuple[str, int, int]] = {}
        """clientId → what stands, as it was first answered."""
        self.reads: dict[str, tuple[int, int]] = {}
        """Room → (epoch, seq) that the session was told of, while the room is followed."""

    # ---- what the script lets it do

    def start(self) -> None:
        """Open the first connection."""
        self.starting = True
        self._open()

    def send(self, room: str, text: str, reply_to: int | None = None) -> None:
        self._said(self.session.send(room, text, self.now, reply_to=reply_to), room, text)

    def send_private(self, target: str, text: str) -> None:
        self._said(self.session.send_private(target, text, self.now), f"inbox#{self.user}", text)

    def repeat(self) -> None:
        """Send the frame of something already acknowledged once more, as a network does that holds one back."""
        acked = [it for it in self.said.items() if it[1].ack is not None and not it[1].room.startswith("inbox#")]
        if acked and self.life is not None:
            client_id, said = self.draw.choice(acked)
            # Of an answer it says too little, and is refused.
            frame = f'{{"type":"chat","clientId":"{client_id}","roomId":"{said.room}","message":"{said.text}"}}'
            self.service.request(self, self.life.socket, frame.encode())

    def join(self, room: str) -> None:
        self.session.join(room, self.now)
        self.flush()

    def leave(self, room: str) -> None:
        self.session.leave(room, self.now)
        self.flush()

    def judge(self, what: str, room: str, user: str) -> None:
        """Kick, ban … a user."""
        request = _ACTS[what](room_id=room, user_id=user)
        self.judged[self.session.ask(request, self.now)] = (what, room, user)
        self.flush()

    def end_room(self, room: str) -> None:
        self.session.ask(DeleteRoom(room_id=room), self.now)
        self.flush()

    def make_room(self, room: str) -> None:
        self.session.ask(CreateRoom(room_id=room), self.now)
        self.flush()

    def mark(self, room: str) -> None:
        """Read a room, or the inbox, up to where it is shown."""
        name, epoch, cursor = self._shown(room)
        if epoch:
            self.reads[name] = max(self.reads.get(name, (0, 0)), (epoch, cursor))
        self.session.read(name, cursor, self.now)
        self.flush()

    def mark_at_once(self, room: str) -> None:
        """The same as several devices would at the same moment, each at another entry."""
        name, epoch, cursor = self._shown(room)
        if not epoch or self.life is None:
            return
        for seq in [cursor, *(self.draw.randint(0, cursor) for _ in range(3))]:
            request = {"type": "read", "clientId": self._new_id(), "roomId": name, "seq": seq, "epoch": epoch}
            self._marks(request)
            self.service.request(self, self.life.socket, json.dumps(request).encode())

    def quiet(self) -> None:
        """Want no notices, for good."""
        self.asked_for_quiet = True
        self.session.ask(SetNotices(enabled=False), self.now)
        self.flush()

    def typing(self, room: str) -> None:
        self.session.typing(room)
        self.flush()

    def be(self, status: Status) -> None:
        self.session.presence(status, self.now)
        self.flush()

    def ping(self) -> None:
        self.session.ping(self.now)
        self.flush()

    def cut(self, *, silent: bool = False, returns: bool = True) -> None:
        """Lose the socket; `silent`: the gateway does not notice for now."""
        if self.life is None:
            return
        socket = self.life.socket
        self.service.note("cut", socket.id, "silent" if silent else "")
        if silent:
            socket.silent = True
            self.service.later_lost(socket)
        else:
            self.service.lost(socket)
        self.quits |= not returns
        self._ended()

    def quit(self) -> None:
        """Lose the socket and never come back."""
        self.quits = True
        self.cut()

    # ---- the connection

    @property
    def life(self) -> Life | None:
        """The connection, while it is open."""
        found = self.lives[-1] if self.lives else None
        return found if found is not None and found.socket.state == "open" and not found.socket.silent else None

    @property
    def rooms(self) -> list[str]:
        """Those that it is in."""
        return [it for it in self.life.begun if not is_inbox(it)] if self.life is not None else []

    @property
    def busy(self) -> bool:
        """Whether it waits for anything."""
        return self.starting and not self.quits and (self.life is None or self.session.busy)

    def opened(self, socket: Socket, room: str) -> None:
        """The handshake is over. The socket before, if there is one, stays until this one is in all rooms."""
        if self.life is not None:
            self._loop.call_later(OVERLAP, self.service.lost, self.life.socket)
            self._leave_socket()
        self._opening = False
        life = Life(socket, self.user, self.dialect, self._before, opened_at=self.service.clock.now())
        self.lives.append(life)
        self.session.connected(self.now, room)
        self.flush()

    def refused(self, status: int) -> None:
        """The handshake came to nothing."""
        self._backoff.refused(status)
        self._reopen()

    def flush(self) -> None:
        """Hand out what the session has to send, and be back when it wants to be."""
        life = self.life
        if life is None:
            return
        for frame in self.session.frames():
            self._note_move(life, frame)
            self.service.request(self, life.socket, frame)
        if self._alarm is not None:
            self._alarm.cancel()
        due = self.session.due()
        if due is not None:
            self._alarm = self._loop.call_at(max(due, self._loop.time()), self._tick)

    # ---- private

    @property
    def now(self) -> float:
        return self._loop.time()

    def _new_id(self) -> str:
        return f"{self.name}-{next(self._numbers):06}"

    def _shown(self, room: str) -> tuple[str, int, int]:
        """(room, epoch, seq) up to which its user has been given a room, or what is in the inbox."""
        name = f"inbox#{self.user}" if room == "inbox" else room
        epoch, cursor = self.session.cursor(name) or (0, 0)
        return name, epoch, cursor

    def _marks(self, request: Mapping[str, Any]) -> None:
        self.marks[request["clientId"]] = request["roomId"], request["epoch"], request["seq"]

    def _said(self, client_id: str, room: str, text: str) -> None:
        self.said[client_id] = Said(self.user, room, text)
        self.flush()

    def _open(self) -> None:
        room = self._backoff.room
        connection = f"{self.name}.{next(self._numbers)}"
        box: list[Socket] = []
        self._before = self.service.heads()
        socket = self.service.handshake(
            self, connection, room, lambda frame: self._receive(box[0], frame), lambda: self._closed(box[0])
        )
        box.append(socket)

    def _reopen(self) -> None:
        if self.quits:
            return
        self._opening = True
        self._loop.call_later(self._backoff.pause(), self._open)

    def _closed(self, socket: Socket) -> None:
        if self.lives and self.lives[-1].socket is socket:
            self._ended()

    def _ended(self) -> None:
        self._leave_socket()
        if not self._opening:
            self._begin_again()

    def _begin_again(self) -> None:
        self._backoff = Backoff(self.session.entrances, self.draw)
        self._reopen()

    def _leave_socket(self) -> None:
        self.lives[-1].gone_at = self.service.clock.now()
        if self._alarm is not None:
            self._alarm.cancel()
        self._take(self.session.disconnected())
        if self.dialect == "recipe":
            for room in self.released:
                self.released[room].append((0, 0))

    def _receive(self, socket: Socket, frame: bytes) -> None:
        life = self.life
        if life is None or life.socket is not socket:
            return
        if frame.startswith(b'{"type":"joined"'):
            joined = read_event(frame)  # the session keeps those for itself that it has asked for by itself
            assert isinstance(joined, Joined)
            self._has_joined(life, joined)
        elif frame.startswith(b'{"type":"left"'):
            left = read_event(frame)
            assert isinstance(left, Left)
            if left.room_id in life.leaving:
                life.left[left.room_id] = self.service.clock.now()
            else:
                life.doubtful.add(left.room_id)
        elif frame.startswith(b'{"type":"read"'):
            read = read_event(frame)  # the session tells its user of its marks only when they rise
            assert isinstance(read, UserRead)
            if read.client_id is not UNSET:
                self.marked.setdefault(read.client_id, (read.room_id, read.epoch, read.seq))
        elif is_gateway_error(frame):
            life.doubtful |= set(life.begun)  # what it was that failed, and whether it will be done, nobody says
        self._take(self.session.receive(frame, self.now))
        self.flush()

    def _tick(self) -> None:
        if self.life is None:
            return
        self._take(self.session.tick(self.now))
        if self.session.stale(self.now) and not self._opening:
            self._begin_again()
        self.flush()

    def _observe(self, event: LogEvent, asked_for: bool) -> None:
        came = (event.room_id, event.epoch, event.seq)
        self.bodies[came].append(_words(event))
        life = self.life
        if life is not None and event.epoch >= life.shut.get(event.room_id, math.inf):
            life.leaked.append((event.room_id, event.seq))
        if life is not None and not asked_for:
            life.pushed.append(came)
            self.service.note("pushed", life.socket.id, *came)

    def _take(self, released: Sequence[Released]) -> None:
        life = self.life
        for event in released:
            match event:
                case Logged() if getattr(event, "client_id", UNSET) is UNSET or isinstance(event, PrivateMessage):
                    self.released[event.room_id].append((event.epoch, event.seq))
                    self.messages.apply(event)
                case Welcome() if life is not None:
                    life.welcomed = True
                    if not life.moved and event.room_id not in life.doubtful:
                        life.begun.setdefault(event.room_id, (event.epoch, event.head))
                    life.begun.setdefault(f"inbox#{event.user_id}", (event.inbox.epoch, event.inbox.seq))
                case PresenceChanged() if life is not None:
                    life.hear(event.members)
                case Left() if life is not None:
                    self.service.note("left", life.socket.id, event.room_id)
                    self.reads.pop(event.room_id, None)
                    self.released[event.room_id].append((0, 0))
                case Ack():
                    self._was_acked(event, life)
                case NoticesSet():
                    self.quiet_since = self.quiet_since or self.service.clock.now()
                case Error():
                    self._was_refused(event, life)

    def _was_acked(self, ack: Ack, life: Life | None) -> None:
        said = self.said.get(ack.client_id or "")
        if said is not None:
            said.ack = ack
            if said.refused and life is not None:
                # Carried out twice: what was given up is stored, as the next pong says.
                life.doubtful.add(ack.room_id)
        if ack.client_id in self.asked:
            self.asked[ack.client_id].ack = ack
        judged = self.judged.pop(ack.client_id or "", None)
        if judged is not None:
            self.service.removed(*judged, ack)

    def _was_refused(self, error: Error, life: Life | None) -> None:
        said = self.said.get(error.client_id or "")
        if said is not None:
            said.refused = error.code
        if error.client_id in self._answered and life is not None:
            life.doubtful |= set(life.begun)  # a join that was carried out twice may have ended what it began
        room = self._joins.pop(error.client_id or "", None)
        if room is not None:
            self.released[room].append((0, 0))  # followed no longer
            self.reads.pop(room, None)
            if life is not None:
                life.begun.pop(room, None)
                life.doubtful.add(room)  # what a welcome that is late says of it may be over

    def _note_move(self, life: Life, frame: bytes) -> None:
        if b'"type":"join_room"' in frame:
            request = json.loads(frame)
            room = request["roomId"]
            self._joins[request["clientId"]] = room
            life.left.pop(room, None)
            life.leaving.discard(room)
        elif b'"type":"read"' in frame:
            self._marks(json.loads(frame))
        elif b'"type":"unban"' in frame:
            request = json.loads(frame)
            self.service.let_in(request["roomId"], request["userId"])
        elif b'"type":"leave_room"' in frame:
            room = json.loads(frame)["roomId"]
            life.begun.pop(room, None)
            life.left.pop(room, None)
            life.leaving.add(room)
            life.moved = True

    def _has_joined(self, life: Life, joined: Joined) -> None:
        if joined.client_id in self._answered:
            life.doubtful |= {joined.room_id, *life.begun}
        self._answered.add(joined.client_id or "")
        self._joins.pop(joined.client_id or "", None)  # what its repeat is told is not what came of it
        if joined.room_id in life.leaving:
            # The late answer to a join that it has asked for twice: it is a member again, and has to leave anew.
            life.left.pop(joined.room_id, None)
            return
        if self.dialect == "recipe":
            # It has moved: from any other room nothing is owed to it any more.
            life.begun = {room: it for room, it in life.begun.items() if is_inbox(room)}
            life.moved = True
        epoch, _ = life.begun.get(joined.room_id, (0, 0))
        if epoch != joined.epoch:
            life.begun[joined.room_id] = (joined.epoch, joined.head)


def _words(event: LogEvent) -> object:
    """What an entry says, however it came."""
    match event:
        case Chat() | PrivateMessage():
            return (event.message_id, event.sender_id, event.message)
        case _:
            return None
