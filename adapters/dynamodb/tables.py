"""Calls to DynamoDB: strong reads, conditional writes, transactions, and what their errors mean.

`Conflict`: a condition did not hold, nothing was written. `Held`, which is one: another transaction holds a row.
`Unavailable`: throttled, failed, or no answer; or a single write met a row held by a transaction, in which case nothing
was done and the same call may succeed a moment later. Other errors of the service are faults of ours and stay as they
are.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from adapters.aws import NO_ANSWER, answered_status, error_code
from adapters.dynamodb.rows import Item, Key, values
from domain.errors import Conflict, RoomcastError, Unavailable

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import TransactWriteItemTypeDef

__all__ = ["REREAD_DELAYS", "Held", "Tables", "named", "to_check", "to_delete", "to_put", "to_update", "to_write"]

BATCH_KEYS = 100
"""Keys in one BatchGetItem at most."""
REREAD_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each further try of a batch read that left keys unprocessed; each is cut by up to a half."""


class Held(Conflict):
    """Another transaction holds one of the rows; whether the conditions hold is not known."""


class Tables:
    """A DynamoDB client, which keeps botocore's own retries. `sleep` lets the pauses of batch reads pass."""

    def __init__(self, client: DynamoDBClient, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._client = client
        self._sleep = sleep
        for it in ("Query", "Scan"):
            client.meta.events.register(f"before-parse.dynamodb.{it}", _parse_rows, unique_id=f"roomcast-{it}")

    async def get(self, table: str, key: Key) -> Mapping[str, Any] | None:
        with _translated():
            answer = await self._client.get_item(TableName=table, Key=key, ConsistentRead=True)
        return answer.get("Item")

    async def get_many(self, keys: Sequence[tuple[str, Key]]) -> list[Mapping[str, Any] | None]:
        """The rows at (table, key), each key once; None where there is no row. Up to 100 are one read."""
        result: list[Mapping[str, Any] | None] = []
        for start in range(0, len(keys), BATCH_KEYS):
            result += await self._get_batch(keys[start : start + BATCH_KEYS])
        return result

    async def query(
        self, table: str, condition: str, values: Item, **options: Any
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """The rows of a partition that fit the condition, page after page; read strongly, unless `options` differ."""
        while True:
            with _translated():
                answer = await self._client.query(
                    TableName=table,
                    KeyConditionExpression=condition,
                    ExpressionAttributeValues=values,
                    **{"ConsistentRead": True, **options},
                )
            for item in answer["Items"]:
                yield item
            if "LastEvaluatedKey" not in answer:
                return
            options["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    async def page(self, table: str, condition: str, values: Item, limit: int, **options: Any) -> list[Any]:
        """The first `limit` of what `query` finds."""
        result: list[Any] = []
        async with aclosing(self.query(table, condition, values, Limit=limit, **options)) as items:
            async for item in items:
                result.append(item)
                if len(result) == limit:
                    break
        return result

    async def scan(self, table: str, after: Key | None, limit: int, **options: Any) -> tuple[list[Any], Key | None]:
        """(up to `limit` rows of a table, or of a segment of it, from behind a key on; the last key, if more follow).
        For an operator's command alone: no function may."""
        more: Any = {"ExclusiveStartKey": after} if after else {}
        with _translated():
            answer = await self._client.scan(TableName=table, Limit=limit, **more, **options)
        return answer["Items"], answer.get("LastEvaluatedKey")

    async def put(self, table: str, item: Item) -> None:
        with _translated():
            await self._client.put_item(TableName=table, Item=item)

    async def update(
        self,
        table: str,
        key: Key,
        update: str,
        values: Item,
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Mapping[str, Any]:
        """Update a row, which is made where it is missing; the row as it is then. `names`: the `#names`."""
        conditional: Any = ({"ConditionExpression": condition} if condition else {}) | _of_names(names)
        with _translated():
            answer = await self._client.update_item(
                TableName=table,
                Key=key,
                UpdateExpression=update,
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
                **conditional,
            )
        return answer["Attributes"]

    async def delete(self, table: str, key: Key, **condition: Any) -> None:
        with _translated():
            await self._client.delete_item(TableName=table, Key=key, **condition)

    async def take(self, table: str, key: Key) -> Mapping[str, Any] | None:
        """Delete a row; the row as it was."""
        with _translated():
            answer = await self._client.delete_item(TableName=table, Key=key, ReturnValues="ALL_OLD")
        return answer.get("Attributes")

    async def transact(self, *writes: TransactWriteItemTypeDef) -> None:
        """All or nothing. botocore's own retries carry the token of the first try, so they have no second effect."""
        with _translated():
            await self._client.transact_write_items(TransactItems=writes)

    async def _get_batch(self, keys: Sequence[tuple[str, Key]]) -> list[Mapping[str, Any] | None]:
        request: dict[str, Any] = {}
        for table, key in keys:
            request.setdefault(table, {"ConsistentRead": True, "Keys": []})["Keys"].append(key)
        for delay in (*REREAD_DELAYS, None):
            with _translated():
                answer = await self._client.batch_get_item(RequestItems=request)
            if not answer.get("UnprocessedKeys"):
                break
            # All keys again: a caller takes what it gets as one read, so no part of it may be older than another.
            if delay is None:
                raise Unavailable("a batch read stayed incomplete")
            await self._sleep(random.uniform(delay / 2, delay))
        found = {
            (table, item["pk"]["S"], item["sk"]["S"]): item
            for table, items in answer["Responses"].items()
            for item in items
        }
        return [found.get((table, key["pk"]["S"], key["sk"]["S"])) for table, key in keys]


def _parse_rows(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """Read an answer of rows in botocore's place, which takes 19 µs for a member's row, a third of what a post takes.

    An answer in JSON is the same as botocore makes of it, binary attributes aside, and no row of ours has one.
    """
    if response_dict["status_code"] == 200:
        with suppress(msgspec.DecodeError):  # botocore says what is wrong with it
            customized_response_dict.update(msgspec.json.decode(response_dict["body"]))
            response_dict["body"] = b"{}"


def named(**row: str | int | bool | None) -> Item:
    """Values for expressions, `:name` → value; those that are None are left out."""
    return values({f":{name}": it for name, it in row.items()})


# ------------------------------------------------------------------------------------------------ transactions


def to_put(
    table: str,
    item: Item,
    condition: str | None = None,
    *,
    names: Mapping[str, str] | None = None,
    **row: str | int | bool | None,
) -> TransactWriteItemTypeDef:
    """A put within a transaction; `row` are the values that the condition names, `names` its `#names`."""
    put: Any = {"TableName": table, "Item": item} | _conditional(condition, row) | _of_names(names)
    return {"Put": put}


def to_delete(table: str, key: Key) -> TransactWriteItemTypeDef:
    """A deletion within a transaction."""
    return {"Delete": {"TableName": table, "Key": key}}


def to_update(
    table: str,
    key: Key,
    update: str,
    condition: str | None,
    *,
    names: Mapping[str, str] | None = None,
    **row: str | int,
) -> TransactWriteItemTypeDef:
    """An update within a transaction; `row` are the values that update and condition name, `names` its `#names`."""
    it: Any = {"TableName": table, "Key": key, "UpdateExpression": update} | _conditional(condition, row)
    return {"Update": it | _of_names(names)}


def to_write(table: str, item: Item) -> TransactWriteItemTypeDef:
    """A row's attributes within a transaction, which leaves those that it has beside them as they are."""
    key = {name: item[name] for name in ("pk", "sk")}
    row = {name: it for name, it in item.items() if name not in key}
    update: Any = {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET " + ", ".join(f"#{it} = :{it}" for it in row),
        "ExpressionAttributeNames": {f"#{it}": it for it in row},
        "ExpressionAttributeValues": {f":{name}": it for name, it in row.items()},
    }
    return {"Update": update}


def to_check(table: str, key: Key, condition: str, **row: str | int | bool) -> TransactWriteItemTypeDef:
    """A condition within a transaction on a row that it leaves as it is."""
    it: Any = {"TableName": table, "Key": key} | _conditional(condition, row)
    return {"ConditionCheck": it}


def _of_names(names: Mapping[str, str] | None) -> dict[str, Any]:
    return {"ExpressionAttributeNames": names} if names else {}


def _conditional(condition: str | None, row: Mapping[str, str | int | bool | None]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if condition:
        result["ConditionExpression"] = condition
    if row:
        result["ExpressionAttributeValues"] = named(**row)
    return result


# ------------------------------------------------------------------------------------------------ errors

_ERRORS: Mapping[str, type[RoomcastError]] = {
    "ConditionalCheckFailedException": Conflict,
    "TransactionConflictException": Unavailable,
    "ThrottlingException": Unavailable,
    "ProvisionedThroughputExceededException": Unavailable,
    "RequestLimitExceeded": Unavailable,
    "TransactionInProgressException": Unavailable,
    "InternalServerError": Unavailable,
    # The reasons of a cancelled transaction:
    "ConditionalCheckFailed": Conflict,
    "TransactionConflict": Held,
    "ThrottlingError": Unavailable,
    "ProvisionedThroughputExceeded": Unavailable,
}
"""What an answer means; of several reasons the first in this order counts."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        reasons: Sequence[Any] = error.response.get("CancellationReasons", ())
        codes = {error_code(error), *(it.get("Code") for it in reasons)}
        known = next((it for code, it in _ERRORS.items() if code in codes), None)
        if known is None and answered_status(error) >= 500:
            known = Unavailable
        if known is None:
            raise
        raise known(f"{error.operation_name}: {', '.join(sorted(codes - {None, 'None'}))}") from error
    except NO_ANSWER as error:
        raise Unavailable(type(error).__name__) from error
