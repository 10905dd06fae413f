"""What a query is answered from: every row that it is about, and few others."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from local.cloud_ranges import SMALL, Ranges

PK = "room"
KEYS = st.integers(0, 400).map("{:04d}".format)


def query(condition: str, *, limit: int | None, forward: bool, after: str | None, **values: str) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": {f":{name}": {"S": it} for name, it in {"pk": PK, **values}.items()},
        "ScanIndexForward": forward,
    }
    asked |= {} if limit is None else {"Limit": limit}
    return asked | ({} if after is None else {"ExclusiveStartKey": {"pk": {"S": PK}, "sk": {"S": after}}})


@given(
    st.data(),
    st.lists(st.tuples(st.sampled_from(["put", "put", "put", "delete", "ask"]), KEYS), max_size=60),
)
def test_a_page_is_within_what_it_is_answered_from(data: st.DataObject, steps: list[tuple[str, str]]) -> None:
    """Whatever was put and deleted before, in whatever order; and what is left out is no part of it."""
    ranges = Ranges()
    bucket = {f"{it:04d}": {"n": it} for it in range(0, 2 * (SMALL + 20), 2)}
    for does, key in [*steps, ("ask", "0000")]:
        if does == "put":
            bucket[key] = {"n": int(key)}
        elif does == "delete":
            bucket.pop(key, None)
        else:
            low, high = sorted((data.draw(KEYS), data.draw(KEYS)))
            condition = data.draw(st.sampled_from(["BETWEEN", ">", ""]))
            limit, forward = data.draw(st.none() | st.integers(1, 50)), data.draw(st.booleans())
            after = data.draw(st.none() | st.sampled_from(sorted(bucket)))
            text = {"BETWEEN": " AND sk BETWEEN :a AND :b", ">": " AND sk > :a", "": ""}[condition]
            asked = query(f"pk = :pk{text}", limit=limit, forward=forward, after=after, a=low, b=high)
            found = ranges.narrow("t", {PK: bucket}, asked)
            if len(bucket) <= SMALL:
                assert found is None
                continue
            assert found is not None
            wanted = sorted(bucket, reverse=not forward)
            wanted = [it for it in wanted if not condition or (low < it if condition == ">" else low <= it <= high)]
            wanted = [it for it in wanted if after is None or (it > after if forward else it < after)]
            page = wanted if limit is None else wanted[: limit + 1]
            assert set(page) <= set(found[PK])
            assert all(found[PK][it] is bucket[it] for it in found[PK])
            assert limit is None or len(found[PK]) <= limit + 2


def test_other_queries_are_the_emulators() -> None:
    """Of an index, or by a condition that is not ours."""
    bucket: dict[str, Any] = {f"{it:04d}": {} for it in range(SMALL + 1)}
    asked = query("pk = :pk", limit=None, forward=True, after=None)
    assert Ranges().narrow("t", {PK: bucket}, asked) is not None
    assert Ranges().narrow("t", {PK: bucket}, asked | {"IndexName": "directory"}) is None
    assert (
        Ranges().narrow("t", {PK: bucket}, asked | {"KeyConditionExpression": "pk = :pk AND begins_with(sk, :a)"})
        is None
    )
    assert Ranges().narrow("t", {}, asked) is None
