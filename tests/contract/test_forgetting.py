"""Forgetting a user in real tables and an archive: nothing is left, nobody else's changes, every death is survived."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from adapters.dynamodb import rows, table_definitions
from adapters.memory import MemoryArchive
from adapters.settings import table_names
from domain.archive import Line, Place, day_of, line_of, object_name, pack, unpack
from domain.forgetting import STAND_IN, Kind, user_hash
from domain.notices import Announcement
from domain.ports import StoredObject
from domain.rooms import (
    FOREVER,
    Connection,
    Directory,
    Entry,
    Member,
    Once,
    Profile,
    Reaction,
    Ring,
    Room,
    ShardKey,
    Standing,
    inbox_of,
)
from local.cloud import Cloud
from ops.forgetting import Oblivion, Outcome, Pace

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOB, LONGER, ADA = "bob-7", "bob-71", "ada"
NOW = 1_700_000_000_000
INBOX = Room(inbox_of(BOB), 3, head=2, shards=1)
_numbers = itertools.count(1)
Rows = dict[tuple[str, str, str], dict[str, Any]]
"""(table, pk, sk) → row."""


@dataclass(slots=True)
class Kept:
    """Tables and an archive with what there is of bob, and of others."""

    client: DynamoDBClient
    tables: dict[str, str]
    archive: MemoryArchive

    async def put(self, table: str, *items: rows.Item) -> None:
        for it in items:
            await self.client.put_item(TableName=self.tables[table], Item=it)

    async def rows(self) -> Rows:
        """All rows, the memory of forgetting aside."""
        found: Rows = {}
        for table, name in self.tables.items():
            pages = self.client.get_paginator("scan").paginate(TableName=name)
            async for page in pages:
                for it in page["Items"]:
                    found[table, str(it["pk"]["S"]), str(it["sk"]["S"])] = dict(it)
        return found

    def oblivion(self, client: Any = None, **options: Any) -> Oblivion:
        async def close() -> int:
            return 0

        async def sleep(_: float) -> None:
            pass

        return Oblivion(
            user=BOB,
            dynamodb=client or self.client,
            tables=self.tables,
            archive=self.archive,
            close=close,
            by="the operator",
            reads=Pace(1_000, sleep=sleep),
            writes=Pace(1_000, sleep=sleep),
            now=lambda: NOW,
            **options,
        )


def said(seq: int, sender: str, text: str, **body: Any) -> Entry:
    start = {"messageId": f"m{seq}", "senderId": sender, "senderName": sender.title(), "message": text}
    return Entry(seq, "chat", NOW - 100 + seq, sender, start | body, ends_at=FOREVER)


def member(user: str) -> Member:
    return Member(f"{user}=", user, user.title(), "v1", connected_at=1, expires_at=2, join_id=f"join {user}")


async def fill(kept: Kept) -> None:
    """What the use cases leave behind."""
    log = [
        said(1, BOB, "my secret", clientId=f"{BOB}-request"),
        said(2, ADA, f"what does {BOB} say?", mentions=[BOB, LONGER]),
        said(3, LONGER, "nothing", reactions=[{"emoji": "+1", "count": 2, "users": [BOB, ADA]}]),
        said(4, ADA, "eleven", reactions=[{"emoji": "ok", "count": 11, "users": [ADA]}]),
        Entry(5, "reaction", NOW, BOB, {"of": 3, "userId": BOB, "emoji": "+1", "count": 2, "users": [ADA, BOB]}),
        Entry(6, "message_edited", NOW, BOB, {"of": 1, "by": BOB, "message": "my secret"}),
        Entry(7, "banned", NOW, "eve", {"userId": BOB, "by": "eve", "reason": "he shouts"}),
        Entry(8, "banned", NOW, "eve", {"userId": LONGER, "by": "eve", "reason": "so does he"}),
        *(said(seq, BOB if seq % 2 else LONGER, f"number {seq}") for seq in range(9, 60)),
    ]
    private = replace(said(1, BOB, "psst", targetUserId=ADA), type="private_message", beside={"twin": 1})
    to_bob = replace(said(2, ADA, "yes?", targetUserId=BOB), type="private_message", beside={"twin": 2})
    adas = inbox_of(ADA)
    reaction = Reaction(3, FOREVER, BOB, "+1")
    await kept.put(
        "messages",
        *(rows.entry_row("tea", epoch, it) for epoch in (4, 5) for it in log),
        *(rows.entry_row(room, epoch, it) for room, epoch in ((INBOX.room, 3), (adas, 1)) for it in (private, to_bob)),
        *(rows.reaction_row("tea", 5, it) for it in (reaction, replace(reaction, user=LONGER))),
        rows.reaction_row("tea", 5, replace(reaction, of=4, emoji="ok")),
        rows.reaction_row("tea", 5, replace(reaction, of=99)),
        rows.thread_row("tea", 5, 1, log[1]),
        *(
            rows.once_row(user, f"{user}-request-{number}", Once("3f", '{"type":"ack","data":{}}', [], NOW))
            for user in (BOB, LONGER, f"service#{BOB}")
            for number in range(3)
        ),
        rows.once_row(
            ADA,
            "ada-request",
            Once(
                "3f",
                '{"type":"ack","data":{}}',
                [Ring(adas, 1, 1, 2), Ring(INBOX.room, 3, 1, 2)],
                NOW,
                Announcement("private_message", INBOX.room, 3, 2, NOW, ADA, "Ada", [BOB]),
            ),
        ),
    )
    await kept.put(
        "rooms",
        *(rows.room_row(it) for it in (INBOX, Room(adas, 1), Room(inbox_of(LONGER), 2))),
        rows.room_row(Room("tea", 5, head=59, profile=Profile(title=f"{BOB} and friends", owner=BOB))),
        rows.room_row(Room(BOB, 5, profile=Profile(owner=LONGER))),
        rows.directory_row(Directory("tea", f"{BOB} and friends", BOB, "root")),
        rows.directory_row(Directory(BOB, BOB, LONGER, "root")),
        *(
            row
            for user in (BOB, LONGER)
            for row in (
                rows.user_key("tea", user) | rows.values(rows.standing_row(Standing("owner"))),
                rows.user_key("den", user) | rows.values(rows.standing_row(Standing("guest", banned_until=FOREVER))),
                rows.mark_key("tea", user) | rows.values({"epoch": 5, "seq": 3, "nth": 3}),
                rows.notice_key(ADA, user) | rows.values({"roomId": adas, "epoch": 1, "seq": 1, "claimedAt": 1}),
                rows.notices_key(user) | rows.values({"wanted": False}),
                rows.typing_key(user) | rows.values({"typedAt": 1}),
                rows.member_row(member(user), ShardKey("tea", 5, 0)),
                rows.member_row(member(user), ShardKey(inbox_of(user), 3, 0)),
            )
        ),
        rows.changed_key("tea", 5) | rows.values({"claim": "c"}) | {"changed": {"SS": [BOB, LONGER]}},
        rows.changed_key("den", 5) | rows.values({"claim": "c"}) | {"changed": {"SS": [BOB]}},
    )
    await kept.put(
        "connections",
        *(
            row
            for user in (BOB, LONGER)
            for row in (
                rows.connection_row(Connection(f"c{len(user)}=", user, user, "v1", 1, 2, BOB)),
                rows.membership_row(replace(member(user), connection=f"c{len(user)}="), ShardKey("tea", 5, 0)),
                rows.membership_row(replace(member(user), connection=f"c{len(user)}="), ShardKey(inbox_of(user), 3, 0)),
            )
        ),
    )
    for room, epoch, entries in (("tea", 4, log), (adas, 1, [private, to_bob]), (INBOX.room, 3, [private, to_bob])):
        name = object_name(Place(room, epoch, 0, day_of(NOW)))
        await kept.archive.put(name, pack([line(room, epoch, it) for it in entries]), replaces=None)


def line(room: str, epoch: int, entry: Entry) -> Line:
    return line_of(
        {
            "v": 1,
            "room": room,
            "epoch": epoch,
            "seq": entry.seq,
            "at": entry.at,
            "type": entry.type,
            "sender": entry.sender,
            "nth": 0,
            "body": entry.body,
            "rev": str(entry.seq),
        }
    )


EXPECTED = {
    Kind.MESSAGE: 2 * 27 + 1,
    # Who is mentioned, who has reacted, a reaction, an edit, a ban; ada's copy.
    Kind.ENTRY: 2 * 5 + 1,
    Kind.REACTION: 2,
    # The log, meta, notices, typing, and the member row.
    Kind.INBOX: 2 + 3 + 1,
    Kind.REQUEST: 3 + 1,
    Kind.STANDING: 2,
    Kind.MARK: 1,
    Kind.NOTICE: 1,
    Kind.OWNER: 2,
    Kind.CONNECTION: 1 + 3,
    Kind.OTHER: 2,
    Kind.LINE: 27 + 5 + 2,
    Kind.OBJECT: 1,
}


@pytest_asyncio.fixture(loop_scope="session", params=["moto", "ministack"])
async def kept(request: pytest.FixtureRequest, moto_dynamodb: DynamoDBClient, cloud: Cloud) -> AsyncIterator[Kept]:
    client = moto_dynamodb if request.param == "moto" else cloud.dynamodb
    found = await _kept(client)
    yield found
    await _drop(found)


@pytest_asyncio.fixture(loop_scope="session")
async def paged(cloud: Cloud) -> AsyncIterator[Kept]:
    """Without moto, whose pages of a Scan miss rows: it has no order of partitions to go on by."""
    found = await _kept(cloud.dynamodb)
    yield found
    await _drop(found)


async def _kept(client: DynamoDBClient) -> Kept:
    tables = table_names(f"forgetting{next(_numbers)}")
    for definition in table_definitions(tables):
        await client.create_table(**definition)
    found = Kept(client, tables, MemoryArchive())
    await fill(found)
    return found


async def _drop(kept: Kept) -> None:
    for table in kept.tables.values():
        await kept.client.delete_table(TableName=table)


def named(text: str) -> list[str]:
    """Where bob's id stands in a text as a whole."""
    return re.findall(rf"(?<![\w.:-]){BOB}(?![\w.:-])", text)


