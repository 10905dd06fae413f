"""Each lane's worker and mapping, the functions' settings, the minute tick, and the order of an update."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapters.settings import Settings
from domain.lanes import LANES, Lane
from tests.infra.conftest import Synthesis
from tests.infra.templates import Template

FUNCTION = "AWS::Lambda::Function"
MAPPING = "AWS::Lambda::EventSourceMapping"
API = ("authorizer", "connect", "disconnect", "message", "publish", "incoming")

EVERY_LANE = pytest.mark.parametrize("lane", LANES.values(), ids=lambda it: it.name)


def mapping(service: Template, lane: Lane, prefix: str = "roomcast-dev") -> dict[str, Any]:
    [found] = [it for it in service.of(MAPPING).values() if it["FunctionName"] == f"<{prefix}-{lane.name}>"]
    return dict(found)


@EVERY_LANE
def test_a_lane_has_its_mapping(service: Template, lane: Lane) -> None:
    """From its queue to its function, as the lane says; exactly what failed comes again."""
    expected = {
        "EventSourceArn": f"<roomcast-dev-{lane.name}{'.fifo' if lane.fifo else ''}.Arn>",
        "FunctionName": f"<roomcast-dev-{lane.name}>",
        "BatchSize": lane.batch_size,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": lane.max_concurrency},
    }
    if not lane.fifo:
        expected["MaximumBatchingWindowInSeconds"] = round(lane.window)
    assert mapping(service, lane) == expected


def test_there_are_no_other_mappings(service: Template) -> None:
    """One for each lane."""
    assert len(service.of(MAPPING)) == len(LANES)


def test_a_lanes_settings_reach_its_mapping(prod: Synthesis) -> None:
    """`-c lane.ephemeral.batch_size=50`: batch, window and concurrency of the mapping, time-out of the function."""
    service = prod.template("roomcast-prod-service")
    found = mapping(service, LANES["ephemeral"], "roomcast-prod")
    assert (found["BatchSize"], found["MaximumBatchingWindowInSeconds"]) == (50, 1)
    assert found["ScalingConfig"] == {"MaximumConcurrency": 3}
    assert service.named(FUNCTION)["roomcast-prod-ephemeral"]["Timeout"] == 12


def test_functions_are_what_the_settings_say(service: Template) -> None:
    """Handlers by name, from one bundle, on arm64; a worker has a whole processor, and its lane's time-out."""
    functions = service.named(FUNCTION)
    assert set(functions) == {f"roomcast-dev-{it}" for it in (*API, "tick", *LANES)}
    assert len({json.dumps(it["Code"]) for it in functions.values()}) == 1
    for name in (*API, "tick"):
        function = functions[f"roomcast-dev-{name}"]
        assert function["Handler"] == f"services.{name}.handler"
        assert (function["MemorySize"], function["Timeout"]) == (512, 60 if name == "tick" else 10)
    for lane in LANES.values():
        function = functions[f"roomcast-dev-{lane.name}"]
        assert function["Handler"] == "pipeline.worker.handler"
        assert (function["MemorySize"], function["Timeout"]) == (1_769 if lane.sockets else 512, lane.timeout)
    for function in functions.values():
        assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
        assert function["LoggingConfig"] == {
            "LogFormat": "JSON",
            "LogGroup": f"</aws/lambda/{function['FunctionName']}>",
        }
        # Reserved concurrency would send good messages to the dead-letter queue.
        assert "ReservedConcurrentExecutions" not in function


def test_logs_end(service: Template) -> None:
    """A log group for each function, with a retention."""
    groups = service.named("AWS::Logs::LogGroup")
    assert set(groups) == {f"/aws/lambda/{it}" for it in service.named(FUNCTION)}
    assert {it["RetentionInDays"] for it in groups.values()} == {14}


def test_functions_read_their_settings(service: Template) -> None:
    """The environment is the one that `Settings` reads: this stage's tables, queues, lane, and `@connections`."""
    for name, function in service.named(FUNCTION).items():
        variables = function["Environment"]["Variables"]
        settings = Settings.from_environment(variables)
        lane = name.removeprefix("roomcast-dev-")
        assert settings.lane == (lane if lane in LANES else "")
        assert settings.tables["rooms"] == "roomcast-dev-rooms"
        assert settings.queues == {
            it.name: f"<roomcast-dev-{it.name}{'.fifo' if it.fifo else ''}>" for it in LANES.values()
        }
        assert settings.management_endpoint.endswith(".execute-api.<AWS::Region>.<AWS::URLSuffix>/dev")
        assert settings.lanes == LANES
        assert settings.hook_networks == (), "on AWS no webhook reaches anything but the public internet"
        assert variables["POWERTOOLS_SERVICE_NAME"] == "roomcast-dev"
        # Lambda takes 4 KB of them; references grow to some 100 characters each.
        assert sum(len(it) + len(value) for it, value in variables.items()) < 3_000


def test_a_remainder_may_go_round(service: Template) -> None:
    """A worker that sends to its own queue, for as long as a remainder lives, is no loop for Lambda to break."""
    functions = service.named(FUNCTION)
    allowed = {name for name, it in functions.items() if it.get("RecursiveLoop") == "Allow"}
    assert allowed == {f"roomcast-dev-{it}" for it in ("bulk", "retry", "ephemeral", "hooks")}


def test_the_tick_comes_every_minute(service: Template) -> None:
    """To the function that ends leases."""
    [rule] = service.of("AWS::Events::Rule").values()
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(1 minute)", "ENABLED")
    [target] = rule["Targets"]
    assert target["Arn"] == "<roomcast-dev-tick.Arn>"


def test_workers_are_updated_first(service: Template) -> None:
    """A worker reads the jobs of the version before its own, so none may meet a job newer than itself."""
    ids = service.ids(FUNCTION)
    for name in ("connect", "disconnect", "message", "publish", "incoming"):
        depends = service.body["Resources"][ids[f"roomcast-dev-{name}"]]["DependsOn"]
        assert {ids[f"roomcast-dev-{it}"] for it in LANES} <= set(depends)


def test_tracing_is_an_opt_in(service: Template, prod: Synthesis) -> None:
    """X-Ray bills every trace."""
    for function in service.named(FUNCTION).values():
        assert "TracingConfig" not in function
        assert function["Environment"]["Variables"]["POWERTOOLS_TRACE_DISABLED"] == "true"
    for function in prod.template("roomcast-prod-service").named(FUNCTION).values():
        assert function["TracingConfig"] == {"Mode": "Active"}
