"""A measurement of a search: a load test in a process of its own, against a twin that has the settings, or a stage."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from domain.errors import BadSetting
from ops.loadtest import Options
from ops.search import Figure

__all__ = ["Load", "TrialError", "figure_of", "measure", "own_twin", "up_options"]

STOP_WITHIN = 40.0
"""Seconds for a twin to end."""
USUAL: Mapping[str, Any] = {"clients": 300, "rooms": 1, "rate": 15.0, "seconds": 10.0, "ramp": 200.0}
"""A room that takes a worker more than one post at a time to serve."""
WARM_SECONDS = 3.0
"""How long the same load runs before it is measured. New settings mean new environments, and the second that each takes
to start hides what the settings do: p99 of 370 to 940 ms cold, of 50 to 80 ms warm, whatever they were."""
COMMAND = (sys.executable, "-P", "-m", "ops.main")


class TrialError(RuntimeError):
    """Nothing could be measured; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the service is measured under, as `roomcast loadtest` takes it; None is the profile's own."""

    profile: str | None = None
    clients: int | None = None
    rooms: int | None = None
    rate: float | None = None
    seconds: float | None = None
    ramp: float | None = None

    def complete(self) -> Load:
        """With the usual load where neither a profile nor an option says otherwise: one in which settings matter."""
        return self if self.profile is not None else Load(**{**USUAL, **self._given()})

    def check(self) -> None:
        """Raises `BadSetting` before anything is started for it."""
        Options(**self._given()).plan()

    def arguments(self) -> list[str]:
        return [it for name, value in self._given().items() for it in (f"--{name}", str(value))]

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def up_options(lane_settings: Sequence[str], post_latency: float) -> list[str]:
    """What `roomcast up` is given for a twin with these settings."""
    latency = ["--post-latency", f"{post_latency:g}"] if post_latency else []
    return [*latency, *(it for setting in lane_settings for it in ("--lane", setting))]


@contextmanager
def own_twin(lane_settings: Sequence[str], *, post_latency: float = 0.0) -> Iterator[str]:
    """A twin with these settings, whose posts take `post_latency` milliseconds on average, for as long as the block
    lasts; its WebSocket URL.

    It ends with its standard input, so also when this process is killed.
    """
    settings = up_options(lane_settings, post_latency)
    with subprocess.Popen(  # noqa: S603  # this very command
        [*COMMAND, "up", "--port", "0", "--json", "--until-eof", *settings],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as twin:
        assert twin.stdin is not None  # noqa: S101  # both are pipes
        assert twin.stdout is not None  # noqa: S101
        try:
            line = twin.stdout.readline()
            if not line:
                raise TrialError("the twin to be measured did not start; the line above says why")
            yield json.loads(line)["ws"]
        finally:
            twin.stdin.close()
            try:
                twin.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                twin.kill()


def measure(url: str, load: Load) -> Figure:
    """What a load test at `url` came to, once what serves it is warm.

    Raises `TrialError` where it came to nothing, `BadSetting` if it refuses.
    """
    _run(url, replace(load, seconds=WARM_SECONDS))
    return figure_of(_run(url, load))


def _run(url: str, load: Load) -> Mapping[str, Any]:
    """The result of a load test; raises as `measure` does."""
    done = subprocess.run(  # noqa: S603  # this very command
        [*COMMAND, "loadtest", "--url", url, "--json", "-", *load.arguments()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        result: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().splitlines()
        reason = said[-1].removeprefix("roomcast: ") if said else f"it ended with status {done.returncode}"
        if done.returncode == 2:
            raise BadSetting(reason) from None
        raise TrialError(f"the load test measured nothing: {reason}") from None
    return result


def figure_of(result: Mapping[str, Any]) -> Figure:
    """The figure of a load test's result.

    Where nobody counts the calls, as on AWS, the cost is that of the posts alone: a dollar for a million frames.
    """
    fault = _fault(result)
    if fault:
        return Figure(math.inf, math.inf, fault)
    cost = (result["cost_usd"] or {}).get("per_million_deliveries")
    return Figure(result["latency_ms"]["p99"], cost or 1 / result["frames"]["entries_per_frame"])


def _fault(result: Mapping[str, Any]) -> str:
    """Why the settings are out of the question, or the figures would not be those of the load that was asked for."""
    clients, messages = result["clients"], result["messages"]
    if result["audit"] != "clean":
        return "the audit found messages lost, misplaced or misdelivered"
    if clients["connected"] < clients["asked"]:
        return f"{clients['asked'] - clients['connected']} of {clients['asked']} clients could not take part"
    if messages["acknowledged"] < messages["sent"] or not messages["sent"]:
        return f"{messages['sent'] - messages['acknowledged']} of {messages['sent']} messages were not acknowledged"
    if result["latency_ms"]["p99"] is None:
        return "nothing was delivered"
    return ""
