"""The room store on DynamoDB. `rows.py` beside it has the tables' rows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from adapters.dynamodb import rows
from adapters.dynamodb.rows import TTL_ATTRIBUTE, Item, Key
from adapters.dynamodb.tables import Held, Tables, named, to_check, to_delete, to_put, to_update, to_write
from domain.errors import Conflict, Unavailable
from domain.policy import ROLES, Needs
from domain.ports import RoomStore
from domain.rooms import (
    KICK_MARK_MS,
    Append,
    Connection,
    Count,
    Directory,
    Entry,
    Member,
    Membership,
    Once,
    Room,
    Sender,
    Sending,
    Session,
    Shard,
    ShardKey,
    Standing,
    due_minute,
    is_listed,
    listing_of,
)

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef

__all__ = ["CREATE_DELAYS", "DynamoStore"]

CREATE_DELAYS = (0.02, 0.05, 0.1, 0.2)
"""Seconds before a room that many are making at once is tried again; each is cut by up to a half."""


_MEMBER_PROJECTION = {
    "ProjectionExpression": ", ".join(f"#{it}" for it in rows.MEMBER_ATTRIBUTES),
    "ExpressionAttributeNames": {f"#{it}": it for it in rows.MEMBER_ATTRIBUTES},
}


class DynamoStore(RoomStore):
    """The room store on a DynamoDB client, whose own retries stay on. `tables`: connections, rooms, messages → name."""

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._sleep = sleep
        self._connections = tables["connections"]
        self._rooms = tables["rooms"]
        self._messages = tables["messages"]

    # ---- rooms and their logs

    async def room(self, room: str) -> Room | None:
        item = await self._tables.get(self._rooms, rows.meta_key(room))
        return rows.read_room(item) if item else None

    async def rooms(self, rooms: Sequence[str]) -> dict[str, Room]:
        keys = [(self._rooms, rows.meta_key(it)) for it in dict.fromkeys(rooms)]
        found = [rows.read_room(it) for it in await self._tables.get_many(keys) if it]
        return {it.room: it for it in found}

    async def create_room(self, room: Room, *, owner: str | None = None, replaces: Room | None = None) -> Room:
        absent = "attribute_not_exists(pk)"
        if replaces is None:
            writes = [to_put(self._rooms, rows.room_row(room), absent)]
        else:
            ended = f"{absent} OR (epoch = :epoch AND #status = :deleted)"
            names = {"#status": "status"}
            writes = [
                to_put(self._rooms, rows.room_row(room), ended, names=names, epoch=replaces.epoch, deleted="deleted")
            ]
        if is_listed(room):
            writes.append(to_put(self._rooms, rows.directory_row(listing_of(room))))
        if owner is not None:
            key = rows.user_key(room.room, owner)
            writes.append(to_update(self._rooms, key, "SET roomRole = :owner", None, owner="owner"))
        for delay in (*CREATE_DELAYS, None):
            try:
                await self._tables.transact(*writes)
            except Held as held:
                # Many make it at once, and whether one of the others has is not known yet.
                if delay is None:
                    raise Unavailable(str(held)) from held
                await self._sleep(random.uniform(delay / 2, delay))
                continue
            except Conflict:
                break
            return room
        found = await self.room(room.room)
        if found is None:
            raise Unavailable(f"room {room.room} was there a moment ago")
        return found

    async def directory(self, parent: str, after: str, limit: int) -> list[Directory]:
        # A key is never empty, and must not be compared with what is.
        items = await self._tables.page(
            self._rooms,
            "#parent = :parent" + (" AND pk > :after" if after else ""),
            named(parent=parent, after=after or None),
            limit,
            IndexName=rows.DIRECTORY_INDEX,
            ExpressionAttributeNames={"#parent": "parent"},
            ConsistentRead=False,
        )
        return [rows.read_directory(it) for it in items]

    async def standing(self, room: str, user: str) -> Standing:
        return rows.read_standing(await self._tables.get(self._rooms, rows.user_key(room, user)) or {})

    async def standings(self, rooms: Sequence[str], user: str) -> dict[str, Standing]:
        keys = [(self._rooms, rows.user_key(it, user)) for it in rooms]
        found = await self._tables.get_many(keys)
        return {it: rows.read_standing(row or {}) for it, row in zip(rooms, found, strict=True)}

    async def set_standing(self, room: str, user: str, standing: Standing) -> None:
        row = rows.standing_row(standing)
        update = "SET " + ", ".join(f"{it} = :{it}" for it in row)
        await self._tables.update(self._rooms, rows.user_key(room, user), update, named(**row))

    async def judge(
        self, room: str, user: str, read: Standing, standing: Standing, by: Sender, client_id: str, now: int
    ) -> None:
        was: dict[str, Any] = rows.standing_row(read)
        row: dict[str, Any] = rows.standing_row(standing)
        differing = [it for it in row if row[it] != was[it]]
        if not differing:
            return
        nothing = rows.standing_row(Standing())
        as_read = [
            f"(attribute_not_exists({it}) OR {it} = :was{it})" if was[it] == nothing[it] else f"{it} = :was{it}"
            for it in differing
        ]
        await self._tables.transact(
            to_update(
                self._rooms,
                rows.user_key(room, user),
                "SET " + ", ".join(f"{it} = :{it}" for it in differing),
                " AND ".join(as_read),
                **{it: row[it] for it in differing},
                **{f"was{it}": was[it] for it in differing},
            ),
            to_check(
                self._messages,
                rows.once_key(by.user, client_id),
                "attribute_not_exists(pk) OR expiresAtMs <= :now",
                now=now,
            ),
            *self._to_need(by.needs, now),
        )

    async def sending(self, rooms: Sequence[str], connection: str, user: str, client_id: str) -> Sending:
        *metas, reverse, standing, once = await self._tables.get_many(
            [
                *((self._rooms, rows.meta_key(it)) for it in rooms),
                (self._connections, rows.membership_key(connection, rooms[0])),
                (self._rooms, rows.user_key(rooms[0], user)),
                (self._messages, rows.once_key(user, client_id)),
            ]
        )
        return Sending(
            rooms={it: rows.read_room(meta) for it, meta in zip(rooms, metas, strict=True) if meta},
            membership=rows.read_membership(reverse) if reverse else None,
            standing=rows.read_standing(standing or {}),
            once=rows.read_once(once) if once else None,
        )

    async def append(
        self,
        appends: Sequence[Append],
        sender: Sender,
        client_id: str,
        once: Once,
        now: int,
    ) -> None:
        member = sender.membership
        await self._tables.transact(
            *(write for it in appends for write in self._to_change_room(it)),
            *(
                to_put(
                    self._messages,
                    rows.entry_row(it.read.room, it.read.epoch, it.stored),
                    "attribute_not_exists(pk)",
                )
                for it in appends
            ),
            *(write for it in appends for write in self._to_amend(it)),
            to_put(
                self._messages,
                rows.once_row(sender.user, client_id, once),
                "attribute_not_exists(pk) OR expiresAtMs <= :now",
                now=now,
            ),
            *(
                [
                    to_check(
                        self._rooms,
                        rows.member_key(member.key, sender.connection),
                        "joinId = :join",
                        join=member.join_id,
                    )
                ]
                if member is not None
                else []
            ),
            *self._to_need(sender.needs, now),
        )

    def _to_change_room(self, append: Append) -> list[TransactWriteItemTypeDef]:
        read, after = append.read, append.after
        hooks = rows.hooks_text(read.hooks)
        more: dict[str, Any] = {}
        writes: list[TransactWriteItemTypeDef] = []
        if append.profile is not None:
            more["profile"] = rows.profile_text(append.profile)
        if append.deletes:
            more["after"] = after.status
        if is_listed(after) and append.profile is not None:
            writes.append(to_put(self._rooms, rows.directory_row(listing_of(after))))
        elif is_listed(read) and not is_listed(after):
            writes.append(to_delete(self._rooms, rows.directory_key(read.room)))
        update = "SET head = :seq, messages = :messages" + "".join(
            f", {'#status' if it == 'after' else it} = :{it}" for it in more
        )
        writes.append(
            to_update(
                self._rooms,
                rows.meta_key(read.room),
                update,
                "head = :head AND epoch = :epoch AND shards = :shards AND #status = :status AND "
                + ("hooks = :hooks" if hooks else "attribute_not_exists(hooks)"),
                names={"#status": "status"},
                seq=after.head,
                messages=after.messages,
                head=read.head,
                epoch=read.epoch,
                shards=read.shards,
                status=read.status,
                **({"hooks": hooks} if hooks else {}),
                **more,
            )
        )
        return writes

    def _to_amend(self, append: Append) -> list[TransactWriteItemTypeDef]:
        """What becomes of earlier entries, as a part of a transaction. One that time took must not rise again."""
        room, epoch = append.read.room, append.read.epoch
        writes: list[TransactWriteItemTypeDef] = []
        for it in append.amends:
            more: dict[str, Any] = {"beside": rows.beside_text(it)} if it.beside else {}
            update = "SET body = :body" + "".join(f", {name} = :{name}" for name in more)
            key = rows.entry_key(room, epoch, it.seq)
            there = "attribute_exists(pk)"
            writes.append(to_update(self._messages, key, update, there, body=rows.body_text(it), **more))
        if append.thread is not None:
            writes.append(to_put(self._messages, rows.thread_row(room, epoch, append.thread, append.entry)))
        reaction = append.reaction
        if reaction is not None and reaction.given:
            writes.append(to_put(self._messages, rows.reaction_row(room, epoch, reaction)))
        elif reaction is not None:
            key = rows.reaction_key(room, epoch, reaction.of, reaction.user, reaction.emoji)
            writes.append(to_delete(self._messages, key))
        return writes

    def _to_need(self, needs: Needs | None, now: int) -> list[TransactWriteItemTypeDef]:
        """What has to be so, as a part of a transaction."""
        if needs is None:
            return []
        condition, row = _condition(needs, now)
        key = rows.user_key(needs.room, needs.user)
        if needs.pause:
            return [to_update(self._rooms, key, "SET spokeAt = :now", condition, **row)]
        return [to_check(self._rooms, key, condition, **row)]

    async def entries(
        self,
        room: str,
        epoch: int,
        after: int,
        *,
        upto: int | None = None,
        limit: int,
        max_bytes: int,
    ) -> list[Entry]:
        last = rows.LAST_SEQ if upto is None else upto
        return await self._log(room, epoch, after + 1, last, limit, max_bytes, forward=True)

    async def entries_before(self, room: str, epoch: int, before: int, *, limit: int, max_bytes: int) -> list[Entry]:
        newest_first = await self._log(room, epoch, 1, before - 1, limit, max_bytes, forward=False)
        return newest_first[::-1]

    async def _log(
        self, room: str, epoch: int, first: int, last: int, limit: int, max_bytes: int, *, forward: bool
    ) -> list[Entry]:
        result: list[Entry] = []
        if first > last:
            return result
        size = 0
        async with aclosing(
            self._tables.query(
                self._messages,
                "pk = :log AND sk BETWEEN :first AND :last",
                named(log=rows.log_key(room, epoch), first=rows.seq_text(first), last=rows.seq_text(last)),
                ScanIndexForward=forward,
                Limit=limit,
            )
        ) as items:
            async for item in items:
                size += len(item["body"]["S"].encode())
                if result and size > max_bytes:
                    break
                result.append(rows.read_entry(item))
                if len(result) == limit:
                    break
        return result

    async def entries_at(self, room: str, epoch: int, seqs: Sequence[int]) -> list[Entry]:
        keys = [(self._messages, rows.entry_key(room, epoch, it)) for it in dict.fromkeys(seqs)]
        return [rows.read_entry(it) for it in await self._tables.get_many(keys) if it]

    async def has_reacted(self, room: str, epoch: int, of: int, user: str, emoji: str) -> bool:
        [row] = await self._tables.get_many([(self._messages, rows.reaction_key(room, epoch, of, user, emoji))])
        return row is not None

    async def thread_after(self, room: str, epoch: int, root: int, after: int, limit: int) -> list[int]:
        return await self._thread(room, epoch, root, after + 1, rows.LAST_SEQ, limit, forward=True)

    async def thread_before(self, room: str, epoch: int, root: int, before: int, limit: int) -> list[int]:
        return (await self._thread(room, epoch, root, 0, before - 1, limit, forward=False))[::-1]

    async def _thread(
        self, room: str, epoch: int, root: int, first: int, last: int, limit: int, *, forward: bool
    ) -> list[int]:
        if first > last:
            return []
        items = await self._tables.page(
            self._messages,
            "pk = :log AND sk BETWEEN :first AND :last",
            named(
                log=rows.log_key(room, epoch), first=rows.thread_text(root, first), last=rows.thread_text(root, last)
            ),
            limit,
            ScanIndexForward=forward,
        )
        return [rows.thread_seq(it) for it in items]

    # ---- connections and memberships

    async def session(self, connection: str) -> Session:
        own: Connection | None = None
        memberships: list[Membership] = []
        async for item in self._tables.query(self._connections, "pk = :connection", named(connection=connection)):
            if item["sk"]["S"] == "#":
                own = rows.read_connection(item)
            else:
                memberships.append(rows.read_membership(item))
        return Session(own, memberships)

    async def connect(
        self, connection: Connection, joins: Sequence[tuple[Member, ShardKey, Needs | None]], now: int
    ) -> None:
        due = rows.due_row(connection.connection, due_minute(connection.lease_until))
        await self._tables.transact(
            to_put(self._connections, rows.connection_row(connection)),
            *(it for member, key, needs in joins for it in self._to_join(member, key, None, needs, now)),
            to_put(self._connections, due),
        )

    async def join(self, member: Member, key: ShardKey, read: Membership | None, needs: Needs | None, now: int) -> None:
        await self._tables.transact(
            *self._to_join(member, key, read, needs, now),
            to_update(
                self._connections,
                rows.connection_key(member.connection),
                "SET lastRoom = :room",
                "attribute_exists(pk) AND expiresAtMs = :expires",
                room=key.room,
                expires=member.expires_at,
            ),
        )

    def _to_join(
        self, member: Member, key: ShardKey, read: Membership | None, needs: Needs | None, now: int
    ) -> list[TransactWriteItemTypeDef]:
        return [
            # Not a put: what comes late of a try that was made again must not take the status that was set meanwhile.
            to_write(self._rooms, rows.member_row(member, key)),
            to_put(
                self._connections,
                rows.membership_row(member, key),
                "joinId IN (:read, :mine)" if read else "attribute_not_exists(pk) OR joinId = :mine",
                read=read.join_id if read else None,
                mine=member.join_id,
            ),
            *self._to_need(needs, now),
        ]

    async def set_last_room(self, connection: str, room: str, read: str) -> None:
        with suppress(Conflict):
            await self._tables.update(
                self._connections,
                rows.connection_key(connection),
                "SET lastRoom = :room",
                named(room=room, read=read),
                condition="lastRoom = :read",
            )

    async def count_join(self, key: ShardKey, head: int, shards: int = 1, *, joined: int = 1) -> Count:
        return await self._count(
            key,
            "SET sent = if_not_exists(sent, :head), shards = :shards ADD members :joined, version :one",
            named(head=head, shards=shards, joined=joined, one=1),
        )

    async def leave(self, connection: str, membership: Membership) -> Count | None:
        key, reverse = membership.key, rows.membership_key(connection, membership.room)
        count: Count | None = None
        if await self._delete_of_join(self._rooms, rows.member_key(key, connection), membership.join_id):
            count = await self._count_leave(key)
        else:
            row = await self._tables.get(self._connections, reverse)
            if row is None or rows.read_membership(row).join_id != membership.join_id:
                return None
            # An earlier try may have died before it counted: who knows the members by their version must read them.
            await self._update_shard(key, "ADD version :one", named(one=1))
        await self._delete_of_join(self._connections, reverse, membership.join_id)
        return count

    async def drop_member(self, key: ShardKey, member: Member) -> Count | None:
        if await self._delete_of_join(self._rooms, rows.member_key(key, member.connection), member.join_id):
            return await self._count_leave(key)
        return None

    async def end_connection(self, connection: str) -> None:
        await self._tables.delete(self._connections, rows.connection_key(connection))

    async def lengthen(self, connection: str, expires_at: int, lease_until: int) -> None:
        with suppress(Conflict):
            await self._tables.update(
                self._connections,
                rows.connection_key(connection),
                f"SET {TTL_ATTRIBUTE} = :ttl, expiresAtMs = :expires, leaseUntil = :until",
                named(ttl=rows.time_to_live(expires_at), expires=expires_at, until=lease_until),
                condition="expiresAtMs <= :expires",
            )

    async def lengthen_membership(self, connection: str, membership: Membership, expires_at: int) -> None:
        key, ttl = membership.key, rows.time_to_live(expires_at)
        own = named(join=membership.join_id, ttl=ttl)
        with suppress(Conflict):
            await self._tables.update(
                self._rooms,
                rows.member_key(key, connection),
                f"SET {TTL_ATTRIBUTE} = :ttl, expiresAtMs = :expires",
                {**own, **named(expires=expires_at)},
                condition="joinId = :join",
            )
            await self._tables.update(
                self._connections,
                rows.membership_key(connection, membership.room),
                f"SET {TTL_ATTRIBUTE} = :ttl",
                own,
                condition="joinId = :join",
            )
            await self._update_shard(key, "ADD version :one", named(one=1))

    # ---- leases

    async def renew(self, connection: str, lease_until: int) -> None:
        with suppress(Conflict):
            await self._tables.update(
                self._connections,
                rows.connection_key(connection),
                "SET leaseUntil = :until",
                named(until=lease_until),
                condition="attribute_exists(pk)",
            )

    async def due(self, minute: int, bucket: int, limit: int) -> list[str]:
        partition = named(due=rows.due_partition(minute, bucket))
        items = await self._tables.page(self._connections, "pk = :due", partition, limit, ProjectionExpression="sk")
        return [it["sk"]["S"] for it in items]

    async def move_due(self, connection: str, minute: int, later: int | None) -> None:
        if later is not None:
            await self._tables.put(self._connections, rows.due_row(connection, later))
        await self._tables.delete(self._connections, rows.due_key(connection, minute))

    async def ticked(self, bucket: int) -> int | None:
        item = await self._tables.get(self._connections, rows.tick_key(bucket))
        return int(item["minute"]["N"]) if item else None

    async def set_ticked(self, bucket: int, minute: int) -> None:
        await self._tables.put(self._connections, rows.tick_row(bucket, minute))

    # ---- shards

    async def claim_growth(self, room: Room, now: int) -> bool:
        as_read = "growingAt = :read" if room.growing_at else "attribute_not_exists(growingAt)"
        try:
            await self._update_shards(room, "SET growingAt = :now", as_read, now=now, read=room.growing_at or None)
        except Conflict:
            return False
        return True

    async def open_shards(self, keys: Sequence[ShardKey], head: int) -> None:
        async def start(key: ShardKey) -> None:
            await self._update_shard(key, "SET sent = if_not_exists(sent, :head)", named(head=head))

        await asyncio.gather(*map(start, keys))

    async def grow(self, room: Room) -> None:
        with suppress(Conflict):
            await self._update_shards(room, "SET shards = :doubled REMOVE growingAt", doubled=2 * room.shards)

    async def shard(self, key: ShardKey) -> Shard | None:
        item = await self._tables.get(self._rooms, rows.shard_key(key))
        return rows.read_shard(item) if item else None

    async def shards(self, keys: Sequence[ShardKey]) -> dict[ShardKey, Shard]:
        keys = list(dict.fromkeys(keys))
        items = await self._tables.get_many([(self._rooms, rows.shard_key(it)) for it in keys])
        return {key: rows.read_shard(it) for key, it in zip(keys, items, strict=True) if it}

    async def claim_stats(self, key: ShardKey, read: int, now: int) -> bool:
        # A row that was never claimed has no `statsAt`, which a caller reads as 0; a shard that has no row stays so.
        as_read = "statsAt = :read" if read else "attribute_exists(pk) AND attribute_not_exists(statsAt)"
        try:
            await self._update_shard(key, "SET statsAt = :now", named(now=now, read=read or None), condition=as_read)
        except Conflict:
            return False
        return True

    async def members_page(self, key: ShardKey, after: str, limit: int) -> list[Member]:
        # One more than asked for: the shard's own row stands among them.
        items = await self._tables.page(
            self._rooms,
            "pk = :shard" + (" AND sk > :after" if after else ""),
            named(shard=str(key), after=after or None),
            limit + 1,
            **_MEMBER_PROJECTION,
        )
        return [rows.read_member(it) for it in items if it["sk"] != rows.shard_key(key)["sk"]][:limit]

    async def members(self, key: ShardKey) -> list[Member]:
        items = self._tables.query(self._rooms, "pk = :shard", named(shard=str(key)), **_MEMBER_PROJECTION)
        own = rows.shard_key(key)["sk"]
        return [rows.read_member(it) async for it in items if it["sk"] != own]

    async def members_among(self, key: ShardKey, connections: Sequence[str]) -> list[Member]:
        keys = [(self._rooms, rows.member_key(key, it)) for it in dict.fromkeys(connections)]
        return [rows.read_member(it) for it in await self._tables.get_many(keys) if it]

    async def advance(self, key: ShardKey, sent: int, counted: int | None, read: Shard | None) -> None:
        raised = named(sent=sent)
        read = read or Shard(None, 0, 0)
        as_read = " AND ".join(
            f"{name} = :{name}" if value else f"attribute_not_exists({name})"
            for name, value in (("version", read.version), ("census", read.census))
        )
        census = named(counted=counted, one=1, version=read.version or None, census=read.census or None)
        if counted is not None:
            with suppress(Conflict):
                await self._update_shard(
                    key,
                    "SET sent = :sent, members = :counted ADD census :one",
                    census | raised,
                    condition=f"{as_read} AND (attribute_not_exists(sent) OR sent <= :sent)",
                )
                return
        try:
            await self._update_shard(
                key, "SET sent = :sent", raised, condition="attribute_not_exists(sent) OR sent < :sent"
            )
        except Conflict:
            # Then `sent` was the obstacle, and the census may still speak of the present.
            if counted is not None:
                with suppress(Conflict):
                    await self._update_shard(key, "SET members = :counted ADD census :one", census, condition=as_read)

    async def _delete_of_join(self, table: str, key: Key, join_id: str) -> bool:
        """Delete a member or reverse row if it is this join's; whether it was."""
        try:
            await self._tables.delete(
                table, key, ConditionExpression="joinId = :join", ExpressionAttributeValues=named(join=join_id)
            )
        except Conflict:
            return False
        return True

    async def _count_leave(self, key: ShardKey) -> Count:
        return await self._count(key, "ADD members :less, version :one", named(less=-1, one=1))

    async def _count(self, key: ShardKey, update: str, values: Item) -> Count:
        return rows.read_count(await self._update_shard(key, update, values))

    async def _update_shards(
        self, room: Room, update: str, condition: str = "attribute_exists(pk)", **row: int | None
    ) -> None:
        await self._tables.update(
            self._rooms,
            rows.meta_key(room.room),
            update,
            named(epoch=room.epoch, shards=room.shards, **row),
            condition=f"epoch = :epoch AND shards = :shards AND {condition}",
        )

    async def _update_shard(
        self, key: ShardKey, update: str, values: Item, *, condition: str | None = None
    ) -> Mapping[str, Any]:
        return await self._tables.update(self._rooms, rows.shard_key(key), update, values, condition=condition)


def _condition(needs: Needs, now: int) -> tuple[str, dict[str, Any]]:
    """What a user row must say, and the values that it names."""
    row: dict[str, Any] = {"now": now}
    parts = ["(attribute_not_exists(bannedUntil) OR bannedUntil <= :now)"]
    if needs.unmuted:
        parts.append("(attribute_not_exists(mutedUntil) OR mutedUntil <= :now)")
    if needs.unkicked:
        parts.append("(attribute_not_exists(kickedAt) OR kickedAt <= :unkicked)")
        row["unkicked"] = now - KICK_MARK_MS
    if needs.pause:
        parts.append("(attribute_not_exists(spokeAt) OR spokeAt <= :spoke)")
        row["spoke"] = now - needs.pause
    if not (needs.without and needs.roles.issuperset(ROLES)):
        roles = [rows.NO_ROLE] * needs.without + sorted(needs.roles)
        row |= {f"role{number}": it for number, it in enumerate(roles)}
        listed = f"roomRole IN ({', '.join(f':role{number}' for number in range(len(roles)))})"
        parts.append(f"(attribute_not_exists(roomRole) OR {listed})" if needs.without else listed)
    return " AND ".join(parts), row
