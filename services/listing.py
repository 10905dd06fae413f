"""Which rooms there are, and who is in them."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET

from domain.errors import Refused
from domain.events import MemberList, MemberSummary, RoomList, RoomSummary, encode_event
from domain.marks import Mark, unread
from domain.policy import check_visible
from domain.ports import Ports
from domain.presence import shown
from domain.protocol import FRAME_LIMIT, LIST_LIMIT, ROOT
from domain.requests import ListMembers, ListRooms
from domain.rooms import Directory, Room, ShardKey, rank_in
from services.caller import Caller
from services.outsiders import outsider

__all__ = ["list_members", "list_rooms", "page_of_members"]


async def list_rooms(ports: Ports, caller: Caller, request: ListRooms) -> bytes:
    """A page of the rooms below a parent that the caller may see, with how many are in each, and how many messages are
    unread. It costs an index query, three batch reads, and one more where rooms are private."""
    seen = await _check_parent(ports, caller, request.parent)
    listed = await ports.store.directory(request.parent, request.cursor or "", request.limit) if seen else []
    rooms = await ports.store.rooms([it.room for it in listed])
    rooms = await _seen(ports, caller, {it: room for it, room in rooms.items() if room.status == "open"})
    counts = await ports.store.shards([key for it in rooms.values() for key in _shards(it)])
    marks = await ports.marks.marks(list(rooms), caller.user)
    summaries = [
        _summary(it, room, marks.get(it.room), sum(counts[key].members for key in _shards(room) if key in counts))
        for it in listed
        if (room := rooms.get(it.room)) is not None
    ]
    # Only a full page may be followed by another; rooms that were deleted meanwhile don't end the list.
    following: str | None = listed[-1].room if len(listed) == request.limit else None
    while True:
        reply = RoomList(client_id=request.client_id, rooms=summaries, cursor=UNSET if following is None else following)
        frame = encode_event(reply)
        if len(frame) <= FRAME_LIMIT:
            return frame
        summaries = summaries[: len(summaries) // 2]
        following = summaries[-1].room_id


async def list_members(ports: Ports, caller: Caller, request: ListMembers) -> bytes:
    """A page of a room's members, each user once a page. For members. It costs a read of the room's row and of the
    connection's rooms, a query, and a batch read of how those users are."""
    room = await ports.store.room(request.room_id)
    membership = (await ports.store.session(caller.connection)).membership(request.room_id)
    if room is None or room.status != "open" or membership is None or membership.epoch != room.epoch:
        raise await outsider(ports, caller, room, "Join the room before you ask who is in it")
    members, following = await page_of_members(ports, room, request.cursor)
    reply = MemberList(
        client_id=request.client_id,
        room_id=room.room,
        members=members,
        cursor=UNSET if following is None else following,
    )
    return encode_event(reply)


async def page_of_members(ports: Ports, room: Room, cursor: str | None) -> tuple[list[MemberSummary], str | None]:
    """The members from behind a page's `cursor` on, each user once and with their status, and the cursor of the page
    that follows, if one does."""
    shard, after = _read_cursor(cursor, room)
    members = await ports.store.members_page(ShardKey(room.room, room.epoch, shard), after, LIST_LIMIT)
    if len(members) == LIST_LIMIT:
        following: str | None = f"{shard}:{members[-1].connection}"
    else:
        following = f"{shard + 1}:" if shard + 1 < room.shards else None
    now = ports.clock.now()
    users = {it.user: it.name for it in members if it.expires_at > now}
    presences = await ports.statuses.presences(list(users))
    summaries = [
        MemberSummary(user_id=user, username=name, status=shown(presences[user], now)) for user, name in users.items()
    ]
    return summaries, following


async def _check_parent(ports: Ports, caller: Caller, parent: str) -> bool:
    """Whether the caller may see what is below the parent; `Refused` where that is a private room. Below one that is
    not there is nothing, so that is what is below one that is hidden."""
    room = None if parent == ROOT else await ports.store.room(parent)
    if room is None or room.profile.visibility == "public":
        return True
    as_rank = rank_in(room, await ports.store.standing(parent, caller.user), caller.groups)
    if room.profile.visibility == "private":
        check_visible("private", as_rank)
    return as_rank != "stranger"


async def _seen(ports: Ports, caller: Caller, rooms: Mapping[str, Room]) -> dict[str, Room]:
    """Those of the rooms that the caller may see."""
    private = [it for it, room in rooms.items() if room.profile.visibility != "public"]
    standings = await ports.store.standings(private, caller.user)
    strangers = {it for it in private if rank_in(rooms[it], standings[it], caller.groups) == "stranger"}
    return {it: room for it, room in rooms.items() if it not in strangers}


def _summary(listed: Directory, room: Room, mark: Mark | None, members: int) -> RoomSummary:
    there = mark if mark is not None and mark.epoch == room.epoch else None
    return RoomSummary(
        room_id=listed.room,
        active_users=max(0, members),
        title=listed.title,
        visibility=listed.visibility,
        parent=listed.parent,
        head=room.head,
        read=UNSET if there is None else there.seq,
        unread=UNSET if there is None else unread(room.messages, there),
    )


def _shards(room: Room) -> list[ShardKey]:
    return [ShardKey(room.room, room.epoch, it) for it in range(room.shards)]


def _read_cursor(cursor: str | None, room: Room) -> tuple[int, str]:
    """(shard, connection) of the last member seen."""
    if cursor is None:
        return 0, ""
    shard, colon, after = cursor.partition(":")
    if not colon or not shard.isdecimal() or not shard.isascii() or int(shard[:9]) >= room.shards:
        raise Refused("BAD_REQUEST", "`cursor`: Expected the cursor of the page before")
    return int(shard), after
