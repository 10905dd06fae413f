"""The messages of rooms as they are by now: what entries of a log, applied in their order, come to.

An entry may be read late and show already what later entries say of it; they are applied all the same and come to the
same. So a reaction says how many there are, not that there is one more, and an edit without a text passes: the message
had a later one when it was read, or a later entry brings it.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec import UNSET
from msgspec.structs import replace

from client.events import Released
from domain.events import Chat, MessageDeleted, MessageEdited, PrivateMessage, Reacted, ReactionCount, Replies

__all__ = ["Message", "Messages"]

REMEMBERED = 10_000
"""Messages that are kept at most, those that came last."""

Message = Chat | PrivateMessage


class Messages:
    """(room, epoch, seq) → the message. Hand `apply` what a session releases, in the order in which it does."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._kept: OrderedDict[tuple[str, int, int], Message] = OrderedDict()
        self._remembered = remembered

    def get(self, room: str, epoch: int, seq: int) -> Message | None:
        """The message as it is by now; None for one that did not come, or long ago."""
        return self._kept.get((room, epoch, seq))

    def all(self) -> list[Message]:
        """Those that are kept, in the order in which they came."""
        return list(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def apply(self, event: Released) -> Message | None:
        """The message that the event brings or changes, as it is then; None where it does neither."""
        match event:
            case Chat() | PrivateMessage():
                return self._put(event)
            case MessageEdited() | MessageDeleted() | Reacted():
                place = event.room_id, event.epoch, event.of
                message = self._kept.get(place)
                if message is None or message.deleted_at is not UNSET:
                    return None
                self._kept[place] = _changed(message, event)
                return self._kept[place]
            case _:
                return None

    def _put(self, message: Message) -> Message:
        place = message.room_id, message.epoch, message.seq
        self._kept[place] = message
        if isinstance(message, Chat) and message.thread is not UNSET:
            self._answered(message, message.thread)
        while len(self._kept) > self._remembered:
            self._kept.popitem(last=False)
        return message

    def _answered(self, message: Chat, thread: int) -> None:
        place = message.room_id, message.epoch, thread
        root = self._kept.get(place)
        if isinstance(root, Chat):
            before = Replies(count=0, last_seq=0) if root.replies is UNSET else root.replies
            if message.seq > before.last_seq:
                self._kept[place] = replace(root, replies=Replies(count=before.count + 1, last_seq=message.seq))


def _changed(message: Message, event: MessageEdited | MessageDeleted | Reacted) -> Message:
    match event:
        case MessageEdited():
            if event.message is UNSET:
                return message
            return replace(message, message=event.message, edited_at=event.sent_at)
        case MessageDeleted():
            fields = {"message": "", "deleted_at": event.sent_at, "deleted_by": event.by}
            gone = dict.fromkeys(("edited_at", "reactions", "mentions", "trace"), UNSET)
            return replace(message, **fields, **{it: gone[it] for it in gone if hasattr(message, it)})
        case Reacted():
            before = [] if message.reactions is UNSET else message.reactions
            reaction = ReactionCount(emoji=event.emoji, count=event.count, users=event.users)
            known = any(it.emoji == event.emoji for it in before)
            after = [reaction if it.emoji == event.emoji else it for it in before] + ([] if known else [reaction])
            kept = [it for it in after if it.count]
            return replace(message, reactions=kept or UNSET)
