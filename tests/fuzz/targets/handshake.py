"""What a client brings when it connects: the query and the headers, through authorizer and `$connect`, in memory."""

from __future__ import annotations

import json
import random
from collections.abc import Hashable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from adapters.identity import DemoIdentity
from domain.errors import Refused
from domain.protocol import SUBPROTOCOL, valid_id, valid_name
from local.api_events import Upgrade, authorizer_event, connect_event, connection_context
from services.caller import read_caller
from services.connect import STATUS
from services.handshake import asked_room, chosen_dialect, read_handshake
from services.sessions import connect
from tests.fuzz.mutations import TEXTS
from tests.fuzz.target import Target
from tests.fuzz.targets.requests import CheckingWorld, check_frame, check_words

__all__ = ["Handshakes"]

CONNECTION = "Zm9v/+JhcmJheg="
QUERY: Sequence[tuple[str, Sequence[str]]] = (
    ("roomId", ["general", "den", "inbox#ada", *TEXTS[:20]]),
    ("username", ["Ada", "Ada Löwe", *TEXTS[:20]]),
    ("userId", ["ada", "bob", *TEXTS[:20]]),
    ("token", ["valid_1", "secret-token", ""]),
    ("colour", ["red"]),
)
OFFERS = ("roomcast.v1", "roomcast.v2", "bearer.valid_1", "bearer.secret-token", "bearer.", "graphql-ws", "", " ")
HEADER = "Sec-WebSocket-Protocol"


class Handshakes(Target):
    """A query, and after it headers, a line each.

    Never an exception but `Refused` with a code of the wire's table and printable words, after which nothing is stored
    and nothing enqueued. Who is let in has a valid id and name, is in the room asked for and in their inbox, speaks v1
    if and only if they offered it, is welcomed, and their token is nowhere in what is stored or sent.
    """

    name = "handshake"
    folders = ("services", "adapters", "domain", "local")
    tokens = (
        *(f"{name}=".encode() for name, _ in QUERY),
        *(it.encode() for it in OFFERS[:6]),
        *(b"&", b"=", b"%", b"%00", b"%ff", b"%ED%A0%80", b"+", b"#", b";", b",", b"\n", b": ", HEADER.encode()),
        *(b"Host: x", b"Origin: null", b"User-Agent: \xff", b"valid_", b"inbox%23ada", b"general"),
    )

    def draw(self, draw: random.Random) -> bytes:
        query = [(name, draw.choice(values)) for name, values in QUERY if draw.random() < 0.4]
        if query and draw.random() < 0.1:
            query.append(draw.choice(query))
        headers = [f"Host: 127.0.0.1:8081\nUser-Agent: {draw.choice(('curl', ''))}"]
        if draw.random() < 0.7:
            offers = draw.choices(OFFERS, k=draw.randint(1, 3))
            name = draw.choice((HEADER, HEADER.lower(), HEADER.upper()))
            headers.append(f"{name}: {', '.join(offers)}")
        return "\n".join([urlencode(query, quote_via=quote, errors="replace"), *headers]).encode()

    async def take(self, given: bytes) -> Hashable:
        query, *lines = given.decode("latin-1").split("\n")
        headers = [(name, value.strip()) for name, colon, value in (it.partition(":") for it in lines) if colon]
        world = CheckingWorld()
        now = world.clock.now()
        upgrade = Upgrade(query, headers, "127.0.0.1")
        context = connection_context(CONNECTION, upgrade, "dev", now)
        # As the functions get them: through JSON.
        asked = json.loads(json.dumps(authorizer_event(context, upgrade, now)))
        refused: Refused | None = None
        try:
            principal = await DemoIdentity().admit(read_handshake(asked))
            context["authorizer"] = {"userId": principal.user, "name": principal.name, "principalId": principal.user}
            event = json.loads(json.dumps(connect_event(context, upgrade, now)))
            handshake = read_handshake(event)
            dialect = chosen_dialect(handshake.subprotocols)
            room = asked_room(handshake.query)
            await connect(world.ports, read_caller(event), room, dialect)
        except Refused as error:
            refused = error
        if refused is not None:
            check_words(refused.code, refused.message)
            assert (await world.store.session(CONNECTION)).connection is None
            assert not any(world.queue.depth(it) for it in world.lanes)
            return refused.code, STATUS.get(refused.code, 403), refused.message
        assert valid_id(principal.user)
        assert valid_name(principal.name)
        assert (dialect == "v1") == (SUBPROTOCOL in handshake.subprotocols)
        await self._check_let_in(world, event, room)
        return dialect, tuple(sorted(handshake.query.keys() & {name for name, _ in QUERY}))

    async def _check_let_in(self, world: CheckingWorld, event: dict[str, Any], room: str) -> None:
        caller = read_caller(event)
        session = await world.store.session(CONNECTION)
        row = session.connection
        assert row is not None
        assert (row.user, row.name) == (caller.user, caller.name)
        assert {it.room for it in session.memberships} == {room, f"inbox#{caller.user}"}
        assert room == (event.get("queryStringParameters", {}).get("roomId") or "general")
        world.sockets.open(CONNECTION)
        await world.pump()
        sent = [it for frame in world.sockets.received[CONNECTION] for it in check_frame(frame)]
        assert [it.type for it in sent] == ["welcome", "user_joined"]
        stored = "\n".join(map(str, [session, *sent]))
        for token in ("secret-token", "bearer."):
            claimed = (*event.get("queryStringParameters", {}).values(), caller.user)
            assert token not in stored or any(token in it for it in claimed)
