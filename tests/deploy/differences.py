"""The conformance tests that fail on the emulator, and would on nothing that we deploy: it differs from AWS there.

A pytest plugin: `pytest tests/conformance -p tests.deploy.differences`. Each is expected to fail, and fails the run
when it begins to pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

__all__ = ["DIFFERENCES"]

DIFFERENCES: Mapping[str, str] = {
    "test_gateway.py::test_get_tells_about_the_connection": (
        "GetConnection answers ConnectedAt, Identity and LastActiveAt where the wire has connectedAt and so on"
    ),
    "test_gateway.py::test_a_post_of_more_than_128_kb_is_refused": "PostToConnection takes any size",
}
"""Test → what the emulator does. docs/emulator.md says what AWS does."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    found = {it.nodeid.removeprefix("tests/conformance/"): it for it in items}
    for test, reason in DIFFERENCES.items():
        if test not in found:
            raise pytest.UsageError(f"tests/deploy/differences.py names a test that there is not: {test}")
        found[test].add_marker(pytest.mark.xfail(reason=reason, strict=True))
