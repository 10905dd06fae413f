"""What the settings make of a Lambda environment."""

from __future__ import annotations

import pytest

from adapters.management_api import FastPosts, ManagementApi
from adapters.runtime import Runtime
from adapters.settings import Settings


@pytest.mark.parametrize(("fast_posts", "expected"), [(True, FastPosts), (False, ManagementApi)])
def test_how_posts_are_made(fast_posts: bool, expected: type[ManagementApi], monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast, unless the environment says that each is to be a call of the client."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    told = Settings({}, {}, {}, "https://api.invalid/dev", fast_posts=fast_posts).as_environment()
    assert told["ROOMCAST_FAST_POSTS"] == str(fast_posts).lower()
    environment = Runtime(Settings.from_environment(told))
    assert type(environment.run(environment.connections(1))) is expected
    environment.run(environment._open.aclose())  # an environment never does