async def check_forgotten(kept: Kept, before: Rows, archived: dict[str, bytes]) -> None:
    """No row and no object has the id but in others' words, and what did not have it is as it was."""
    after = await kept.rows()
    for key, row in after.items():
        # The title of a room, the room that is called like bob, the service that is, and what ada wrote.
        text = json.dumps(row).replace(f"{BOB} and friends", "").replace(f"what does {BOB} say?", "")
        text = text.replace(f'"lastRoom": {{"S": "{BOB}"}}', "").replace(f"service#{BOB}", "")
        if key[1] == BOB or key[1].startswith(f"{BOB}#"):
            text = text.replace(json.dumps({"S": BOB}), "")
        assert named(text) == [], row
    unnamed = {key: row for key, row in before.items() if not named(json.dumps(row))}
    del unnamed["messages", "tea#5", rows.seq_text(4)]  # the eleventh who reacted is not named there
    assert {key: after.get(key) for key in unnamed} == unnamed
    for name, content in kept.archive.objects.items():
        assert named(name) == []
        lines = unpack(content)
        old = {(it.epoch, it.seq): it for it in unpack(archived[name])}
        assert len(lines) == len(old)
        for it in lines:
            was = old[it.epoch, it.seq]
            assert named(it.text.decode().replace(f"what does {BOB} say?", "")) == []
            assert (it.rev, it.seq) == (was.rev, was.seq)
            assert named(was.text.decode()) or it == was


