"""The page in the browser: the files that `make page` builds of web/, and what they may do there."""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from domain.page import CACHED, CONFIG, FILES, REFERRER, page_config, page_policy

__all__ = ["BUILT", "answer"]

BUILT = Path(__file__).resolve().parent.parent / ".build" / "web"


def answer(path: str, ws_url: str, built: Path = BUILT, *, auth: str = "demo") -> web.Response | None:
    """What a GET of the path is answered with; None where the page has nothing to do with it. Where the page was not
    built, since Node is missing, `/` is a plain one that says so. `ws_url`: where the service is; `auth`: how it knows
    its users."""
    service = urlsplit(ws_url)
    headers = {
        "Content-Security-Policy": page_policy(f"{service.scheme}://{service.netloc}"),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": REFERRER,
        "Cache-Control": CACHED,
    }
    if path == f"/{CONFIG}":
        return web.json_response(page_config(ws_url, auth), headers=headers)
    name = "index.html" if path == "/" else path.removeprefix("/")
    if name not in FILES or path == "/index.html":
        return None
    try:
        text = (built / name).read_text()
    except FileNotFoundError:
        if path != "/":
            return None
        text = _PLAIN.format(url=html.escape(ws_url))
    return web.Response(text=text, content_type=FILES[name], charset="utf-8", headers=headers)


_PLAIN = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>roomcast</title>
<h1>roomcast</h1>
<p>Rooms over WebSocket, on a twin of AWS on this machine. Connect to <code>{url}</code>.</p>
<p>The chat in the browser was not built: it asks for Node 20 or newer, with npm, and <code>make page</code>.</p>
<p>What the twin is doing: <a href="/twin">/twin</a>.</p>
</html>
"""
