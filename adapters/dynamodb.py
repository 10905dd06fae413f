"""The room store on DynamoDB: three tables, on demand, no Scan anywhere."""

from __future__ import annotations

from typing import Any

__all__ = ["TTL_ATTRIBUTE", "table_definitions"]

TTL_ATTRIBUTE = "expiresAt"
"""Seconds since 1970, as DynamoDB's time-to-live wants it."""


def table_definitions(names: dict[str, str]) -> list[dict[str, Any]]:
    """The arguments of `CreateTable` for each table of {connections, rooms, messages} → name."""
    return [
        {
            "TableName": names[it],
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
        for it in ("connections", "rooms", "messages")
    ]