async def test_nothing_is_left(kept: Kept) -> None:
    """In the log of both lives of a room, in inboxes, in the archive; and what was done is counted and recorded."""
    before, archived = await kept.rows(), dict(kept.archive.objects)
    looked = await kept.oblivion().look()
    assert await kept.rows() == before
    outcome = await kept.oblivion().run()
    assert (outcome.is_proven, outcome.passes, outcome.left, outcome.where) == (True, 2, 0, [])
    assert outcome.counts == EXPECTED
    # An entry that is taken off two lists at once is one row less to look at.
    assert looked.counts == EXPECTED | {Kind.REACTION: 3}
    await check_forgotten(kept, before, archived)
    [record] = records(await kept.rows())
    assert (record["counts"], record["by"], record["startedAt"]) == (EXPECTED, "the operator", NOW)


async def test_what_becomes_of_others(paged: Kept) -> None:
    """Reactions are counted down, requests ring what is left, rooms have nobody as their owner."""
    await paged.oblivion(page=10).run()
    after = await paged.rows()
    log = {seq: rows.read_entry(after["messages", "tea#5", rows.seq_text(seq)]) for seq in range(1, 60)}
    assert log[3].body["reactions"] == [{"emoji": "+1", "count": 1, "users": [ADA]}]
    assert log[4].body["reactions"] == [{"emoji": "ok", "count": 10, "users": [ADA]}]
    assert log[2].body["mentions"] == [LONGER]
    assert log[1].sender == log[1].body["senderId"] == STAND_IN
    assert log[6].body == {"of": 1, "by": STAND_IN}
    assert log[7].body == {"userId": STAND_IN, "by": "eve"}
    once = rows.read_once(after["messages", f"#once#{ADA}", "ada-request"])
    assert (once.rings, once.announcement) == ([Ring(inbox_of(ADA), 1, 1, 2)], None)
    assert rows.read_room(after["rooms", "tea", "meta"]).profile == Profile(title=f"{BOB} and friends")
    assert rows.read_directory(after["rooms", "tea", "directory"]).owner == ""


