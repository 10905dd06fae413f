"""The page in the browser, and the dashboard: the files that `make page` builds of web/, and what they may do there."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from domain.page import CACHED, CONFIG, FILES, REFERRER, page_config, page_policy

__all__ = ["BUILT", "answer"]

BUILT = Path(__file__).resolve().parent.parent / ".build" / "web"
DASHBOARD: Mapping[str, str] = {
    "dashboard.html": "text/html",
    "dashboard.js": "text/javascript",
    "dashboard.css": "text/css",
}
"""The twin's own files, which no stage on AWS has → their types."""
TYPES: Mapping[str, str] = {**FILES, **DASHBOARD}
PATHS: Mapping[str, str] = {
    **{f"/{name}": name for name in TYPES if not name.endswith(".html")},
    "/": "index.html",
    "/dashboard": "dashboard.html",
}
"""Path → the file."""


def answer(path: str, ws_url: str, built: Path = BUILT, *, auth: str = "demo") -> web.Response | None:
    """What a GET of the path is answered with; None where the page has nothing to do with it. Where the page was not
    built, since Node is missing, it is a plain one that says so. `ws_url`: where the service is; `auth`: how it knows
    its users."""
    service = urlsplit(ws_url)
    headers = {
        "Content-Security-Policy": page_policy(f"{service.scheme}://{service.netloc}"),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": REFERRER,
        "Cache-Control": CACHED,
    }
    if path == f"/{CONFIG}":
        return web.json_response({**page_config(ws_url, auth), "dashboard": "dashboard"}, headers=headers)
    name = PATHS.get(path)
    if name is None:
        return None
    try:
        text = (built / name).read_text()
    except FileNotFoundError:
        if path not in _PLAIN:
            return None
        text = _PLAIN[path].format(url=html.escape(ws_url))
    return web.Response(text=text, content_type=TYPES[name], charset="utf-8", headers=headers)


_PLAIN_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>roomcast</title>
<h1>roomcast</h1>
<p>Rooms over WebSocket, on a twin of AWS on this machine. Connect to <code>{url}</code>.</p>
<p>The chat in the browser was not built: it asks for Node 20 or newer, with npm, and <code>make page</code>.</p>
<p>What the twin is doing: <a href="/twin">/twin</a>.</p>
</html>
"""
_PLAIN_DASHBOARD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>roomcast: dashboard</title>
<h1>Dashboard</h1>
<p>The dashboard was not built: it asks for Node 20 or newer, with npm, and <code>make page</code>.</p>
<p>What the twin is doing: <a href="/twin">/twin</a>, and twice a second <a href="/dashboard/live">/dashboard/live</a>.
Sockets are at <code>{url}</code>.</p>
</html>
"""
_PLAIN = {"/": _PLAIN_PAGE, "/dashboard": _PLAIN_DASHBOARD}
