"""The report: one HTML file that needs no network and runs nothing but what it was written with.

Every text that comes from a result is escaped, and the page's content policy names the hashes of the two scripts that
may run: whatever a message said in a finding stays text.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import msgspec
from plotly.offline import get_plotlyjs

from loadtest.chart import TEMPLATE, Chart
from loadtest.charts import charts
from loadtest.compare import compare, flat, readable, settings_of
from loadtest.result import Quantiles, Result, typed

__all__ = ["json_in_script", "page", "write_page"]

FINDINGS_OPEN = 10
"""The rest is folded."""
COUNTS = ("clients", "messages", "deliveries", "frames", "posts", "queue", "units")
_HERE = Path(__file__).parent


def write_page(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the report of one result, or of two side by side. Raises `BadSetting` where one is no result."""
    path.write_text(page([typed(it) for it in results]), encoding="utf-8")


def page(runs: Sequence[Result]) -> str:
    """The whole file, some 2 MB: plotly.js is in it, packed."""
    if len(runs) not in {1, 2}:
        raise ValueError("a page shows one result, or two")
    drawn = charts(runs)
    library, script = get_plotlyjs(), (_HERE / "page.js").read_text()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none';"
        f" script-src {_hash(script)} {_hash(library)}"
    )
    packed = base64.b64encode(gzip.compress(library.encode(), mtime=0)).decode()
    title = " and ".join(_name(it) for it in runs)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<title>{escape(title)} – roomcast</title>\n<link rel="icon" href="data:,">',
            f"<style>\n{(_HERE / 'page.css').read_text()}</style>\n</head>\n<body>\n<main>",
            _heading(runs),
            f'<section class="verdicts">{"".join(_verdict(runs, it) for it in range(len(runs)))}</section>',
            _headline(runs[0]) if len(runs) == 1 else _comparison(runs[0], runs[1]),
            *(_chart(it) for it in drawn if it.traces),
            _left_out([it for it in drawn if not it.traces]),
            _tables(runs),
            "</main>",
            f'<script type="application/json" id="charts">{json_in_script(_drawings(drawn))}</script>',
            f'<script type="text/plain" id="library">{packed}</script>',
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