async def test_again_there_is_nothing(paged: Kept) -> None:
    """A run after the last finds nothing in one pass, and leaves a record of that, too."""
    await paged.oblivion(page=10).run()
    before = await paged.rows()
    again = replace_now(paged.oblivion(page=10), NOW + 1)
    outcome = await again.run()
    assert (outcome.is_proven, outcome.passes, outcome.counts) == (True, 1, Counter())
    after = await paged.rows()
    assert {key for key in after if key not in before} == {("rooms", f"#forget#{user_hash(BOB)}", f"done#{NOW + 1}")}
    assert {key: after[key] for key in before} == before


def records(found: Rows) -> list[dict[str, Any]]:
    """Of all runs, the first one first; nothing else is remembered of them."""
    remembered = {key: row for key, row in found.items() if key[1].startswith("#forget#")}
    assert {(pk, sk.split("#")[0]) for _, pk, sk in remembered} == {(f"#forget#{user_hash(BOB)}", "done")}
    return [json.loads(remembered[key]["record"]["S"]) for key in sorted(remembered)]


def replace_now(oblivion: Oblivion, now: int) -> Oblivion:
    oblivion.now = lambda: now
    return oblivion


class Died(BaseException):
    """As if by kill -9."""


class Dying:
    """A client whose program dies at a call: before its effect, or after."""

    def __init__(self, client: Any, calls: int, *, after: bool) -> None:
        self.meta = client.meta
        self._client = client
        self._calls = calls
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        async def call(**arguments: Any) -> Any:
            self._calls -= 1
            if self._calls < 0 or (self._calls == 0 and not self._after):
                raise Died
            answer = await method(**arguments)
            if self._calls == 0:
                raise Died
            return answer

        return call


async def test_every_death_is_survived(paged: Kept) -> None:
    """A program that dies again and again, after a few more calls to the tables each time, comes to the same end and
    the same counts as one that lives."""
    before, archived = await paged.rows(), dict(paged.archive.objects)
    outcome: Outcome | None = None
    for calls in itertools.count(1):
        try:
            dying = Dying(paged.client, 2 * calls, after=bool(calls % 2))
            outcome = await replace_now(paged.oblivion(dying, page=10), NOW + calls).run()
        except Died:
            continue
        break
    assert calls > 10
    assert outcome is not None
    assert outcome.is_proven
    # Who dies when all is done is followed by a run that finds nothing.
    first, *others = records(await paged.rows())
    assert first["counts"] == EXPECTED
    assert all(it["counts"] == {} for it in others)
    await check_forgotten(paged, before, archived)


