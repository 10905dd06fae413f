"""The rows of the three tables: their keys, and how the domain's values stand in them.

connections: connectionId/`#` is the connection, connectionId/room its membership; `due#MINUTE#BUCKET`/connectionId a
lease that ends in that minute, `tick#BUCKET`/`#` the last minute that is done. No connection id has a `#`: API
Gateway's are base64.
rooms: room/`meta`, room/`directory`, room/`user#USER`, room/`read#USER`; room#epoch#shard/`shard`, and
room#epoch#shard/connectionId for each member. A room is an id or `inbox#USER`, and no id has a `#`, so the number of
`#` tells these keys apart. The index `directory` (parent, room) holds the directory rows, which alone have a `parent`.
Of an inbox also inbox/`notices`, whether its user wants any, and inbox/`notice#SENDER`, the last that was sent about a
sender; inbox/`presence` is how its user is, inbox/`typing` when they were last seen writing; room/`presence#EPOCH` of
whom the room is still to be told how they are. room/`hook#KEY` is the hook ROOM~KEY; its room's meta row names the
outgoing ones in `hooks`.
messages: room#epoch/seq is an entry, room#epoch/`~SEQ~USER~EMOJI` that the user has reacted so to the message there,
room#epoch/`~ROOT#SEQ` that the entry at SEQ is in the thread that began at ROOT (`~` sorts behind all digits, and is in
no id); `#once#USER`/clientId a once-row, whose leading `#` no room can have.

rooms also holds `#forget#HASH`, what `forgetting.py` remembers of a user who was forgotten. `forgotten.py` says what
becomes of each row then: who adds a kind of row that names a user adds it there, and to docs/forgetting.md.

`expiresAt` is the time-to-live in seconds since 1970; all other times are milliseconds.

How a row's form may change: attributes are only added, each with a default for the rows that lack it, and a reader
takes those that it knows. Anything else, a new value of an attribute among it, is a new version `v` (1 where a row has
none), handled like a job's: one release reads it, the next writes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from domain.marks import Mark
from domain.notices import Announcement
from domain.presence import Presence
from domain.rooms import (
    FOREVER,
    Connection,
    Count,
    Directory,
    Entry,
    Member,
    Membership,
    Once,
    Profile,
    Reaction,
    Ring,
    Room,
    Shard,
    ShardKey,
    Standing,
    due_bucket,
    inbox_of,
)
from domain.webhooks import Hook

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

__all__ = [
    "DIRECTORY_ATTRIBUTES",
    "DIRECTORY_INDEX",
    "HOOK_PREFIX",
    "LAST_SEQ",
    "MEMBER_ATTRIBUTES",
    "NO_ROLE",
    "ROW_VERSION",
    "TTL_ATTRIBUTE",
    "Item",
    "Key",
    "beside_text",
    "body_text",
    "changed_key",
    "connection_key",
    "connection_row",
    "directory_key",
    "directory_row",
    "due_key",
    "due_partition",
    "due_row",
    "entry_key",
    "entry_row",
    "hook_key",
    "hook_progress",
    "hook_row",
    "hooks_text",
    "log_key",
    "mark_key",
    "member_key",
    "member_row",
    "membership_key",
    "membership_row",
    "meta_key",
    "notice_key",
    "notices_key",
    "once_key",
    "once_row",
    "presence_key",
    "presence_row",
    "profile_text",
    "reaction_key",
    "reaction_row",
    "read_connection",
    "read_directory",
    "read_entry",
    "read_hook",
    "read_mark",
    "read_member",
    "read_membership",
    "read_once",
    "read_presence",
    "read_room",
    "read_shard",
    "read_standing",
    "room_row",
    "seconds",
    "seq_text",
    "shard_key",
    "standing_row",
    "thread_row",
    "thread_seq",
    "thread_text",
    "tick_key",
    "tick_row",
    "time_to_live",
    "typing_key",
    "user_key",
    "values",
]

TTL_ATTRIBUTE = "expiresAt"
"""Seconds since 1970, as DynamoDB's time-to-live wants it."""
ROW_VERSION = 1
ROW_RETENTION_MS = 3600 * 1000
"""How long a connection's rows outlive it: the tick must find them, to close its socket and to tell its rooms."""
MEMBER_ATTRIBUTES = ("sk", "userId", "name", "dialect", "joinId", "connectedAt", "expiresAtMs", "since", "status")
"""What `read_member` needs of a member row."""
DIRECTORY_INDEX = "directory"
DIRECTORY_ATTRIBUTES = ("title", "owner", "visibility")
"""What the index holds of a directory row beside the keys."""
NO_ROLE = "-"
"""What stands for no role in a user row."""
PRESENCE_RETENTION_MS = 24 * 3600 * 1000
"""How long a presence row outlives what it says, so that no work-out under way takes a new row for the one it read."""
DUE_RETENTION_MS = 6 * 3600 * 1000
"""How long a due row outlives its minute: ticks that stood still for less find all that is due."""

