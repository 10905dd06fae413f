"""Connections and their tokens: none outlives its token by more than the leeway, unless it shows a fresh one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.identity import DemoIdentity, TokenIdentity
from adapters.identity.keys import IssuerKeys
from domain.errors import Throttled
from domain.rooms import LIFETIME_MS, ROW_LIFETIME_MS, Dialect
from domain.tokens import RECONNECT_AFTER_MS, TOKEN_LEEWAY_MS, Expected
from services.leases import sweep
from tests.unit.adapters.issuers import ISSUER, JWKS_URL, KEYS, Shelf, key_set, make_token
from tests.unit.world import World

LEEWAY = TOKEN_LEEWAY_MS // 1000
MINUTE = 60


class Signed(World):
    """A world whose users come with tokens of an issuer."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        known = TokenIdentity(Expected(ISSUER, "roomcast"), JWKS_URL, self.clock)
        shelf = Shelf(**{JWKS_URL: key_set(KEYS["EdDSA"].jwk())})
        known._keys = IssuerKeys(ISSUER, JWKS_URL, self.clock, shelf.get)
        self.ports = replace(self.ports, identity=known)

    async def come(self, name: str, seconds: int, room: str = "general", dialect: Dialect = "v1") -> int:
        """Connect with a token that expires in so many seconds; when that is, in milliseconds."""
        expires_at = self.clock.now() + seconds * 1000
        await self.connect(name, room, dialect, token_expires_at=expires_at)
        await self.pump()
        return expires_at

    def token(self, user: str, seconds: int, **more: Any) -> str:
        claims = {"iss": ISSUER, "aud": "roomcast", "sub": user, "exp": self.clock.now() // 1000 + seconds}
        return make_token(KEYS["EdDSA"], claims | more)

    async def show(self, name: str, token: str) -> dict[str, Any]:
        """The answer to a fresh token."""
        return await self.ask(name, {"type": "reauth", "token": token, "clientId": "fresh-token"})

    async def ends(self, name: str) -> set[int]:
        """When its rows end: the connection's own, and a member row for each room."""
        session = await self.store.session(name)
        assert session.connection is not None
        rows = [row for it in session.memberships for row in await self.store.members_among(it.key, [name])]
        assert len(rows) == len(session.memberships) >= 2
        return {session.connection.expires_at, *(it.expires_at for it in rows)}


def code(answer: dict[str, Any]) -> str:
    assert answer["type"] == "error", answer
    return str(answer["data"]["code"])


# ---- the end


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_its_rows_end_with_its_token(dialect: Dialect) -> None:
    """In every room, one that is joined later among them, and its lease no later."""
    world = Signed()
    expires_at = await world.come("ada", 600, dialect=dialect)
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    await world.ask("ada", {"type": "ping"})
    assert await world.ends("ada") == {expires_at + TOKEN_LEEWAY_MS}
    row = (await world.store.session("ada")).connection
    assert row is not None
    assert row.lease_until == expires_at + TOKEN_LEEWAY_MS


async def test_a_long_lived_token_changes_nothing() -> None:
    """API Gateway cuts a connection after two hours, whatever its token says."""
    world = Signed()
    now = world.clock.now()
    await world.come("ada", 24 * 3600)
    assert await world.ends("ada") == {now + ROW_LIFETIME_MS}
    [welcome] = world.events("ada", "welcome")
    assert welcome["data"]["reconnectAt"] < now + LIFETIME_MS


@pytest.mark.parametrize("seconds", [120, 600, 3600, 7200])
async def test_a_client_is_asked_back_before_its_token_expires(seconds: int) -> None:
    """Early enough for a handshake, and with most of the token's time behind it."""
    world = Signed()
    now = world.clock.now()
    await world.come("ada", seconds)
    [welcome] = world.events("ada", "welcome")
    assert 0.8 * seconds <= (welcome["data"]["reconnectAt"] - now) / 1000 <= 0.95 * seconds


@pytest.mark.parametrize("seconds", [-50, 0, 5])
async def test_a_token_that_is_all_but_over_makes_nobody_spin(seconds: int) -> None:
    """Within the leeway it is accepted still: to be asked back at once, with the same token, would help nobody."""
    world = Signed()
    now = world.clock.now()
    await world.come("ada", seconds)
    [welcome] = world.events("ada", "welcome")
    assert welcome["data"]["reconnectAt"] == now + RECONNECT_AFTER_MS


async def test_nothing_is_received_after_the_end() -> None:
    """Not even from a worker that knows the members; who else is there misses nothing, and neither did ada before."""
    world = Signed()
    await world.connect("bob")
    await world.come("ada", 30)
    for text, pause in (
        ("at once", LEEWAY),
        ("in the leeway", 29),
        ("at its last second", 1),
        ("after", 5),
        ("later", 0),
    ):
        await world.say("bob", text)
        await world.pump()
        world.clock.advance(pause)
    assert world.messages("ada") == ["at once", "in the leeway", "at its last second"]
    assert world.messages("bob") == [*world.messages("ada"), "after", "later"]
    await world.ask("bob", {"type": "typing", "roomId": "general"})
    await world.ask("bob", {"type": "private_message", "targetUserId": "ada", "message": "psst"})
    await world.pump()
    assert world.events("ada", "typing", "private_message") == []


async def test_what_failed_is_not_made_up_for_after_the_end() -> None:
    """A remainder and its beacon are for who is still there."""
    world = Signed()
    await world.connect("bob")
    await world.come("ada", 1)
    post, tried = world.sockets.post, 0

    async def throttles_ada(connection: str, frame: bytes, deadline: float) -> None:
        nonlocal tried
        if connection == "ada":
            tried += 1
            raise Throttled("429")
        await post(connection, frame, deadline)

    world.sockets.post = throttles_ada  # type: ignore[method-assign]
    await world.say("bob", "hello")
    await world.work_once("interactive")
    assert world.queue.depth("retry") == 1
    before, world.sockets.post = tried, post  # type: ignore[method-assign]
    world.clock.advance(LEEWAY + 1)
    await world.pump(seconds=900)
    assert before > 0
    assert world.messages("ada") == []
    assert world.events("ada", "head") == []
    assert world.queue.depth("retry") == 0


async def test_a_post_that_waits_beyond_the_end_is_not_made() -> None:
    """The end is looked at when the post is, not when the round begins."""
    world = Signed()
    await world.come("ada", 1)
    world.clock.advance(LEEWAY)
    tried = 0

    async def throttles(connection: str, frame: bytes, deadline: float) -> None:
        nonlocal tried
        tried += 1
        world.clock.advance(2)
        raise Throttled("429")

    world.sockets.post = throttles  # type: ignore[method-assign]
    await world.say("ada", "hello")
    await world.pump()
    assert (tried, world.counts.get("Remainders", 0)) == (1, 0)


@pytest.mark.parametrize("dialect", ["v1", "recipe"])
async def test_the_tick_closes_its_socket(dialect: Dialect) -> None:
    """Within a minute and a bit of the end; its rows are gone, and its rooms hear of it."""
    world = Signed()
    await world.connect("bob", "tea")
    await world.come("ada", 90, "tea", dialect)
    await sweep(world.ports, world.sockets)
    world.clock.advance(90 + LEEWAY - 1)
    await sweep(world.ports, world.sockets)
    assert world.sockets.is_open("ada")
    world.clock.advance(MINUTE)
    await sweep(world.ports, world.sockets)
    await world.pump()
    assert not world.sockets.is_open("ada")
    assert (await world.store.session("ada")).connection is None
    assert [it["data"]["userId"] for it in world.events("bob", "user_left")] == ["ada"]


async def test_requests_end_with_the_token() -> None:
    """Every kind of them, with a code that says what to do; until then and within the leeway they are carried out."""
    world = Signed()
    await world.come("ada", 30)
    world.clock.advance(30 + LEEWAY - 1)
    await world.say("ada", "hello")
    world.clock.advance(1)
    for request in (
        {"type": "chat", "message": "too late"},
        {"type": "history", "roomId": "general"},
        {"type": "join_room", "roomId": "tea"},
        {"type": "ping"},
        {"type": "typing", "roomId": "general"},
        {"type": "private_message", "targetUserId": "bob", "message": "too late"},
        {"type": "reauth", "token": world.token("ada", 600)},
    ):
        assert code(await world.ask("ada", request)) == "TOKEN_EXPIRED"
    room = await world.store.room("general")
    assert room is not None
    assert room.head == 1


# ---- a fresh token


async def test_a_fresh_token_lengthens_all_of_it() -> None:
    """Every room's rows, the inbox's among them, and the lease; and requests are carried out beyond the first one's
    end."""
    world = Signed()
    await world.come("ada", 60)
    await world.ask("ada", {"type": "join_room", "roomId": "tea"})
    world.clock.advance(50)
    answer = await world.show("ada", world.token("ada", 3600))
    assert answer["type"] == "reauthenticated"
    assert answer["data"]["clientId"] == "fresh-token"
    now = world.clock.now()
    assert 0.8 * 3600 <= (answer["data"]["reconnectAt"] - now) / 1000 <= 0.95 * 3600
    assert await world.ends("ada") == {now // 1000 * 1000 + 3_600_000 + TOKEN_LEEWAY_MS}
    world.clock.advance(600)
    assert await sweep(world.ports, world.sockets) == 0
    await world.say("ada", "still here", "tea")
    await world.pump()
    assert world.messages("ada") == ["still here"]


async def test_a_worker_that_knows_the_members_hears_of_it() -> None:
    """It has read them before the fresh token was shown, and posts after the first one's end."""
    world = Signed()
    await world.connect("bob")
    await world.come("ada", 30)
    world.clock.advance(LEEWAY)
    await world.say("bob", "one")
    await world.pump()
    await world.show("ada", world.token("ada", 3600))
    world.clock.advance(40)
    await world.say("bob", "two")
    await world.pump()
    assert world.messages("ada") == ["one", "two"]


async def test_a_join_at_the_same_time_lasts_as_long() -> None:
    """It has read the old end before, and writes after: its transaction fails, and it reads again."""
    world = Signed()
    await world.come("ada", 60)
    join = world.store.join

    async def between(*read: Any) -> None:
        world.store.join = join  # type: ignore[method-assign]
        assert (await world.show("ada", world.token("ada", 3600)))["type"] == "reauthenticated"
        await join(*read)

    world.store.join = between  # type: ignore[assignment, method-assign]
    assert (await world.ask("ada", {"type": "join_room", "roomId": "tea"}))["type"] == "joined"
    assert len((await world.store.session("ada")).memberships) == 3
    assert len(await world.ends("ada")) == 1


async def test_no_token_lengthens_a_connection_beyond_its_cut() -> None:
    """Two hours are API Gateway's."""
    world = Signed()
    began = world.clock.now()
    await world.come("ada", 60)
    answer = await world.show("ada", world.token("ada", 24 * 3600))
    assert await world.ends("ada") == {began + ROW_LIFETIME_MS}
    assert answer["data"]["reconnectAt"] < began + LIFETIME_MS


async def test_a_shorter_token_shortens_nothing() -> None:
    """What one has shown, one has shown."""
    world = Signed()
    expires_at = await world.come("ada", 600)
    await world.show("ada", world.token("ada", 60))
    assert await world.ends("ada") == {expires_at + TOKEN_LEEWAY_MS}


async def test_a_fresh_token_is_of_the_same_user_with_the_same_groups() -> None:
    """Whose groups have changed connects again: they stand in what API Gateway says of the connection."""
    world = Signed()
    expires_at = await world.come("ada", 60)
    refused = {
        "FORBIDDEN": [world.token("bob", 600), world.token("ada", 600, groups=["admin"])],
        "UNAUTHENTICATED": ["", "valid_ada", world.token("ada", 600)[:-4], world.token("ada", 600, aud="other")],
        "TOKEN_EXPIRED": [world.token("ada", -600)],
        "BAD_REQUEST": ["x" * 9_000],
    }
    for expected, tokens in refused.items():
        assert [code(await world.show("ada", it)) for it in tokens] == [expected] * len(tokens)
    assert await world.ends("ada") == {expires_at + TOKEN_LEEWAY_MS}


async def test_who_has_ended_stays_so() -> None:
    """A fresh token brings no connection back."""
    world = Signed()
    await world.come("ada", 600)
    await world.store.end_connection("ada")
    assert code(await world.show("ada", world.token("ada", 3600))) == "FORBIDDEN"
    assert (await world.store.session("ada")).connection is None


async def test_a_demo_has_nothing_to_lengthen() -> None:
    """A token of the recipe's is accepted there, and any other is not."""
    world = World()
    world.ports = replace(world.ports, identity=DemoIdentity())
    await world.connect("ada")
    assert (await world.ask("ada", {"type": "reauth", "token": "valid_1"}))["type"] == "reauthenticated"
    assert code(await world.ask("ada", {"type": "reauth", "token": "stolen"})) == "UNAUTHENTICATED"