@pytest.mark.parametrize("after", [False, True])
async def test_a_death_before_an_object_is_put(paged: Kept, after: bool) -> None:
    """Its lines are counted by then, and not again by the next run; nor are they if it was put all the same."""

    class Deadly(MemoryArchive):
        async def put(self, name: str, content: bytes, *, replaces: StoredObject | None) -> None:
            if after:
                await super().put(name, content, replaces=replaces)
            raise Died

    before, archived = await paged.rows(), dict(paged.archive.objects)
    living = paged.archive
    deadly = Deadly()
    deadly.objects = living.objects
    paged.archive = deadly
    for _ in range(2):
        with pytest.raises(Died):
            await paged.oblivion().run()
    paged.archive = living
    outcome = await paged.oblivion().run()
    assert (outcome.is_proven, outcome.counts) == (True, EXPECTED)
    await check_forgotten(paged, before, archived)


async def test_bans_may_stay(paged: Kept) -> None:
    """Those in force, and of their rows nothing else; without the option the next run takes them."""
    outcome = await paged.oblivion(keep_bans=True).run()
    assert (outcome.is_proven, outcome.kept_bans) == (True, 1)
    after = await paged.rows()
    assert set(after["rooms", "den", f"user#{BOB}"]) == {"pk", "sk", "bannedUntil"}
    assert ("rooms", "tea", f"user#{BOB}") not in after
    outcome = await replace_now(paged.oblivion(), NOW + 1).run()
    assert (outcome.is_proven, outcome.counts) == (True, Counter({Kind.STANDING: 1}))


async def test_what_is_said_meanwhile_is_found(paged: Kept) -> None:
    """By the next pass; and an edit of another's between reading and writing is not lost."""
    oblivion = paged.oblivion(page=10)
    slipped = False

    class Busy(Dying):
        def __getattr__(self, name: str) -> Any:
            method = getattr(paged.client, name)

            async def call(**arguments: Any) -> Any:
                nonlocal slipped
                if name == "transact_write_items" and not slipped:
                    slipped = True
                    edited = said(2, ADA, "edited meanwhile", mentions=[BOB, LONGER])
                    await paged.put(
                        "messages", rows.entry_row("tea", 5, edited), rows.entry_row("aaa", 1, said(1, BOB, "late"))
                    )
                return await method(**arguments)

            return call

    oblivion.dynamodb = Busy(paged.client, 0, after=False)
    outcome = await oblivion.run()
    assert outcome.is_proven
    after = await paged.rows()
    assert rows.read_entry(after["messages", "tea#5", rows.seq_text(2)]).body == {
        "messageId": "m2",
        "senderId": ADA,
        "senderName": "Ada",
        "message": "edited meanwhile",
        "mentions": [LONGER],
    }
    assert rows.read_entry(after["messages", "aaa#1", rows.seq_text(1)]).sender == STAND_IN


async def test_what_nobody_foresaw_is_left_and_told(paged: Kept) -> None:
    """The run is not done, says where, and the next one is once that is gone."""
    await paged.put("rooms", rows.values({"pk": "tea", "sk": "badge", "bearer": BOB}))
    await paged.archive.put("unreadable/1.json", f'{{"S":"{BOB}"}}'.encode(), replaces=None)
    await paged.archive.put("unreadable/2.json", f'{{"S":"{LONGER}"}}'.encode(), replaces=None)
    outcome = await paged.oblivion().run()
    assert (outcome.is_proven, outcome.left) == (False, 2)
    assert sorted(outcome.where) == ["archive: unreadable/1.json", "rooms: tea badge"]
    await paged.archive.delete("unreadable/1.json")
    await paged.client.delete_item(TableName=paged.tables["rooms"], Key={"pk": {"S": "tea"}, "sk": {"S": "badge"}})
    outcome = await paged.oblivion().run()
    assert (outcome.is_proven, outcome.left, outcome.counts) == (True, 0, EXPECTED)
