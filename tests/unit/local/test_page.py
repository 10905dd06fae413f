"""The page in the browser: what is served, and what it may do there."""

from __future__ import annotations

import json
from pathlib import Path

from local.page import answer

URL = "ws://127.0.0.1:8081/dev"


def test_what_was_built_is_served_as_it_is(tmp_path: Path) -> None:
    """Each file by its type, no other file of the folder, and nothing from outside."""
    for name in ("index.html", "app.js", "style.css", "secret.txt"):
        (tmp_path / name).write_text(f"this is {name}")
    types = {"/": "text/html", "/app.js": "text/javascript", "/style.css": "text/css"}
    for path, kind in types.items():
        served = answer(path, URL, tmp_path)
        assert served is not None
        assert (served.text, served.content_type) == (f"this is {path.strip('/') or 'index.html'}", kind)
    for path in ("/secret.txt", "/index.html", "/../page.py", "/dev"):
        assert answer(path, URL, tmp_path) is None


def test_the_page_may_load_nothing_but_itself_and_speak_to_nobody_but_the_service(tmp_path: Path) -> None:
    """No script or style within a text can run, on any path."""
    (tmp_path / "index.html").write_text("page")
    for path in ("/", "/config.json"):
        served = answer(path, URL, tmp_path)
        assert served is not None
        policy = dict(it.split(" ", 1) for it in served.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self' ws://127.0.0.1:8081"
        assert served.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_is_told_where_the_service_is(tmp_path: Path) -> None:
    """How it knows its users, and where the dashboard is. Also where it was not built: then a plain one says so, and
    tells a person."""
    served = answer("/config.json", URL, tmp_path, auth="cognito")
    assert served is not None
    assert served.text is not None
    assert json.loads(served.text) == {"ws": URL, "auth": "cognito", "dashboard": "dashboard"}
    plain = answer("/", f"{URL}?<b>", tmp_path)
    assert plain is not None
    assert plain.text is not None
    assert f"{URL}?&lt;b&gt;" in plain.text
    assert "make page" in plain.text
    assert answer("/app.js", URL, tmp_path) is None