HOOK_PREFIX = "hook#"
LAST_SEQ = 10**16 - 1
"""No seq is above it."""

_profiles = msgspec.json.Decoder(Profile)
_announcements = msgspec.json.Decoder(Announcement)

Key = dict[str, "AttributeValueTypeDef"]
Item = dict[str, "AttributeValueTypeDef"]


def values(row: Mapping[str, str | int | bool | None]) -> Item:
    """The row's attributes as DynamoDB wants them; an attribute that is None is left out."""
    return {name: _value(it) for name, it in row.items() if it is not None}


def _value(it: str | int | bool) -> AttributeValueTypeDef:
    if isinstance(it, bool):
        return {"BOOL": it}
    return {"N": str(it)} if isinstance(it, int) else {"S": it}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(it["N"]) if "N" in it else next(iter(it.values())) for name, it in item.items()}


def _number(text: str) -> int | float:
    # All of ours are whole; an attribute of a later release need not be.
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _key(pk: str, sk: str) -> Key:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def seconds(milliseconds: int) -> int:
    """Whole seconds, as a time-to-live wants them."""
    return -(-milliseconds // 1000)


def _end(ends_at: int) -> int | None:
    """The time-to-live of what is kept until then; None: it has none."""
    return None if ends_at == FOREVER else seconds(ends_at)


def time_to_live(expires_at: int) -> int:
    """The time-to-live, in seconds, of the rows of a connection that ends then."""
    return seconds(expires_at + ROW_RETENTION_MS)


# ------------------------------------------------------------------------------------------------ connections


def connection_key(connection: str) -> Key:
    return _key(connection, "#")


def connection_row(connection: Connection) -> Item:
    return connection_key(connection.connection) | values(
        {
            "userId": connection.user,
            "name": connection.name,
            "dialect": connection.dialect,
            "connectedAt": connection.connected_at,
            "expiresAtMs": connection.expires_at,
            "leaseUntil": connection.lease_until,
            TTL_ATTRIBUTE: time_to_live(connection.expires_at),
            "lastRoom": connection.last_room,
        }
    )


def read_connection(item: Mapping[str, Any]) -> Connection:
    row = _plain(item)
    return Connection(
        connection=row["pk"],
        user=row["userId"],
        name=row["name"],
        dialect=row["dialect"],
        connected_at=row["connectedAt"],
        expires_at=row["expiresAtMs"],
        last_room=row["lastRoom"],
        lease_until=row.get("leaseUntil", 0),
    )


def membership_key(connection: str, room: str) -> Key:
    return _key(connection, room)


def membership_row(member: Member, key: ShardKey) -> Item:
    return membership_key(member.connection, key.room) | values(
        {
            "epoch": key.epoch,
            "shard": key.shard,
            "joinId": member.join_id,
            "userId": member.user,
            "name": member.name,
            "since": member.since,
            TTL_ATTRIBUTE: time_to_live(member.expires_at),
        }
    )


def read_membership(item: Mapping[str, Any]) -> Membership:
    row = _plain(item)
    return Membership(
        room=row["sk"],
        epoch=row["epoch"],
        shard=row["shard"],
        join_id=row["joinId"],
        user=row["userId"],
        name=row["name"],
        since=row.get("since", 0),
    )


def due_partition(minute: int, bucket: int) -> str:
    """The partition key of the leases that end in a minute."""
    return f"due#{minute}#{bucket}"


def due_key(connection: str, minute: int) -> Key:
    return _key(due_partition(minute, due_bucket(connection)), connection)


def due_row(connection: str, minute: int) -> Item:
    return due_key(connection, minute) | values({TTL_ATTRIBUTE: seconds(minute * 60_000 + DUE_RETENTION_MS)})


def tick_key(bucket: int) -> Key:
    return _key(f"tick#{bucket}", "#")


def tick_row(bucket: int, minute: int) -> Item:
    return tick_key(bucket) | values({"minute": minute})


# ------------------------------------------------------------------------------------------------ rooms


def meta_key(room: str) -> Key:
    return _key(room, "meta")


def room_row(room: Room) -> Item:
    return meta_key(room.room) | values(
        {
            "epoch": room.epoch,
            "head": room.head,
            "shards": room.shards,
            "status": room.status,
            "profile": profile_text(room.profile),
            "messages": room.messages,
            "hooks": hooks_text(room.hooks),
        }
    )


def hooks_text(hooks: Sequence[str]) -> str | None:
    """The keys of a room's outgoing hooks, as they stand in its meta row; None where it has none."""
    return ",".join(hooks) or None


def profile_text(profile: Profile) -> str:
    """A profile as it stands in a meta row."""
    return msgspec.json.encode(profile).decode()


def read_count(item: Mapping[str, Any]) -> Count:
    """A shard's row, as a change of its count returns it."""
    row = _plain(item)
    return Count(row["members"], row.get("statsAt", 0), row.get("shards", 1))


def read_room(item: Mapping[str, Any]) -> Room:
    row = _plain(item)
    return Room(
        room=row["pk"],
        epoch=row["epoch"],
        head=row["head"],
        shards=row["shards"],
        status=row["status"],
        growing_at=row.get("growingAt", 0),
        profile=_profiles.decode(row["profile"]) if "profile" in row else Profile(),
        messages=row.get("messages", 0),
        hooks=tuple(row["hooks"].split(",")) if "hooks" in row else (),
    )


def directory_key(room: str) -> Key:
    return _key(room, "directory")


def directory_row(directory: Directory) -> Item:
    return directory_key(directory.room) | values(
        {
            "title": directory.title,
            "owner": directory.owner,
            "parent": directory.parent,
            "visibility": directory.visibility,
        }
    )


def read_directory(item: Mapping[str, Any]) -> Directory:
    row = _plain(item)
    return Directory(row["pk"], row["title"], row["owner"], row["parent"], row["visibility"])


def user_key(room: str, user: str) -> Key:
    return _key(room, f"user#{user}")


def standing_row(standing: Standing) -> dict[str, str | int]:
    """A user row's part that tells the standing: attribute → value."""
    return {
        "roomRole": standing.role or NO_ROLE,
        "bannedUntil": standing.banned_until,
        "mutedUntil": standing.muted_until,
        "kickedAt": standing.kicked_at,
        "spokeAt": standing.spoke_at,
    }


def read_standing(item: Mapping[str, Any]) -> Standing:
    row = _plain(item)
    role = row.get("roomRole", NO_ROLE)
    return Standing(
        role=None if role == NO_ROLE else role,
        banned_until=row.get("bannedUntil", 0),
        muted_until=row.get("mutedUntil", 0),
        kicked_at=row.get("kickedAt", 0),
        spoke_at=row.get("spokeAt", 0),
    )


def mark_key(room: str, user: str) -> Key:
    return _key(room, f"read#{user}")


def read_mark(item: Mapping[str, Any]) -> Mark:
    row = _plain(item)
    return Mark(row["epoch"], row["seq"], row["nth"])


def notices_key(user: str) -> Key:
    """Whether the user wants notices."""
    return _key(inbox_of(user), "notices")


def notice_key(user: str, sender: str) -> Key:
    """The last notice to the user about a sender."""
    return _key(inbox_of(user), f"notice#{sender}")


def hook_key(room: str, key: str) -> Key:
    return _key(room, HOOK_PREFIX + key)


def hook_row(hook: Hook) -> dict[str, str | int]:
    """A hook row's attributes beside its key."""
    return {
        "v": ROW_VERSION,
        "epoch": hook.epoch,
        "direction": hook.direction,
        "name": hook.name,
        "secret": hook.secret,
        "createdAt": hook.created_at,
        "createdBy": hook.created_by,
        "url": hook.url,
        "events": ",".join(hook.events),
        "version": hook.version,
        "previous": hook.previous,
        "previousUntil": hook.previous_until,
        "disabledAt": hook.disabled_at,
        "cause": hook.cause,
        **hook_progress(hook),
    }


def hook_progress(hook: Hook) -> dict[str, str | int]:
    """Those of them that follow its deliveries."""
    return {
        "position": hook.position,
        "failingSince": hook.failing_since,
        "failures": hook.failures,
        "retryAt": hook.retry_at,
        "problem": hook.problem,
    }


def read_hook(item: Mapping[str, Any]) -> Hook:
    row = _plain(item)
    return Hook(
        room=row["pk"],
        key=row["sk"].partition("#")[2],
        epoch=row["epoch"],
        direction=row["direction"],
        name=row["name"],
        secret=row["secret"],
        created_at=row["createdAt"],
        created_by=row["createdBy"],
        url=row["url"],
        events=tuple(row["events"].split(",")) if row["events"] else (),
        version=row["version"],
        previous=row["previous"],
        previous_until=row["previousUntil"],
        disabled_at=row["disabledAt"],
        cause=row["cause"],
        position=row["position"],
        failing_since=row["failingSince"],
        failures=row["failures"],
        retry_at=row["retryAt"],
        problem=row["problem"],
    )


def shard_key(key: ShardKey) -> Key:
    return _key(str(key), "shard")


def read_shard(item: Mapping[str, Any]) -> Shard:
    row = _plain(item)
    return Shard(row.get("sent"), row.get("members", 0), row.get("version", 0), row.get("census", 0))


def member_key(key: ShardKey, connection: str) -> Key:
    return _key(str(key), connection)


def member_row(member: Member, key: ShardKey) -> Item:
    return member_key(key, member.connection) | values(
        {
            "v": ROW_VERSION,
            "userId": member.user,
            "name": member.name,
            "dialect": member.dialect,
            "joinId": member.join_id,
            "connectedAt": member.connected_at,
            "expiresAtMs": member.expires_at,
            "since": member.since,
            "status": None if member.status == "online" else member.status,
            TTL_ATTRIBUTE: time_to_live(member.expires_at),
        }
    )


def read_member(item: Mapping[str, Any]) -> Member:
    return Member(
        connection=item["sk"]["S"],
        user=item["userId"]["S"],
        name=item["name"]["S"],
        dialect=item["dialect"]["S"],
        connected_at=int(item["connectedAt"]["N"]),
        expires_at=int(item["expiresAtMs"]["N"]),
        join_id=item["joinId"]["S"],
        since=int(item["since"]["N"]) if "since" in item else 0,
        status=item["status"]["S"] if "status" in item else "online",
    )


def presence_key(user: str) -> Key:
    return _key(inbox_of(user), "presence")


def presence_row(presence: Presence) -> dict[str, str | int]:
    """A presence row's attributes beside its key."""
    return {
        "status": presence.status,
        "since": presence.since,
        "until": presence.until,
        "version": presence.version,
        TTL_ATTRIBUTE: seconds(presence.until + PRESENCE_RETENTION_MS),
    }


def read_presence(item: Mapping[str, Any], user: str) -> Presence:
    row = _plain(item)
    return Presence(user, row["status"], row["since"], row["until"], row["version"])


def changed_key(room: str, epoch: int) -> Key:
    """Of whose status a room is still to be told."""
    return _key(room, f"presence#{epoch}")


def typing_key(user: str) -> Key:
    return _key(inbox_of(user), "typing")


# ------------------------------------------------------------------------------------------------ messages


def seq_text(seq: int) -> str:
    """The seq as a sort key: 16 digits hold every seq of the wire (below 2^53)."""
    return f"{seq:016d}"


def log_key(room: str, epoch: int) -> str:
    """The partition key of a room's log."""
    return f"{room}#{epoch}"


def entry_key(room: str, epoch: int, seq: int) -> Key:
    return _key(log_key(room, epoch), seq_text(seq))


def entry_row(room: str, epoch: int, entry: Entry) -> Item:
    return entry_key(room, epoch, entry.seq) | values(
        {
            "v": ROW_VERSION,
            "type": entry.type,
            "at": entry.at,
            "sender": entry.sender,
            "body": body_text(entry),
            "beside": beside_text(entry) if entry.beside else None,
            "origin": entry.origin,
            "nth": entry.nth,
            TTL_ATTRIBUTE: _end(entry.ends_at),
        }
    )


def read_entry(item: Mapping[str, Any]) -> Entry:
    row = _plain(item)
    body = msgspec.json.decode(row["body"])
    return Entry(
        seq=int(row["sk"]),
        type=row["type"],
        at=row["at"],
        sender=row["sender"],
        body=body,
        origin=row.get("origin"),
        beside=msgspec.json.decode(row["beside"]) if "beside" in row else {},
        nth=row.get("nth", 0),
        ends_at=row[TTL_ATTRIBUTE] * 1000 if TTL_ATTRIBUTE in row else FOREVER,
    )


def body_text(entry: Entry) -> str:
    """An entry's body as it stands in its row."""
    return msgspec.json.encode(entry.body).decode()


def beside_text(entry: Entry) -> str:
    """What is remembered beside it, likewise."""
    return msgspec.json.encode(entry.beside).decode()


def reaction_key(room: str, epoch: int, of: int, user: str, emoji: str) -> Key:
    return _key(log_key(room, epoch), f"~{seq_text(of)}~{user}~{emoji}")


def reaction_row(room: str, epoch: int, reaction: Reaction) -> Item:
    return reaction_key(room, epoch, reaction.of, reaction.user, reaction.emoji) | values(
        {TTL_ATTRIBUTE: _end(reaction.ends_at)}
    )


def thread_text(root: int, seq: int) -> str:
    """The sort key of a reply's place in its thread."""
    return f"~{seq_text(root)}#{seq_text(seq)}"


def thread_row(room: str, epoch: int, root: int, entry: Entry) -> Item:
    return _key(log_key(room, epoch), thread_text(root, entry.seq)) | values({TTL_ATTRIBUTE: _end(entry.ends_at)})


def thread_seq(item: Mapping[str, Any]) -> int:
    """Where the reply stands."""
    return int(item["sk"]["S"].rpartition("#")[2])


def once_key(user: str, client_id: str) -> Key:
    return _key(f"#once#{user}", client_id)


def once_row(user: str, client_id: str, once: Once) -> Item:
    it = once.announcement
    return once_key(user, client_id) | values(
        {
            "v": ROW_VERSION,
            "digest": once.digest,
            "reply": once.reply,
            "rings": msgspec.json.encode([_ring(ring) for ring in once.rings]).decode(),
            "announcement": None if it is None else msgspec.json.encode(it).decode(),
            "expiresAtMs": once.expires_at,
            TTL_ATTRIBUTE: seconds(once.expires_at),
        }
    )


def _ring(ring: Ring) -> dict[str, Any]:
    row: dict[str, Any] = {"room": ring.room, "epoch": ring.epoch, "shards": ring.shards, "seq": ring.seq}
    return row | {"hooks": ring.hooks} if ring.hooks else row


def read_once(item: Mapping[str, Any]) -> Once:
    row = _plain(item)
    return Once(
        digest=row["digest"],
        reply=row["reply"],
        rings=msgspec.json.decode(row["rings"], type=list[Ring]),
        expires_at=row["expiresAtMs"],
        announcement=_announcements.decode(row["announcement"]) if "announcement" in row else None,
    )
