"""What a deployment is doing: one reading of a twin's counters, or of SQS and CloudWatch, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.observability import METRICS, NAMESPACE
from local.twin import API_FUNCTIONS, TICK
from ops.stage import Deployment, answered, twin_status

__all__ = ["MINUTES", "FunctionReading", "LaneReading", "Posts", "Reading", "read", "troubles"]

MINUTES = 5
"""What a stage's counters are summed over. CloudWatch has them a minute or two after the fact."""
OLD_SECONDS = 60.0
"""An older job is trouble: a shard whose worker died stands still for the visibility time, 15 s."""
THROTTLED_SHARE, FAILED_SHARE, FEWEST = 0.25, 0.05, 10
"""Of all posts, from so many on: as the alarms have them (`infra/alarms.py` says why)."""
AUTHORIZER = "authorizer"
"""A token that is not accepted is an error of this function: API Gateway makes 401 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posts:
    """Posts by what became of them."""

    sent: int
    gone: int
    throttled: int
    failed: int

    @property
    def all(self) -> int:
        return self.sent + self.gone + self.throttled + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneReading:
    """A lane now. None is what nobody counts."""

    waiting: int
    in_flight: int
    delayed: int
    dead: int
    oldest_s: float | None
    """Age of the oldest job in seconds; None too where there is none."""
    workers_up: int | None
    workers_busy: int | None
    """On a stage the most at once in the last minutes."""
    workers_limit: int
    posts: Posts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReading:
    """A function's failures. None is what nobody counts."""

    errors: int
    """All failures: raised, out of time, crashed."""
    timeouts: int | None
    """Those among them; on a stage its log tells."""
    throttles: int | None
    """Invocations that Lambda refused for want of concurrency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A deployment now; its counters are of the last `minutes`, or since it started where that is None."""

    at: str
    deployment: str
    minutes: int | None
    lanes: dict[str, LaneReading]
    functions: dict[str, FunctionReading]
    posts: Posts
    connections: int | None
    """Open ones. API Gateway does not tell how many there are."""
    connects: int
    disconnects: int
    throttled: int | None
    """Clients' messages and handshakes beyond the rate. API Gateway does not count them."""
    troubles: list[str] = field(default_factory=list)
    """A sentence each; none means healthy."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "healthy": not self.troubles}


def read(deployment: Deployment) -> Reading:
    """One reading. Raises `StageError`."""
    return _of_twin(deployment) if deployment.twin else _of_stage(deployment)


def troubles(
    lanes: Mapping[str, LaneReading], functions: Mapping[str, FunctionReading], posts: Posts, throttled: int | None
) -> Iterator[str]:
    """What is wrong, a sentence each."""
    for name, lane in lanes.items():
        if lane.dead:
            yield f"{_counted(lane.dead, 'job')} of {name} in its dead-letter queue: see `roomcast redrive --dry-run`."
        if lane.oldest_s is not None and lane.oldest_s > OLD_SECONDS:
            yield f"The oldest job of {name} has waited for {lane.oldest_s:.0f} s: its rooms hear their messages late."
    for name, function in functions.items():
        if function.errors and name != AUTHORIZER:
            late = f", {function.timeouts} of them out of time" if function.timeouts else ""
            yield f"The function {name} failed {_counted(function.errors, 'time')}{late}: its log says why."
        if function.throttles:
            yield f"Lambda refused to start {name} {_counted(function.throttles, 'time')}: raise the concurrency quota."
    if posts.all >= FEWEST and posts.throttled > THROTTLED_SHARE * posts.all:
        yield f"{_share(posts.throttled, posts)} of the posts were throttled: the account's request rate is spent."
    if posts.all >= FEWEST and posts.failed > FAILED_SHARE * posts.all:
        yield f"{_share(posts.failed, posts)} of the posts failed: the workers' logs say why."
    if throttled:
        yield f"{_counted(throttled, 'message')} or handshakes of clients were beyond the gateway's rate."


# ---- private


def _of_twin(deployment: Deployment) -> Reading:
    raw = twin_status(deployment.name)
    functions, queues, gateway = raw["functions"], raw["queues"], raw["gateway"]
    return _reading(
        deployment,
        minutes=None,
        lanes={
            name: LaneReading(
                waiting=queues[name]["visible"],
                in_flight=queues[name]["in_flight"],
                delayed=queues[name]["delayed"],
                dead=queues[name]["dead"],
                oldest_s=queues[name]["oldest_s"],
                workers_up=len(functions[name]["pids"]),
                workers_busy=len(functions[name]["busy"]),
                workers_limit=lane.max_concurrency,
                posts=None,
            )
            for name, lane in deployment.lanes.items()
        },
        functions={
            name: FunctionReading(
                errors=it["errors"] + it["timeouts"] + it["crashes"], timeouts=it["timeouts"], throttles=None
            )
            for name, it in functions.items()
        },
        posts=Posts(**{it: raw["posts"][it] for it in ("sent", "gone", "throttled", "failed")}),
        connections=gateway["open"],
        connects=gateway["connects"],
        disconnects=gateway["disconnects"],
        throttled=gateway["throttled"],
    )


_Key = tuple[str, str]
"""A lane or a function (or nothing), and what is asked of it."""
_POSTS = {"sent": "PostsDelivered", "gone": "PostsGone", "throttled": "PostsThrottled", "failed": "PostsFailed"}


def _of_stage(deployment: Deployment) -> Reading:
    names = [*API_FUNCTIONS, TICK, *deployment.lanes]
    with answered(str(deployment)):
        numbers = _numbers(deployment.client("cloudwatch"), _queries(deployment, names))
        sqs = deployment.client("sqs")
        depths = {it: _depth(sqs, deployment.queues[it]) for it in deployment.lanes}
        dead = {it: sum(_depth(sqs, deployment.dead_letter_queues[it])) for it in deployment.lanes}

    def total(of: str, what: str) -> int:
        return round(sum(numbers.get((of, what), ())))

    posts = {lane: {it: total(lane, it) for it in _POSTS} for lane in deployment.lanes}
    lanes = {}
    for name, lane in deployment.lanes.items():
        waiting, in_flight, delayed = depths[name]
        ages = numbers.get((name, "oldest"))
        busy = numbers.get((name, "busy"))
        lanes[name] = LaneReading(
            waiting=waiting,
            in_flight=in_flight,
            delayed=delayed,
            dead=dead[name],
            # CloudWatch's last word may be older than the queue's emptiness.
            oldest_s=ages[-1] if ages and waiting + in_flight + delayed else None,
            workers_up=None,
            workers_busy=round(max(busy)) if busy else None,
            workers_limit=lane.max_concurrency,
            posts=Posts(**posts[name]),
        )
    return _reading(
        deployment,
        minutes=MINUTES,
        lanes=lanes,
        functions={
            it: FunctionReading(errors=total(it, "errors"), timeouts=None, throttles=total(it, "throttles"))
            for it in names
        },
        posts=Posts(**{it: sum(lane[it] for lane in posts.values()) for it in _POSTS}),
        connections=None,
        connects=total("", "connects"),
        disconnects=total("", "disconnects"),
        throttled=None,
    )


def _reading(deployment: Deployment, **parts: Any) -> Reading:
    found = list(troubles(parts["lanes"], parts["functions"], parts["posts"], parts["throttled"]))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Reading(at=at, deployment=str(deployment), troubles=found, **parts)


def _queries(deployment: Deployment, functions: Iterable[str]) -> dict[_Key, dict[str, Any]]:
    """What CloudWatch is asked, as GetMetricData's `MetricStat`."""
    queries: dict[_Key, dict[str, Any]] = {}

    def ask(key: _Key, namespace: str, metric: str, statistic: str, **dimensions: str) -> None:
        named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
        where = {"Namespace": namespace, "MetricName": metric, "Dimensions": named}
        queries[key] = {"Metric": where, "Period": 60, "Stat": statistic}

    def own(key: _Key, metric: str, **known: str) -> None:
        values = {"service": deployment.prefix, **known}
        ask(key, NAMESPACE, metric, "Sum", **{it: values[it] for it in METRICS[metric].dimensions})

    for lane in deployment.lanes:
        queue = deployment.queues[lane].rpartition("/")[2]
        ask((lane, "oldest"), "AWS/SQS", "ApproximateAgeOfOldestMessage", "Maximum", QueueName=queue)
        name = f"{deployment.prefix}-{lane}"
        ask((lane, "busy"), "AWS/Lambda", "ConcurrentExecutions", "Maximum", FunctionName=name)
        for what, metric in _POSTS.items():
            own((lane, what), metric, lane=lane)
    for function in functions:
        name = f"{deployment.prefix}-{function}"
        ask((function, "errors"), "AWS/Lambda", "Errors", "Sum", FunctionName=name)
        ask((function, "throttles"), "AWS/Lambda", "Throttles", "Sum", FunctionName=name)
    own(("", "connects"), "Connects")
    own(("", "disconnects"), "Disconnects")
    return queries


def _numbers(cloudwatch: Any, queries: Mapping[_Key, Mapping[str, Any]]) -> dict[_Key, list[float]]:
    """Each metric's values by minute, oldest first."""
    now = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    keys = {f"q{number}": key for number, key in enumerate(queries)}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[{"Id": it, "MetricStat": queries[key]} for it, key in keys.items()],
        StartTime=now - timedelta(minutes=MINUTES),
        EndTime=now,
        ScanBy="TimestampAscending",
    )
    numbers: dict[_Key, list[float]] = {}
    for page in pages:
        for it in page["MetricDataResults"]:
            numbers.setdefault(keys[it["Id"]], []).extend(it["Values"])
    return numbers


def _depth(sqs: Any, url: str) -> tuple[int, int, int]:
    """Messages visible, in flight, delayed."""
    prefix = "ApproximateNumberOfMessages"
    names = [prefix, f"{prefix}NotVisible", f"{prefix}Delayed"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    visible, in_flight, delayed = (int(attributes[it]) for it in names)
    return visible, in_flight, delayed


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def _share(part: int, posts: Posts) -> str:
    return f"{100 * part / posts.all:.0f} %"
