"""Hooks in the table of rooms. `rows.py` beside it has their form."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from adapters.dynamodb import rows
from adapters.dynamodb.tables import Tables, named, to_update
from domain.ports import Webhooks
from domain.rooms import Room
from domain.webhooks import Hook, is_told, key_of, named_hooks, room_of

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef

__all__ = ["DynamoWebhooks"]


class DynamoWebhooks(Webhooks):
    """On a DynamoDB client, whose own retries stay on. `tables`: rooms → name.

    Rows are updated, never put: whoever may do what else is done here may do this too.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        tables: Mapping[str, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tables = Tables(client, sleep)
        self._rooms = tables["rooms"]

    async def hooks(self, room: str) -> list[Hook]:
        found = self._tables.query(
            self._rooms, "pk = :room AND begins_with(sk, :hook)", named(room=room, hook=rows.HOOK_PREFIX)
        )
        return [rows.read_hook(it) async for it in found]

    async def hook(self, hook: str) -> Hook | None:
        item = await self._tables.get(self._rooms, rows.hook_key(room_of(hook), key_of(hook)))
        return rows.read_hook(item) if item else None

    async def put(self, room: Room | None, read: Hook | None, hook: Hook) -> None:
        row = rows.hook_row(hook)
        if read is not None and read.position == hook.position:
            del row["position"]  # it may have moved on since
        await self._tables.transact(
            to_update(
                self._rooms,
                rows.hook_key(hook.room, hook.key),
                "SET " + ", ".join(f"#{it} = :{it}" for it in row),
                "attribute_not_exists(pk)" if read is None else "#version = :read",
                names={f"#{it}": it for it in row},
                **row,
                **({} if read is None else {"read": read.version}),
            ),
            *self._to_name(room, hook, named_hooks(room, hook.key, hook)),
        )

    async def remove(self, room: Room | None, hook: Hook) -> None:
        deletion: Any = {
            "TableName": self._rooms,
            "Key": rows.hook_key(hook.room, hook.key),
            "ConditionExpression": "#version = :read",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": named(read=hook.version),
        }
        await self._tables.transact({"Delete": deletion}, *self._to_name(room, hook, named_hooks(room, hook.key, None)))

    def _to_name(self, room: Room | None, hook: Hook, hooks: tuple[str, ...]) -> list[TransactWriteItemTypeDef]:
        if room is None or not is_told(room, hook):
            return []
        was, becomes = rows.hooks_text(room.hooks), rows.hooks_text(hooks)
        texts = {"was": was, "hooks": becomes}
        write = to_update(
            self._rooms,
            rows.meta_key(room.room),
            "SET hooks = :hooks" if becomes else "REMOVE hooks",
            "epoch = :epoch AND " + ("hooks = :was" if was else "attribute_not_exists(hooks)"),
            epoch=room.epoch,
            **{name: it for name, it in texts.items() if it is not None},  # type: ignore[arg-type]  # none is `names`
        )
        return [write]

    async def follow(self, hook: Hook) -> None:
        row = rows.hook_progress(hook)
        await self._tables.update(
            self._rooms,
            rows.hook_key(hook.room, hook.key),
            "SET " + ", ".join(f"#{it} = :{it}" for it in row),
            named(**row, version=hook.version),
            condition="#version = :version AND #position <= :position",
            names={f"#{it}": it for it in (*row, "version")},
        )
