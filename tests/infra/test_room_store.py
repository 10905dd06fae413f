"""The tables of the template are those that the twin makes, and hard to lose."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.dynamodb import TTL_ATTRIBUTE, table_definitions
from adapters.settings import table_names
from tests.infra.conftest import Synthesis
from tests.infra.templates import Template

TABLE = "AWS::DynamoDB::Table"


@pytest.mark.parametrize("definition", table_definitions(table_names("roomcast-dev")), ids=lambda it: it["TableName"])
def test_a_table_is_what_the_twin_makes(state: Template, definition: dict[str, Any]) -> None:
    """Keys, indexes, billing: every argument of the twin's CreateTable stands in the template, and no other key."""
    table = state.named(TABLE)[definition["TableName"]]
    assert {it: table.get(it) for it in definition} == definition
    keys = {"AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "LocalSecondaryIndexes"}
    assert keys & set(table) == keys & set(definition)


def test_there_are_no_other_tables(state: Template) -> None:
    """Three, as in the recipe."""
    assert set(state.named(TABLE)) == set(table_names("roomcast-dev").values())


def test_rows_expire_and_can_be_restored(state: Template) -> None:
    """TTL on the attribute that the rows have; point-in-time recovery in every stage."""
    for table in state.named(TABLE).values():
        assert table["TimeToLiveSpecification"] == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_a_protected_stage_keeps_its_tables(prod: Synthesis) -> None:
    """Neither a tear-down nor a hand deletes them."""
    state = prod.template("roomcast-prod-state")
    assert len(state.of(TABLE)) == 3
    for name, table in state.of(TABLE).items():
        assert table["DeletionProtectionEnabled"] is True
        resource = state.body["Resources"][name]
        assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_a_dev_stage_leaves_nothing_behind(state: Template) -> None:
    """What is torn down is gone."""
    for name, table in state.of(TABLE).items():
        assert table["DeletionProtectionEnabled"] is False
        assert state.body["Resources"][name]["DeletionPolicy"] == "Delete"


def test_logical_ids_stay(state: Template) -> None:
    """A new logical id is a new, empty table: whoever changes one means to lose what is stored."""
    assert state.ids(TABLE) == {
        "roomcast-dev-connections": "RoomStoreConnections541F5A97",
        "roomcast-dev-rooms": "RoomStoreRooms33BEF58E",
        "roomcast-dev-messages": "RoomStoreMessagesF5B428D4",
    }
