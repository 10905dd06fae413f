"""The report page: texts stay texts, charts are what plotly.js takes, and what is missing is said to be."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import pytest

from loadtest.chart import TEMPLATE
from loadtest.charts import charts
from loadtest.page import json_in_script, page
from loadtest.result import typed
from tests.unit.loadtest.results import WICKED, bare, result, violated


class Elements(HTMLParser):
    """What a browser makes of a page: elements with their attributes, and the texts between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        (self.scripts if self.in_script else self.texts).append(data)

    def handle_endtag(self, tag: str) -> None:
        self.in_script = False


def strings(value: Any) -> list[str]:
    """Every text within."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return strings(list(value.values()))
    return [text for it in value for text in strings(it)] if isinstance(value, list) else []


def drawn(*runs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Charts by their key, as the page holds them."""
    found: dict[str, dict[str, Any]] = json.loads(Elements(page([typed(it) for it in runs])).scripts[0])["charts"]
    return found


# ------------------------------------------------------------------------------------------------ safety


@pytest.mark.parametrize("runs", [1, 2])
def test_texts_stay_texts(runs: int) -> None:
    """Whatever stands in a finding, a name or a setting adds no element and no attribute to the page."""
    wicked = Elements(page([typed(violated())] * runs))
    harmless = Elements(page([typed(violated("harmless"))] * runs))
    assert [(tag, list(attributes)) for tag, attributes in wicked.tags] == [
        (tag, list(attributes)) for tag, attributes in harmless.tags
    ]
    assert wicked.texts.count(WICKED) == harmless.texts.count("harmless") > 12
    assert len(wicked.scripts) == 3


def test_texts_in_charts_are_escaped() -> None:
    """plotly.js reads a little HTML: a lane's and a phase's name reach it without any."""
    wicked = "<a href='//x'>lane"
    said = strings([{"traces": it["traces"], "layout": it["layout"]} for it in drawn(violated(wicked)).values()])
    assert not [it for it in said if "<" in it]
    assert said.count("&lt;a href=&#x27;//x&#x27;&gt;lane") > 1


def test_json_can_not_end_its_script() -> None:
    """No element begins or ends in it, and it says the same."""
    text = json_in_script({"x": WICKED})
    assert "<" not in text
    assert json.loads(text) == {"x": WICKED}


def test_nothing_else_may_run() -> None:
    """The content policy names the two scripts by their hashes, and forbids any address."""
    elements = Elements(page([typed(result())]))
    [policy] = [it["content"] or "" for tag, it in elements.tags if it.get("http-equiv") == "Content-Security-Policy"]
    own = base64.b64encode(hashlib.sha256(elements.scripts[2].encode()).digest()).decode()
    assert f"script-src 'sha256-{own}' 'sha256-" in policy
    assert policy.startswith("default-src 'none'; ")
    assert not [it for _, it in elements.tags if it.get("src") or re.match("https?:", it.get("href") or "")]


# ------------------------------------------------------------------------------------------------ charts


@pytest.mark.parametrize("runs", [[result()], [result(), result(seed=1)], [violated()], [result(), bare()]])
def test_charts_are_plotlys(runs: list[dict[str, Any]]) -> None:
    """Every trace and layout has only names and values that plotly knows, once colours are put in; so the template."""
    for chart in [*charts([typed(it) for it in runs])]:
        traces, layout = (
            json.loads(re.sub(r'"--[\w-]+"', '"#123456"', json.dumps(it))) for it in (chart.traces, chart.layout)
        )
        go.Figure(data=traces, layout=layout)
        assert bool(chart.traces) != bool(chart.absent)
    go.layout.Template(json.loads(re.sub(r'"--[\w-]+"', '"#123456"', json.dumps(TEMPLATE))))


def test_colours_are_the_style_sheets() -> None:
    """Every colour of a chart is a variable of the page's style sheet."""
    text = page([typed(result())])
    known = set(re.findall(r"(--[\w-]+): #", text))
    used = {it for it in strings([*drawn(result()).values(), TEMPLATE]) if it.startswith("--")}
    assert len(used) > 8
    assert used <= known


def test_one_result() -> None:
    """All nine charts, lines by name; a minute is told in seconds, hours in minutes."""
    shown = drawn(result())
    assert list(shown) == ["latency", "distribution", "sizes", "load", "entries", "stages", "queues", "posts", "cost"]
    names = {key: [it["name"] for it in chart["traces"]] for key, chart in shown.items()}
    assert names["latency"] == ["p50", "p95", "p99", "max"]
    assert names["stages"] == ["accepted", "stored", "rung", "served", "packed", "received"]
    assert names["queues"] == ["interactive", "ephemeral", "retry"], "bulk never held a message"
    assert shown["latency"]["traces"][0]["x"][-1] == 61
    assert drawn(result(seconds=1800))["latency"]["traces"][0]["x"][-1] == round(1801 / 60, 3)


