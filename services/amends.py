"""Editing and deleting messages, and reacting to them: an entry of its own, and the message as it becomes.

Both are written in one transaction whose condition is the room's head. So the room is read first and the message after
it: whoever else amends the message meanwhile has raised the head, and this one reads again.

Of a private message there are two copies, and both become the same. The text of an edit stands in the message and in
the last edit's entry; those before lose it, so that what was replaced or deleted stands nowhere any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.amends import check_in_window, check_message, edited, reacted, silenced, tombstone
from domain.errors import Refused
from domain.events import Ack, MessageDeleted, MessageEdited, Reacted
from domain.fanout import encode_entry
from domain.policy import Needs, outranks
from domain.ports import Ports
from domain.protocol import FRAME_LIMIT
from domain.requests import DeleteMessage, EditMessage, React
from domain.rooms import (
    Append,
    Entry,
    Reaction,
    Ring,
    Room,
    Sender,
    Sending,
    audit_of,
    check_may_act,
    check_may_amend,
    check_room_open,
    inbox_of,
    is_audit,
    is_inbox,
    needs_of,
    rank_in,
)
from services.caller import Caller
from services.history import kept
from services.sending import ENVELOPE_ROOM, Draft, commit, refuse_large, reviewed

__all__ = ["delete_message", "edit_message", "react"]

About = EditMessage | DeleteMessage | React


@dataclass(frozen=True, slots=True)
class _Copy:
    """A message in the log of a room, as both were read, the room first."""

    room: Room
    message: Entry

    def entry(self, kind: str, caller: Caller, now: int, **body: Any) -> Entry:
        """The next entry of the log, which is about the message."""
        of = {"of": self.message.seq}
        return Entry(seq=self.room.head + 1, type=kind, at=now, sender=caller.user, body=of | body)


async def edit_message(ports: Ports, caller: Caller, request: EditMessage) -> bytes:
    """Let an own message say something else, and return the `ack`."""
    if not request.message.strip():
        raise Refused("EMPTY_MESSAGE", "Message cannot be empty")
    refuse_large(request.message)
    rooms = await _rooms(ports, caller, request)
    text: str | None = None

    async def draft(sending: Sending, now: int) -> Draft:
        nonlocal text
        room, membership, needs = check_may_amend(
            sending, request.room_id, "edit_message", caller.user, caller.groups, now
        )
        copies = await _copies(ports, sending, rooms, request.seq)
        message = check_message([it.message for it in copies])
        if message.sender != caller.user:
            raise Refused("FORBIDDEN", "Only its sender may edit a message")
        if not _is_moderator(room, sending, caller):
            check_in_window(message, ports.rules.edit_window, now, "edited")
        if text is None:
            text = await reviewed(ports, rooms[-1], caller.user, request.message)
        appends = []
        for it in copies:
            entry = it.entry(MessageEdited.type, caller, now, by=caller.user, message=text)
            becomes = replace(
                it.message, body=edited(it.message.body, text, now), beside=it.message.beside | {"edit": entry.seq}
            )
            _refuse_grown(it.room, becomes)
            appends.append(Append(it.room, entry, amends=[becomes, *await _silenced(ports, it)]))
        return _draft(request, appends, Sender(caller.user, caller.connection, membership, needs))

    return await commit(ports, caller, request, rooms, draft)


async def react(ports: Ports, caller: Caller, request: React) -> bytes:
    """Give a reaction or take it back, and return the `ack`. What is so already is acknowledged as it is."""
    rooms = await _rooms(ports, caller, request)
    given = not request.remove

    async def draft(sending: Sending, now: int) -> Draft:
        _, membership, needs = check_may_amend(sending, request.room_id, "react", caller.user, caller.groups, now)
        sender = Sender(caller.user, caller.connection, membership, needs)
        copies = await _copies(ports, sending, rooms, request.seq)
        check_message([it.message for it in copies])
        room, emoji = copies[0].room, request.emoji
        if given == await ports.store.has_reacted(room.room, room.epoch, request.seq, caller.user, emoji):
            return _unchanged(request, room, sender)
        appends = []
        for it in copies:
            body, count, users = reacted(it.message.body, emoji, caller.user, given=given)
            becomes = replace(it.message, body=body)
            _refuse_grown(it.room, becomes)
            more = {"userId": caller.user, "emoji": emoji, "count": count, "users": users}
            if not given:
                more["removed"] = True
            row = Reaction(it.message.seq, it.message.ends_at, caller.user, emoji, given)
            entry = it.entry(Reacted.type, caller, now, **more)
            appends.append(Append(it.room, entry, amends=[becomes], reaction=row))
        return _draft(request, appends, sender)

    return await commit(ports, caller, request, rooms, draft)


async def delete_message(ports: Ports, caller: Caller, request: DeleteMessage) -> bytes:
    """Leave a tombstone where a message was, and return the `ack`. No membership is asked for, only the rank."""
    rooms = await _rooms(ports, caller, request)
    audit = None if is_inbox(request.room_id) else audit_of(request.room_id)
    asked = rooms if audit is None else [*rooms, audit]

    async def draft(sending: Sending, now: int) -> Draft:
        room = check_room_open(sending.rooms.get(request.room_id))
        check_may_act(room, sending.standing, "delete_message", caller.groups, now)
        copies = await _copies(ports, sending, rooms, request.seq)
        message = check_message([it.message for it in copies], deleted=True)
        needs, judged = _may_delete(ports, caller, sending, room, message, now)
        sender = Sender(caller.user, needs=needs)
        if "deletedAt" in message.body:
            return _unchanged(request, room, sender)
        appends = [
            Append(
                it.room,
                it.entry(MessageDeleted.type, caller, now, by=caller.user),
                amends=[
                    replace(it.message, body=tombstone(it.message.body, caller.user, now)),
                    *await _silenced(ports, it),
                ],
            )
            for it in copies
        ]
        if judged and audit is not None:
            log = sending.rooms.get(audit) or await ports.store.create_room(Room(audit, now))
            about = {"of": message.seq, "userId": message.sender, "by": caller.user}
            kept = Entry(seq=log.head + 1, type=MessageDeleted.type, at=now, sender=caller.user, body=about)
            appends.append(Append(log, kept))
        return _draft(request, appends, sender)

    return await commit(ports, caller, request, asked, draft)


def _may_delete(
    ports: Ports, caller: Caller, sending: Sending, room: Room, message: Entry, now: int
) -> tuple[Needs | None, bool]:
    """What has to be so still when it is written, and whether it is done as a moderator."""
    own = message.sender == caller.user
    if not own and is_inbox(room.room):
        raise Refused("FORBIDDEN", "Only its sender may delete a private message")
    if own and not _is_moderator(room, sending, caller):
        check_in_window(message, ports.rules.delete_window, now, "deleted")
    if own:
        return needs_of("delete_message", room, caller.user, caller.groups), False
    check_may_act(room, sending.standing, "delete_any_message", caller.groups, now)
    return needs_of("delete_any_message", room, caller.user, caller.groups), True


async def _rooms(ports: Ports, caller: Caller, request: About) -> list[str]:
    """The rooms whose logs hold the message: the one named, and of a private message the other's inbox.

    Whose that is never changes, so it may be read before the rooms are.
    """
    if is_audit(request.room_id):
        raise Refused("BAD_REQUEST", "`roomId`: what moderators did stays as it is")
    if not is_inbox(request.room_id):
        return [request.room_id]
    if request.room_id != inbox_of(caller.user):
        raise Refused("NOT_A_MEMBER", "That is another's inbox")
    inbox = check_room_open(await ports.store.room(request.room_id))
    message = check_message(await ports.store.entries_at(inbox.room, inbox.epoch, [request.seq]), deleted=True)
    other = message.body["targetUserId"] if message.sender == caller.user else message.sender
    if "twin" in message.beside:
        return [inbox.room, inbox_of(other)]
    if other != caller.user and "#" not in other:
        # A service's has one copy, and one to oneself; of any other we can't tell where its copy is.
        raise Refused("BAD_REQUEST", "`seq`: that message is from before messages could be changed")
    return [inbox.room]


async def _copies(ports: Ports, sending: Sending, rooms: Sequence[str], seq: int) -> list[_Copy]:
    """The message in each log, the named room's first; where time has taken that one, none."""
    copies: list[_Copy] = []
    for name in rooms:
        room = check_room_open(sending.rooms.get(name))
        found = kept(ports, room, await ports.store.entries_at(name, room.epoch, [seq]))
        copies += [_Copy(room, it) for it in found]
        if not copies:
            break
        seq = copies[0].message.beside.get("twin", 0)
    return copies


