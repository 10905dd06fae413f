"""The recipe's way to broadcast, to compare with: read who is in the room, then post to one after the other.

`handler` runs as a Lambda function of the twin. Its event: {"cloud", "table", "room", "management", "data"}.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import boto3
from boto3.dynamodb.conditions import Key

__all__ = ["handler", "management_client", "post_to_all", "table_definition"]


def table_definition(name: str) -> dict[str, Any]:
    """The recipe's connections, keyed by room: a query finds the members, where its scan reads every room's."""
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": [
            {"AttributeName": "roomId", "KeyType": "HASH"},
            {"AttributeName": "connectionId", "KeyType": "RANGE"},
        ],
        "AttributeDefinitions": [
            {"AttributeName": "roomId", "AttributeType": "S"},
            {"AttributeName": "connectionId", "AttributeType": "S"},
        ],
    }


def handler(event: dict[str, Any], context: object) -> dict[str, int]:
    """Broadcast `data` to the room; how many posts were answered with 200."""
    room, table = event["room"], _table(event["cloud"], event["table"])
    members = _members(table, room)

    def forget(connection: str) -> None:
        table.delete_item(Key={"roomId": room, "connectionId": connection})

    return {"posted": post_to_all(management_client(event["management"]), members, event["data"].encode(), forget)}


def post_to_all(client: Any, connections: Iterable[str], data: bytes, forget: Callable[[str], object]) -> int:
    """The recipe's loop: a post at a time, and who is gone is forgotten. How many were posted."""
    posted = 0
    for connection in connections:
        try:
            client.post_to_connection(ConnectionId=connection, Data=data)
            posted += 1
        except client.exceptions.GoneException:
            forget(connection)
    return posted


@functools.cache
def management_client(endpoint: str) -> Any:
    """boto3's client as it comes, kept for the life of the environment."""
    return boto3.client("apigatewaymanagementapi", endpoint_url=endpoint)


@functools.cache
def _table(endpoint: str, name: str) -> Any:
    return boto3.resource("dynamodb", endpoint_url=endpoint).Table(name)


def _members(table: Any, room: str) -> list[str]:
    query: dict[str, Any] = {"KeyConditionExpression": Key("roomId").eq(room)}
    members: list[str] = []
    while True:
        page = table.query(**query)
        members += [it["connectionId"] for it in page["Items"]]
        if "LastEvaluatedKey" not in page:
            return members
        query["ExclusiveStartKey"] = page["LastEvaluatedKey"]
