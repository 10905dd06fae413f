"""A forecast for people: tables, and the sentences beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.table import Table

from loadtest.cost import Cost
from ops.capacity import Forecast

__all__ = ["NOTES", "cost_of", "findings", "per_million", "rates", "tables"]

NOTES = (
    "Packing, waiting and time to the last member are a model's: entries come at random, a post takes 15 ms, and no "
    "worker makes more than 5,000 a second.",
    "“At least” is a bound: members ÷ the posts a second of the workers that can serve the room.",
    "A hot key's figure is for the room that asks most; DynamoDB may split a partition, and then grants more.",
    "Prices are us-east-1's; free tiers, discounts, logs, metrics and traffic to the internet are left out.",
)

_WORDS = {"", "key", "lane", "what", "why"}
"""Columns of words; the others hold numbers."""


def findings(result: Forecast) -> list[str]:
    """What a reader should not overlook; a sentence each."""
    load = result.load
    asked = load.inbound + result.usage.posts
    said = [
        f"Posts and clients' requests come to {asked:,.0f} a second of the {load.quota:,g} that API Gateway grants.",
        f"All {load.members:,} members connect in {_seconds(result.ramp_seconds)}, {load.connects:,g} a second.",
    ]
    hopeless = {it.group.shape.lane for it in result.traffic if it.overloaded}
    said += [
        f"Rooms of {it.group.shape.members:,}: more is said than the {it.group.shape.lane} lane can deliver, and ever"
        " more waits. Raise what the table says, or say less."
        for it in result.traffic
        if it.overloaded
    ]
    said += [
        f"The {it.name} lane is full: it comes back to a shard every {_seconds(it.cycle)}, and sends in one frame what"
        " was said meanwhile. That is the cheaper way, if the time to the last member will do."
        for it in result.lanes
        if it.cycle and it.name not in hopeless
    ]
    said += [
        f"The {it.name} lane is full: events that have waited 3 s are dropped."
        for it in result.lanes
        if it.full and not it.cycle
    ]
    said += [
        f"Key “{it.key}”: {it.asked:,.0f} {it.what}, and {it.limit:,.0f} are granted for sure."
        for it in result.keys
        if it.asked > it.limit
    ]
    return said


def rates(result: Forecast) -> list[tuple[str, float]]:
    load, usage = result.load, result.usage
    return [
        ("messages", load.messages),
        ("deliveries", load.deliveries),
        ("inbound requests", load.inbound),
        ("joins", load.joins),
        ("posts", usage.posts),
        ("SQS requests", usage.queue_calls),
        ("DynamoDB read units", usage.reads),
        ("DynamoDB write units", usage.writes),
        ("Lambda invocations", usage.invocations),
        ("Lambda GB-seconds", usage.gb_seconds),
    ]


def cost_of(result: Forecast, hours: float) -> Cost:
    return (result.usage * (hours * 3600)).cost()


def per_million(result: Forecast, hours: float) -> float:
    return cost_of(result, hours).total / (result.load.deliveries * hours * 3600) * 1e6


def tables(result: Forecast, hours: float) -> Iterable[Table]:
    yield _table(
        "Rooms",
        (
            "rooms",
            "members",
            "messages/s in each",
            "shards",
            "lane",
            "entries a frame",
            "to the last member",
            "at least",
        ),
        (
            (
                f"{it.group.rooms:,}",
                f"{it.group.shape.members:,}",
                f"{it.group.rate:g}",
                f"{it.group.shape.shards}",
                it.group.shape.lane,
                f"{it.entries / it.group.shape.frames(it.entries):.3g}",
                "[red]never[/]" if it.overloaded else _seconds(it.to_last),
                _seconds(it.at_least),
            )
            for it in result.traffic
        ),
    )
    yield _table("A second", ("", ""), ((name, _number(it)) for name, it in rates(result)))
    yield _table(
        "Lanes",
        ("lane", "posts/s", "with one entry a frame", "at most", "workers busy"),
        (
            (
                _marked(it.name, it.full),
                _number(it.posts),
                _number(it.unpacked),
                _number(it.limit),
                f"{it.workers:.1f} of {it.max_workers}",
            )
            for it in result.lanes
        ),
    )
    yield _table(
        "Hot keys",
        ("key", "", "asked", "granted", "share"),
        (
            (
                _marked(it.key, it.asked > it.limit),
                it.what,
                _number(it.asked),
                _number(it.limit),
                f"{it.asked / it.limit:.0%}",
            )
            for it in result.keys
        ),
    )
    cost = cost_of(result, hours)
    yield _table(
        f"Cost of {hours:g} hours, $",
        ("", ""),
        (
            ("API Gateway", f"{cost.api_gateway:,.2f}"),
            ("Lambda", f"{cost.lambda_:,.2f}"),
            ("SQS", f"{cost.sqs:,.2f}"),
            ("DynamoDB", f"{cost.dynamodb:,.2f}"),
            ("[bold]together[/]", f"[bold]{cost.total:,.2f}[/]"),
            ("a million deliveries", f"{per_million(result, hours):,.2f}"),
        ),
    )
    asks = result.asks()
    if asks:
        yield _table(
            "To raise, for every message to go out at once in a frame of its own",
            ("what", "from", "to", "why"),
            ((it.name, _number(it.now), _number(math.ceil(it.needed)), it.why) for it in asks),
        )


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in _WORDS else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _marked(text: str, alarming: bool) -> str:
    return f"[red]{text}[/]" if alarming else text


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.1f} s"