def _drawings(drawn: Iterable[Chart]) -> dict[str, Any]:
    shown = {it.key: {"traces": it.traces, "layout": it.layout} for it in drawn if it.traces}
    return {"template": TEMPLATE, "charts": shown}


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def json_in_script(value: Any) -> str:
    """JSON that can't end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


# ------------------------------------------------------------------------------------------------ above the charts


def _name(run: Result) -> str:
    return run.name or run.profile or "load test"


def _letter(runs: Sequence[Result], run: int) -> str:
    return f'<b class="run run-{run}">{"AB"[run]}</b> ' if len(runs) == 2 else ""


def _heading(runs: Sequence[Result]) -> str:
    lines = []
    for number, run in enumerate(runs):
        rooms = f"{run.rooms:,} room{'s' * (run.rooms != 1)}" if run.rooms is not None else ""
        target = run.target.url if run.target else ""
        facts = [
            run.profile if run.profile != _name(run) else "",
            f"{run.clients.asked:,} clients in {rooms}".removesuffix(" in "),
        ]
        facts += [f"{run.seconds:,.0f} s", (run.began_at or "").replace("T", " ").split("+")[0], target]
        facts += ["a twin" if run.target and run.target.twin else ""]
        words = " · ".join(escape(it) for it in facts if it)
        lines.append(f"<h1>{_letter(runs, number)}{escape(_name(run))}</h1><p class=about>{words}</p>")
    return f"<header><p class=kind>roomcast load test</p>{''.join(lines)}</header>"


def _verdict(runs: Sequence[Result], number: int) -> str:
    run = runs[number]
    deliveries = run.deliveries
    if run.messages.acknowledged == 0:
        mood, word, why = "unsure", "Proves nothing", "No message was acknowledged, so that nothing was owed to anyone."
    elif run.audit == "clean":
        mood, word = "clean", "Clean"
        why = f"All {deliveries.expected:,} deliveries arrived: whole, in order, and at members alone."
    else:
        mood, word = "violated", "Violated"
        counts = (
            (deliveries.lost, "lost"),
            (deliveries.out_of_order, "out of order"),
            (deliveries.to_non_members, "received by someone who was no member"),
            (deliveries.wrong_bodies, "with a text that nobody sent"),
        )
        said = ", ".join(f"{count:,} {words}" for count, words in counts if count)
        why = f"Of {deliveries.expected:,} deliveries owed: {said or 'see the findings'}."
    notes = []
    if run.interrupted:
        notes.append("The run was interrupted; this is what there was until then.")
    if deliveries.filled or deliveries.duplicates:
        notes.append(
            f"Filled by history: {deliveries.filled:,}. Repeats that clients dropped: {deliveries.duplicates:,}."
        )
    if run.warnings:
        notes.append(f'<a href="#warnings">{len(run.warnings)} warning{"s" * (len(run.warnings) != 1)}</a>')
    note = f"<p class=note>{' '.join(notes)}</p>" if notes else ""
    return (
        f'<div class="verdict {mood}"><p class=audit>{_letter(runs, number)}audit</p><p class=word>{word}</p>'
        f"<p>{why}</p>{note}{_findings(run)}</div>"
    )


def _findings(run: Result) -> str:
    found = run.findings or []
    if run.audit == "violated" and not found:
        return "<p class=note>The file does not hold the findings.</p>"
    items = [f"<li>{escape(it)}</li>" for it in found]
    first, rest = items[:FINDINGS_OPEN], items[FINDINGS_OPEN:]
    folded = f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>" if rest else ""
    return f"<ul class=findings>{''.join(first)}</ul>{folded}" if items else ""


_CARDS: Sequence[tuple[str, Callable[[Result], tuple[float | None, str, str]]]] = (
    ("latency p99", lambda it: (it.latency_ms.p99, "ms", _levels(it.latency_ms))),
    ("time to last member p99", lambda it: (it.time_to_last_ms.p99, "ms", _levels(it.time_to_last_ms))),
    ("acknowledgement p99", lambda it: (it.ack_ms.p99, "ms", _levels(it.ack_ms))),
    ("deliveries a second", lambda it: (it.deliveries.per_s, "", f"{it.deliveries.received:,} in {it.seconds:,.0f} s")),
    (
        "clients connected",
        lambda it: (
            it.clients.connected,
            "",
            f"of {it.clients.asked:,}, {readable(it.clients.connects_per_s)} a second",
        ),
    ),
    (
        "messages acknowledged",
        lambda it: (it.messages.acknowledged, "", f"{it.messages.sent:,} sent, {it.messages.refused:,} refused"),
    ),
    ("entries a frame", lambda it: (it.frames.entries_per_frame, "", f"{it.frames.received:,} frames")),
    (
        "cost of a million deliveries",
        lambda it: (
            it.cost_usd.per_million_deliveries if it.cost_usd else None,
            "$",
            f"{it.posts.sent:,} posts" if it.posts else "",
        ),
    ),
)


def _headline(run: Result) -> str:
    cards = []
    for label, of in _CARDS:
        value, unit, beside = of(run)
        number = f"${value:.2f}" if unit == "$" and value is not None else readable(value)
        after = " <small>ms</small>" if unit == "ms" and value is not None else ""
        cards.append(f"<div><dt>{label}</dt><dd>{number}{after}</dd><dd class=beside>{beside}</dd></div>")
    return f"<dl class=cards>{''.join(cards)}</dl>"


def _levels(quantiles: Quantiles) -> str:
    return f"p50 {readable(quantiles.p50)} · p95 {readable(quantiles.p95)} · max {readable(quantiles.max)}"


def _comparison(a: Result, b: Result) -> str:
    rows = []
    for it in compare(a, b):
        unit = f" <small>{it.figure.unit}</small>" if it.figure.unit else ""
        change = "–" if it.difference is None else f"{'+' if it.difference > 0 else ''}{readable(it.difference)}"
        ratio = "–" if it.ratio is None else f"{it.ratio:.2f}"
        cells = "".join(f"<td>{cell}</td>" for cell in (readable(it.a), readable(it.b)))
        mood = f' class="{it.verdict}"' if it.verdict else ""
        rows.append(f"<tr><th>{it.figure.label}{unit}</th>{cells}<td{mood}>{change}</td><td{mood}>{ratio}</td></tr>")
    head = (
        f"<tr><th></th><th>{_letter([a, b], 0)}</th><th>{_letter([a, b], 1)}</th><th>difference</th><th>B ÷ A</th></tr>"
    )
    caption = (
        "Green is better and red is worse than A, by more than a tenth; less is within what two equal runs differ."
    )
    return (
        f"<section class=beside><div><h2>Key figures</h2><p class=caption>{caption}</p></div><div class=wide>"
        f"<table class=figures><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


# ------------------------------------------------------------------------------------------------ charts and tables


def _chart(chart: Chart) -> str:
    return (
        f"<figure id={chart.key}><figcaption><h2>{chart.title}</h2><p class=caption>{chart.caption}</p></figcaption>"
        f'<div class=chart style="min-height:{chart.layout["height"]}px" role=img aria-label="{chart.title}">'
        f"<noscript>The charts need JavaScript.</noscript></div></figure>"
    )


def _left_out(absent: Sequence[Chart]) -> str:
    rows = "".join(f"<tr><th>{it.title}</th><td>{it.absent}</td></tr>" for it in absent)
    words = "<div><h2>Left out</h2><p class=caption>Charts for which there is nothing to show.</p></div>"
    return f"<section class=beside>{words}<div class=wide><table>{rows}</table></div></section>" if rows else ""


def _tables(runs: Sequence[Result]) -> str:
    settings = [settings_of(it) for it in runs]
    machines = [
        {name.removeprefix("machine."): text for name, text in it.items() if name.startswith("machine.")}
        | (
            {"load averages": " · ".join(f"{it:.2f}" for it in run.machine.load)}
            if run.machine and run.machine.load
            else {}
        )
        for it, run in zip(settings, runs, strict=True)
    ]
    plain = [{name: text for name, text in it.items() if not name.startswith("machine.")} for it in settings]
    parts = [{it: getattr(run, it) for it in COUNTS} for run in runs]
    counts = [dict(flat("", msgspec.to_builtins(it))) for it in parts]
    return (
        _table("Settings", "What was asked for, and the lanes of the target. Names are those of the JSON.", runs, plain)
        + _table("Machine", "Where the load came from; with a twin, also where it went.", runs, machines)
        + _table("Counts", "Whatever was counted.", runs, counts)
        + _warnings(runs)
    )


def _table(title: str, caption: str, runs: Sequence[Result], columns: Sequence[dict[str, str]]) -> str:
    """Rows by name, a column for each run; where runs differ, the row stands out."""
    names = dict.fromkeys(name for it in columns for name in it)
    rows = []
    for name in names:
        cells = [it.get(name, "–") for it in columns]
        mood = " class=differs" if len(set(cells)) > 1 else ""
        inner = "".join(f"<td>{escape(it)}</td>" for it in cells)
        rows.append(f"<tr{mood}><th>{escape(name)}</th>{inner}</tr>")
    letters = "".join(f"<th>{_letter(runs, it)}</th>" for it in range(len(runs)))
    head = f"<thead><tr><th></th>{letters}</tr></thead>" if len(runs) > 1 else ""
    body = f"<div class=wide><table>{head}<tbody>{''.join(rows)}</tbody></table></div>" if rows else ""
    none = "" if rows else "<p class=absent>The result states none.</p>"
    return f"<section class=beside><div><h2>{title}</h2><p class=caption>{caption}</p></div>{body}{none}</section>"


def _warnings(runs: Sequence[Result]) -> str:
    items = [f"<li>{_letter(runs, number)}{escape(it)}</li>" for number, run in enumerate(runs) for it in run.warnings]
    body = f"<ul>{''.join(items)}</ul>" if items else "<p class=absent>None.</p>"
    caption = "No findings of the audit, but not to be overlooked."
    return (
        f"<section class=beside id=warnings><div><h2>Warnings</h2><p class=caption>{caption}</p></div>"
        f"<div>{body}</div></section>"
    )
