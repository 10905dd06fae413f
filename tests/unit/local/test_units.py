"""DynamoDB's units as AWS bills them, by hand-computed cases."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.dynamodb.rows import MEMBER_ATTRIBUTES, due_row, member_row
from domain.rooms import Member, ShardKey
from local.units import UNPROJECTED, item_size, sum_units, units_of

KEY = {"pk": {"S": "p"}, "sk": {"S": "s"}}
FAILED = {"Error": {"Code": "ConditionalCheckFailedException"}}
STRONG = {"ConsistentRead": True}


def row(size: int) -> dict[str, Any]:
    """A row of so many bytes."""
    return {"body": {"S": "x" * (size - 4)}}


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"a": {"S": "bcd"}}, 4),
        ({"a": {"S": "é"}}, 3),
        ({"a": {"N": "1700000000000"}}, 1 + 8),
        ({"a": {"N": "7"}}, 1 + 2),
        ({"yes": {"BOOL": True}}, 4),
    ],
)
def test_a_row_is_its_names_and_values(item: dict[str, Any], size: int) -> None:
    """UTF-8 for text; a number is a byte for two digits and one more."""
    assert item_size(item) == size


@pytest.mark.parametrize(
    ("operation", "request_", "answer", "units"),
    [
        pytest.param("GetItem", STRONG, {"Item": row(4096)}, 1, id="4 KB are a unit"),
        pytest.param("GetItem", STRONG, {"Item": row(4097)}, 2, id="a byte more is another"),
        pytest.param("GetItem", STRONG, {}, 1, id="nothing there"),
        pytest.param("GetItem", {}, {"Item": row(10)}, 0.5, id="half, read eventually"),
        pytest.param(
            "BatchGetItem",
            {"RequestItems": {"t": {"ConsistentRead": True, "Keys": [KEY, KEY, KEY]}}},
            {"Responses": {"t": [row(5000), row(10)]}},
            2 + 1 + 1,
            id="each row of a batch by itself, and the missing one",
        ),
        pytest.param("Query", STRONG, {"Items": [row(1500)] * 3}, 2, id="a page by the sum of its rows"),
        pytest.param("Query", STRONG, {"Items": []}, 1, id="an empty page"),
        pytest.param("Query", {}, {"Items": [row(4097)]}, 1, id="a page of an index"),
        pytest.param("PutItem", {"Item": row(1025)}, {}, 2, id="1 KB is a unit of writing"),
        pytest.param("PutItem", {"Item": row(2000) | {"parent": {"S": "root"}}}, {}, 4, id="a row in the index"),
        pytest.param("UpdateItem", {}, {"Attributes": row(1025)}, 2, id="by the row as it is then"),
        pytest.param("UpdateItem", {}, FAILED, 1, id="a failed condition is billed"),
        pytest.param("DeleteItem", {"Key": KEY}, {}, 1, id="also where there is no row"),
        pytest.param(
            "TransactWriteItems",
            {
                "TransactItems": [
                    {"Put": {"Item": row(1025)}},
                    {"ConditionCheck": {"Key": KEY}},
                    {"Update": {"Key": KEY}},
                ]
            },
            {},
            4 + 2 + 2,
            id="twice, a check as well",
        ),
        pytest.param(
            "TransactWriteItems",
            {"TransactItems": [{"Put": {"Item": row(100) | {"parent": {"S": "root"}}}}]},
            {"Error": {"Code": "TransactionCanceledException"}},
            2 + 1,
            id="the index once, and cancelled ones too",
        ),
        pytest.param("UpdateItem", {}, {"Error": {"Code": "ThrottlingException"}}, 0, id="no other failure is"),
        pytest.param("GetItem", STRONG, {"Error": {"Code": "ConditionalCheckFailedException"}}, 0, id="nor a read"),
        pytest.param("DescribeTable", {}, {}, 0, id="nor what is neither read nor written"),
    ],
)
def test_what_a_call_is_billed(operation: str, request_: dict[str, Any], answer: dict[str, Any], units: float) -> None:
    """Each operation, by AWS's rules."""
    assert units_of(operation, request_, answer) == units


def test_a_projection_is_billed_whole() -> None:
    """A query that asks for a part of its rows is billed for all of them: what it leaves out of ours is counted in."""
    member = Member(
        "aWhQ9hTSIAMCJyw=", "ada", "Ada", "v1", 1_700_000_000_000, 1_700_007_200_000, "0" * 16, status="away"
    )
    stored: dict[str, Any] = dict(member_row(member, ShardKey("room", 1_700_000_000_000, 0)))
    seen = {name: stored[name] for name in MEMBER_ATTRIBUTES}
    request: dict[str, Any] = STRONG | {
        "KeyConditionExpression": "pk = :shard",
        "ExpressionAttributeValues": {":shard": stored["pk"]},
        "ProjectionExpression": "some",
    }
    left_out = item_size(stored) - item_size(seen) - item_size({"pk": stored["pk"]})
    assert left_out == UNPROJECTED
    assert item_size(dict(due_row("c", 1))) - item_size({"pk": {"S": "due#1#0"}, "sk": {"S": "c"}}) <= UNPROJECTED
    full = 4096 // item_size(stored)
    assert units_of("Query", request, {"Items": [seen] * full}) == 1
    assert units_of("Query", request, {"Items": [seen] * (full + 1)}) == 2


def test_units_of_several_processes() -> None:
    """Reads and writes apart, and each operation's."""
    summed = sum_units([{"Query": 2, "PutItem": 1}, {"Query": 0.5, "GetItem": 1}])
    assert summed == {"read": 3.5, "write": 1, "by_operation": {"Query": 2.5, "PutItem": 1, "GetItem": 1}}
