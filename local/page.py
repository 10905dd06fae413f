"""The page in the browser, and the dashboard: the files that `make page` builds of web/, and what they may do there."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

__all__ = ["BUILT", "answer"]

BUILT = Path(__file__).resolve().parent.parent / ".build" / "web"
FILES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html"),
    "/app.js": ("app.js", "text/javascript"),
    "/style.css": ("style.css", "text/css"),
    "/dashboard": ("dashboard.html", "text/html"),
    "/dashboard.js": ("dashboard.js", "text/javascript"),
    "/dashboard.css": ("dashboard.css", "text/css"),
}
"""Path → the file, and its type."""


def answer(path: str, ws_url: str, built: Path = BUILT, *, auth: str = "demo") -> web.Response | None:
    """What a GET of the path is answered with; None where the page has nothing to do with it. Where the page was not
    built, since Node is missing, it is a plain one that says so. `ws_url`: where the service is; `auth`: how it knows
    its users."""
    headers = {
        "Content-Security-Policy": _policy(ws_url),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    if path == "/config.json":
        return web.json_response({"ws": ws_url, "auth": auth}, headers=headers)
    if path not in FILES:
        return None
    name, kind = FILES[path]
    try:
        text = (built / name).read_text()
    except FileNotFoundError:
        if path not in _PLAIN:
            return None
        text = _PLAIN[path].format(url=html.escape(ws_url))
    return web.Response(text=text, content_type=kind, charset="utf-8", headers=headers)


def _policy(ws_url: str) -> str:
    """Scripts and styles from beside the page alone, none within it; no other server but the service."""
    parts = urlsplit(ws_url)
    allowed = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": f"'self' {parts.scheme}://{parts.netloc}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())


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
