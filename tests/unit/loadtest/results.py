"""Results of a load test as its JSON has them, made up: what a report and a comparison are tested with."""

from __future__ import annotations

import math
import random
from typing import Any

from hdrh.histogram import HdrHistogram

LANE = {"batch_size": 10, "window": 0, "max_concurrency": 2, "post_concurrency": 64, "post_rate": 0}
WICKED = "lost: client u7, room r, epoch 1, seq 3, “</script><img src=x onerror=\"alert('x')\"><b>bold</b>”"
"""A finding whose message would run in a careless page."""


def result(*, seed: int = 0, seconds: int = 60, slower: float = 1.0, **keys: Any) -> dict[str, Any]:
    """A clean run against a twin, `slower` times as slow; `keys` replace what it has."""
    rng = random.Random(seed)
    latencies = [rng.lognormvariate(3.6, 0.45) * slower * (8 if rng.random() < 0.004 else 1) for _ in range(20_000)]
    acks = [rng.lognormvariate(2.4, 0.3) for _ in range(2_000)]
    last = [rng.lognormvariate(4.2, 0.35) * slower for _ in range(2_000)]
    return {
        "name": f"run-{seed}",
        "profile": "many-small-rooms",
        "began_at": "2025-03-04T10:20:30+00:00",
        "interrupted": False,
        "clients": {
            "asked": 600,
            "connected": 600,
            "failed": 0,
            "connects_per_s": 99.1,
            "reconnects": 0,
            "failures": {},
        },
        "rooms": 53,
        "dialect": "v1",
        "seconds": float(seconds),
        "messages": {"planned": 2000, "sent": 2000, "acknowledged": 2000, "refused": 0, "unanswered": 0, "retries": 3},
        "deliveries": {
            "expected": 20_000,
            "received": 20_000,
            "lost": 0,
            "duplicates": 2,
            "out_of_order": 0,
            "to_non_members": 0,
            "wrong_bodies": 0,
            "pushed": 20_001,
            "filled": 1,
            "per_s": 20_000 / seconds,
        },
        "frames": {
            "received": 9_000,
            "entries_per_frame": round(2.9 / slower, 2),
            "by_type": {"batch": 8_000, "ack": 2_000},
        },
        "latency_ms": _percentiles(latencies),
        "ack_ms": _percentiles(acks),
        "time_to_last_ms": _percentiles(last),
        "posts": {"sent": 9_412, "gone": 12, "throttled": 3, "failed": 0, "at_ready": 700},
        "queue": {"sent": 2_200, "received": 2_200, "dead": 0, "left": 0},
        "cost_usd": {
            "per_million_deliveries": round(1.62 * slower, 2),
            "api_gateway": 0.0099,
            "lambda": 0.0021,
            "sqs": 0.0024,
            "dynamodb": 0.018 * slower,
        },
        "audit": "clean",
        "machine": {"cpus": 2, "platform": "Linux-6.1-x86_64", "python": "3.11.9", "load": [0.41, 0.62, 0.5]},
        "target": {
            "url": "ws://127.0.0.1:8081/dev",
            "twin": True,
            "settings": {"lanes": {"interactive": LANE}, "shard_limit": 200, "rate": 10_000, "burst": 5_000},
        },
        "phases": [
            {"name": "ramp", "from": 0, "to": seconds / 4, "rate": 20.0},
            {"name": "hold", "from": seconds / 4, "to": seconds, "rate": 38.0},
        ],
        "series": [_second(rng, t, seconds, slower) for t in range(-6, seconds + 2)],
        "histograms": {
            "latency": _encoded(latencies),
            "ack": _encoded(acks),
            "time_to_last": _encoded(last),
        },
        "sizes": [
            {
                "members": size,
                "messages": 500,
                **_percentiles([rng.lognormvariate(3, 0.4) * size**0.3 * slower for _ in range(500)]),
            }
            for size in (6, 20, 100)
        ],
        "stages_ms": {
            name: _percentiles([rng.lognormvariate(mean, 0.5) * slower for _ in range(400)])
            for name, mean in zip(
                ("accepted", "stored", "rung", "served", "packed", "received"), (1, 2.2, 1.2, 2, 1.5, 2.1), strict=True
            )
        },
        "units": {"read": 12_000.5, "write": 26_000.0},
        "findings": [],
        "warnings": [],
        **keys,
    }


def violated(finding: str = WICKED, **keys: Any) -> dict[str, Any]:
    """A run that lost a delivery, and whose every text is `finding`'s."""
    raw = result(**keys)
    raw["deliveries"] |= {"lost": 1, "received": 19_999}
    raw["target"]["settings"] = {"lanes": {finding: LANE}, "note": finding}
    raw["series"][30]["queue"] = {finding: 4}
    raw["phases"][0]["name"] = finding
    raw["machine"]["platform"] = raw["target"]["url"] = raw["profile"] = raw["began_at"] = finding
    return {**raw, "audit": "violated", "name": finding, "findings": [finding] * 12, "warnings": [finding]}


def bare() -> dict[str, Any]:
    """What a run tells that has no series, no histograms, and no twin."""
    raw = result()
    absent = ["name", "profile", "began_at", "interrupted", "machine", "target", "phases", "series", "histograms"]
    for name in [*absent, "sizes", "stages_ms", "units", "findings", "warnings"]:
        del raw[name]
    return raw | {"posts": None, "queue": None, "cost_usd": None}


def _second(rng: random.Random, t: int, seconds: int, slower: float) -> dict[str, Any]:
    if not 0 <= t < seconds:
        clients = max(0, min(600, (t + 6) * 100))
        quiet = dict.fromkeys(("sent", "acknowledged", "deliveries", "errors", "frames", "entries"), 0)
        return {
            "t": t,
            "clients": clients,
            **quiet,
            **dict.fromkeys(("p50", "p95", "p99", "max")),
            "queue": None,
            "posts": None,
        }
    rate = 20 if t < seconds / 4 else 38
    sent = rng.randint(rate - 4, rate + 4)
    frames = sent * 4
    wave = (1 + 0.3 * math.sin(t / 5)) * slower * (6 if t == seconds // 2 else 1)
    return {
        "t": t,
        "clients": 600,
        "sent": sent,
        "acknowledged": sent - (t % 17 == 3),
        "deliveries": sent * 10,
        "errors": int(t % 17 == 3),
        "frames": frames,
        "entries": int(frames * rng.uniform(1.5, 3.5)),
        "p50": 35 * wave,
        "p95": 70 * wave * rng.uniform(0.9, 1.1),
        "p99": 110 * wave * rng.uniform(0.8, 1.4),
        "max": 190 * wave * rng.uniform(0.8, 2),
        "queue": {
            "interactive": rng.randint(0, 12),
            "bulk": 0,
            "retry": int(t % 20 == 9),
            "ephemeral": rng.randint(0, 3),
        },
        "posts": {"sent": frames, "gone": int(t % 9 == 1), "throttled": int(t % 20 == 8), "failed": 0},
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    told = {f"p{it}": round(ordered[int(it / 100 * len(ordered))], 3) for it in (50, 95, 99)}
    return {**told, "max": round(ordered[-1], 3)}


def _encoded(milliseconds: list[float]) -> str:
    histogram = HdrHistogram(1, 3_600_000_000, 3)
    for it in milliseconds:
        histogram.record_value(max(1, round(it * 1000)))
    return bytes(histogram.encode()).decode()
