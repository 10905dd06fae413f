"""Private messages: an entry in two inboxes, the target's and the sender's, by one transaction."""

from __future__ import annotations

from dataclasses import replace

from domain.errors import Refused
from domain.events import Ack
from domain.ports import Ports
from domain.requests import REQUESTS, SendPrivateMessage, request_type
from domain.rooms import Append, Entry, Room, Sender, Sending, ShardKey, check_may_send, inbox_of
from services.caller import Caller
from services.notices import announcement_of
from services.sending import Draft, commit, new_message_id, refuse_large, reviewed

__all__ = ["is_online", "send_private_message"]


async def send_private_message(ports: Ports, caller: Caller, request: SendPrivateMessage) -> bytes:
    """Store the message for the target, here or not, and return the `ack`: where it stands in the sender's inbox.

    The sending connection is not posted its own copy; the sender's other connections are.
    """
    if not request.message.strip():
        raise Refused("EMPTY_MESSAGE", REQUESTS[request_type(request)].missing["message"])
    refuse_large(request.message)
    own, theirs = inbox_of(caller.user), inbox_of(request.target_user_id)
    body = {
        "messageId": new_message_id(ports),
        "senderId": caller.user,
        "senderName": caller.name,
        "targetUserId": request.target_user_id,
        "message": request.message,
    }

    text: str | None = None

    async def draft(sending: Sending, now: int) -> Draft:
        target = sending.rooms.get(theirs)
        if target is None:
            raise Refused("USER_OFFLINE", "Target user not found or offline")
        nonlocal text
        inbox, membership, needs = check_may_send(sending, own, caller.user, caller.groups, now)
        if text is None:
            text = await reviewed(ports, theirs, caller.user, request.message)
            body["message"] = text
        # Who writes to themselves has one inbox, and one entry.
        copy = body if request.client_id is None else {**body, "clientId": request.client_id}
        appends = [Append(inbox, _entry(inbox, caller, copy, now, caller.connection))]
        if theirs != own:
            # Each copy remembers where the other is, so that both become what is made of one.
            appends = [
                Append(inbox, replace(appends[0].entry, beside={"twin": target.head + 1})),
                Append(target, replace(_entry(target, caller, body, now), beside={"twin": inbox.head + 1})),
            ]
        online = await is_online(ports, target, now)
        ack = Ack(
            client_id=request.client_id,
            message_id=body["messageId"],
            room_id=own,
            epoch=inbox.epoch,
            seq=appends[0].entry.seq,
            online=online,
        )
        away = () if online else (request.target_user_id,)
        announcement = announcement_of(ports, caller, "private_message", target, appends[-1].entry, away)
        return Draft(appends, Sender(caller.user, caller.connection, membership, needs), ack, announcement=announcement)

    return await commit(ports, caller, request, list(dict.fromkeys([own, theirs])), draft)


def _entry(inbox: Room, caller: Caller, body: dict[str, str], now: int, origin: str | None = None) -> Entry:
    return Entry(seq=inbox.head + 1, type="private_message", at=now, sender=caller.user, body=dict(body), origin=origin)


async def is_online(ports: Ports, inbox: Room, now: int) -> bool:
    """Whether any connection of the inbox's owner is open, as far as the rows know."""
    for shard in range(inbox.shards):
        members = await ports.store.members(ShardKey(inbox.room, inbox.epoch, shard))
        if any(it.expires_at > now for it in members):
            return True
    return False