async def _silenced(ports: Ports, copy: _Copy) -> list[Entry]:
    """The edit that still holds a text, as it becomes."""
    seq = copy.message.beside.get("edit")
    if seq is None:
        return []
    found = await ports.store.entries_at(copy.room.room, copy.room.epoch, [seq])
    return [replace(it, body=silenced(it.body)) for it in found]


def _is_moderator(room: Room, sending: Sending, caller: Caller) -> bool:
    return outranks(rank_in(room, sending.standing, caller.groups), "member")


def _refuse_grown(room: Room, message: Entry) -> None:
    if len(encode_entry(room.room, room.epoch, message)) > FRAME_LIMIT - ENVELOPE_ROOM:
        raise Refused("TOO_LARGE", "The message would be too long for a frame")


def _draft(request: About, appends: Sequence[Append], sender: Sender) -> Draft:
    room, entry = appends[0].read, appends[0].entry
    return Draft(appends, sender, Ack(client_id=request.client_id, room_id=room.room, epoch=room.epoch, seq=entry.seq))


def _unchanged(request: About, room: Room, sender: Sender) -> Draft:
    """Nothing is to be stored. But whoever made it so may have died before it was told of: the head is rung again."""
    ack = Ack(client_id=request.client_id, room_id=room.room, epoch=room.epoch, seq=room.head)
    return Draft([], sender, ack, rings=[Ring(room.room, room.epoch, room.shards, room.head, room.hooks)])
