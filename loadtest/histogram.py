"""Latencies as HDR histograms of microseconds: they merge across seconds and processes without losing precision."""

from __future__ import annotations

from hdrh.histogram import HdrHistogram

__all__ = ["encoded", "merge", "new_histogram", "percentiles", "record"]

LONGEST_US = 3_600_000_000
"""One hour: the longest latency that is told apart."""
SIGNIFICANT_DIGITS = 3
SHARES = (50, 95, 99)


def new_histogram() -> HdrHistogram:
    return HdrHistogram(1, LONGEST_US, SIGNIFICANT_DIGITS)


def record(histogram: HdrHistogram, seconds: float) -> None:
    """Add one latency; one of less than a microsecond counts as one."""
    histogram.record_value(min(LONGEST_US, max(1, round(seconds * 1e6))))


def encoded(histogram: HdrHistogram) -> str:
    """As text; empty for none."""
    return histogram.encode().decode() if histogram.get_total_count() else ""


def merge(histogram: HdrHistogram, text: str) -> None:
    """Add what was `encoded` elsewhere."""
    if text:
        histogram.decode_and_add(text)


def percentiles(histogram: HdrHistogram) -> dict[str, float | None]:
    """p50, p95, p99 and max in milliseconds; None where there is nothing to tell."""
    if not histogram.get_total_count():
        return dict.fromkeys([*(f"p{it}" for it in SHARES), "max"])
    values = {f"p{it}": histogram.get_value_at_percentile(it) / 1000 for it in SHARES}
    return {**values, "max": histogram.get_max_value() / 1000}
