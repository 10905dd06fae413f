"""How many rooms there are, and how many are in some of them: what the tables say, asked for people who watch."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.dynamodb import DynamoStore
from adapters.dynamodb.rows import DIRECTORY_INDEX
from domain.rooms import ShardKey
from local.cloud import Cloud

__all__ = ["Census"]


class Census:
    """Of a twin whose tables are there."""

    def __init__(self, cloud: Cloud, tables: dict[str, str]) -> None:
        self._cloud = cloud
        self._tables = tables
        self._store = DynamoStore(cloud.dynamodb, tables)

    async def rooms(self) -> int:
        """Rooms that are listed: hidden ones and those that were deleted are in no index."""
        pages = self._cloud.dynamodb.get_paginator("scan").paginate(
            TableName=self._tables["rooms"], IndexName=DIRECTORY_INDEX, Select="COUNT"
        )
        return sum([it["Count"] async for it in pages])

    async def members(self, rooms: Sequence[str]) -> dict[str, int]:
        """Room → members, as its shards count them."""
        found = await self._store.rooms(rooms) if rooms else {}
        keys = [ShardKey(it.room, it.epoch, shard) for it in found.values() for shard in range(it.shards)]
        shards = await self._store.shards(keys) if keys else {}
        counts = dict.fromkeys(found, 0)
        for key, shard in shards.items():
            counts[key.room] += shard.members
        return counts