def test_distribution() -> None:
    """The curve ends with the slowest of all, as far out as there are values."""
    curve = drawn(result())["distribution"]["traces"][0]
    assert (curve["x"][0], curve["x"][-1]) == (1, 20_000)
    assert curve["y"] == sorted(curve["y"])
    assert curve["y"][-1] == pytest.approx(result()["latency_ms"]["max"], rel=0.01)
    assert curve["customdata"][-1] == "100 %"


def test_stages() -> None:
    """The bars of a row add up to the stages' p50, or p99, in the order of what happens."""
    raw = result()
    traces = drawn(raw)["stages"]["traces"]
    rows = dict(zip(traces[0]["y"], zip(*(it["x"] for it in traces), strict=True), strict=True))
    for level in ("p50", "p99"):
        assert rows[level] == pytest.approx([it[level] for it in raw["stages_ms"].values()], rel=0.001)


def test_cost() -> None:
    """The bars add up to what a million deliveries cost."""
    [bars] = drawn(result())["cost"]["traces"]
    assert sum(bars["x"]) == pytest.approx(1.62, rel=0.001)


def test_two_results() -> None:
    """Every line is of A or of B, in the run's colour; strokes tell the lines of one run apart."""
    for key, chart in drawn(result(), result(seed=1, slower=2)).items():
        traces = chart["traces"]
        if key == "stages":
            assert traces[0]["y"] == ["B p99", "A p99", "B p50", "A p50"]
            continue
        assert {it["name"][0] for it in traces} == {"A", "B"}, key
        for it in traces:
            colour = (it["marker"] if it["type"] == "bar" else it["line"])["color"]
            assert colour == ("--accent" if it["name"].startswith("A") else "--second"), key
        panels = [(it.get("yaxis"), it["name"][0], it["line"]["dash"]) for it in traces if it["type"] == "scatter"]
        assert len(set(panels)) == len(panels), key


# ------------------------------------------------------------------------------------------------ words


def test_what_is_missing_is_said() -> None:
    """A result without series, histograms and twin draws nothing, and names each chart with the reason."""
    raw = bare()
    assert drawn(raw) == {}
    text = page([typed(raw)])
    for it in charts([typed(raw)]):
        assert f"<th>{it.title}</th><td>{it.absent}</td>" in text
    assert "The result states none." in text


def test_a_histogram_that_nobody_can_read() -> None:
    """It is left out like one that is missing."""
    assert "distribution" not in drawn(result(histograms={"latency": "SElTVA==", "ack": "x", "time_to_last": None}))


def test_rooms_of_one_size() -> None:
    """One point is no chart: its size is said instead."""
    [size, *_] = result()["sizes"]
    assert "Every room had 6 members" in page([typed(result(sizes=[size]))])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, ["<p class=word>Clean</p>", "All 20,000 deliveries arrived"]),
        ({"interrupted": True}, ["The run was interrupted"]),
        ({"warnings": ["a", "b"]}, ['<a href="#warnings">2 warnings</a>', "<li>a</li><li>b</li>"]),
        ({"messages": {"sent": 3, "acknowledged": 0}}, ["<p class=word>Proves nothing</p>"]),
        (
            {"audit": "violated", "deliveries": {"expected": 1200, "received": 1198, "lost": 2, "out_of_order": 1}},
            [
                "<p class=word>Violated</p>",
                "Of 1,200 deliveries owed: 2 lost, 1 out of order.",
                "does not hold the findings",
            ],
        ),
        (
            {"audit": "violated", "findings": [str(it) for it in range(13)]},
            ["<summary>3 more</summary>", "<li>12</li>"],
        ),
    ],
)
def test_verdict(keys: dict[str, Any], words: list[str]) -> None:
    """The audit's verdict, with what goes with it."""
    text = page([typed(result(**keys))])
    assert [it for it in words if it not in text] == []


def test_rows_that_differ_stand_out() -> None:
    """Of two runs, a setting that is not the same in both is marked; the others are not."""
    other = result()
    other["target"]["settings"]["shard_limit"] = 100
    text = page([typed(result()), typed(other)])
    assert "<tr class=differs><th>target.shard_limit</th><td>200</td><td>100</td></tr>" in text
    assert text.count("class=differs") == 1
