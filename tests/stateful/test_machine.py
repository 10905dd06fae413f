"""Whatever users do, one after the other, the services answer and store what their model does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import aioboto3
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from adapters.dynamodb import DynamoMarks, DynamoStatuses, DynamoStore, table_definitions
from adapters.memory import MemoryStatuses, MemoryStore
from adapters.settings import table_names
from tests.stateful.machine import ServicesMachine

Run = Callable[[Coroutine[Any, Any, Any]], Any]
_numbers = itertools.count(1)


@pytest.fixture
def run() -> Iterator[Run]:
    """Carries coroutines out, one after the other, on one event loop."""
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.mark.timeout(600)  # which only a failure needs: to be made small
def test_on_memory(run: Run) -> None:
    """200 runs of 40 steps, what is stored compared after each."""

    class OnMemory(ServicesMachine):
        def __init__(self) -> None:
            store = MemoryStore()
            super().__init__(store, MemoryStatuses(store), run)

    run_state_machine_as_test(OnMemory, settings=settings(max_examples=200, stateful_step_count=40))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_on_dynamodb(run: Run, moto_endpoint: str) -> None:
    """Few runs, each with tables of its own, compared at its end."""
    session = aioboto3.Session(region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any")
    opening = session.client("dynamodb", endpoint_url=moto_endpoint)
    client = run(opening.__aenter__())

    class OnDynamoDB(ServicesMachine):
        def __init__(self) -> None:
            self.tables = table_names(f"stateful{next(_numbers)}")
            for definition in table_definitions(self.tables):
                run(client.create_table(**definition))
            marks, statuses = DynamoMarks(client, self.tables), DynamoStatuses(client, self.tables)
            super().__init__(DynamoStore(client, self.tables), statuses, run, marks=marks, look=False)

        def teardown(self) -> None:
            super().teardown()
            for it in self.tables.values():
                run(client.delete_table(TableName=it))

    try:
        run_state_machine_as_test(OnDynamoDB, settings=settings(max_examples=10, stateful_step_count=20))
    finally:
        run(opening.__aexit__(None, None, None))
