"""The three tables, from the definitions that the twin's emulator gets too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from adapters.dynamodb import STREAM_VIEW, TTL_ATTRIBUTE, table_definitions
from adapters.settings import table_names

__all__ = ["RoomStore"]


class RoomStore(Construct):
    """`tables`: {connections, rooms, messages} → table."""

    def __init__(
        self, scope: Construct, construct_id: str, *, prefix: str, protect: bool, stream: bool = False
    ) -> None:
        """`protect`: a table outlives its stack, and refuses to be deleted. `stream`: the messages table tells of its
        changes."""
        super().__init__(scope, construct_id)
        names = table_names(prefix)
        definitions = zip(names, table_definitions(names), strict=True)
        told = {"messages"} if stream else set()
        self.tables = {
            it: self._table(it.title(), definition, protect, stream=it in told) for it, definition in definitions
        }

    def _table(self, name: str, definition: Mapping[str, Any], protect: bool, *, stream: bool) -> dynamodb.Table:
        kinds = {it["AttributeName"]: it["AttributeType"] for it in definition["AttributeDefinitions"]}
        table = dynamodb.Table(
            self,
            name,
            table_name=definition["TableName"],
            billing_mode=dynamodb.BillingMode(definition["BillingMode"]),
            **_keys(definition["KeySchema"], kinds),
            time_to_live_attribute=TTL_ATTRIBUTE,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            encryption=dynamodb.TableEncryption.DEFAULT,
            stream=dynamodb.StreamViewType(STREAM_VIEW) if stream else None,
            deletion_protection=protect,
            removal_policy=RemovalPolicy.RETAIN if protect else RemovalPolicy.DESTROY,
        )
        for index in definition.get("GlobalSecondaryIndexes", ()):
            table.add_global_secondary_index(
                index_name=index["IndexName"],
                **_keys(index["KeySchema"], kinds),
                projection_type=dynamodb.ProjectionType(index["Projection"]["ProjectionType"]),
                non_key_attributes=index["Projection"].get("NonKeyAttributes"),
            )
        return table


def _keys(schema: list[dict[str, str]], kinds: Mapping[str, str]) -> dict[str, Any]:
    places = {"HASH": "partition_key", "RANGE": "sort_key"}
    return {
        places[it["KeyType"]]: dynamodb.Attribute(name=it["AttributeName"], type=_TYPES[kinds[it["AttributeName"]]])
        for it in schema
    }


_TYPES = {"S": dynamodb.AttributeType.STRING, "N": dynamodb.AttributeType.NUMBER, "B": dynamodb.AttributeType.BINARY}
