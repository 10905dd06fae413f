"""The three tables, as the CDK and the twin both make them: on demand."""

from __future__ import annotations

from typing import Any, Final

from adapters.dynamodb import rows

__all__ = ["STREAM_VIEW", "table_definitions"]

STREAM_VIEW: Final = "NEW_IMAGE"
"""What the stream of the messages tells of a changed row, where there is an archive: how it is now."""


def table_definitions(names: dict[str, str]) -> list[dict[str, Any]]:
    """The arguments of `CreateTable` for each table of {connections, rooms, messages} → name."""
    connections, rooms, messages = (_table(names[it]) for it in ("connections", "rooms", "messages"))
    rooms["AttributeDefinitions"].append({"AttributeName": "parent", "AttributeType": "S"})
    rooms["GlobalSecondaryIndexes"] = [
        {
            "IndexName": rows.DIRECTORY_INDEX,
            "KeySchema": [
                {"AttributeName": "parent", "KeyType": "HASH"},
                {"AttributeName": "pk", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(rows.DIRECTORY_ATTRIBUTES)},
        }
    ]
    return [connections, rooms, messages]


def _table(name: str) -> dict[str, Any]:
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    }
