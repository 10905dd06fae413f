"""The page in the browser, wherever it is served from: its files, what it is told, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CACHED", "CONFIG", "FILES", "REFERRER", "page_config", "page_policy"]

FILES: Mapping[str, str] = {"index.html": "text/html", "app.js": "text/javascript", "style.css": "text/css"}
"""The files that `make page` builds → their types."""
CONFIG = "config.json"
"""Beside them: where the service is."""
CACHED = "no-cache"
"""Kept, and asked for again before each use: the files' names stay the same over releases."""
REFERRER = "no-referrer"


def page_config(ws_url: str, auth: str) -> dict[str, str]:
    """What is in `CONFIG`. `auth`: how the service knows its users."""
    return {"ws": ws_url, "auth": auth}


def page_policy(service: str) -> str:
    """The Content-Security-Policy: scripts and styles from beside the page alone, none within it; no other server but
    the service at `service`, e.g. wss://chat.example.org."""
    allowed = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": f"'self' {service}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in allowed.items())
