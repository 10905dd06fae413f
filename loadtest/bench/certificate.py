"""A server's certificate that is thrown away after the run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from loadtest.bench.errors import BenchError

__all__ = ["make_certificate"]


async def make_certificate(folder: Path) -> Path:
    """A key and a certificate of 127.0.0.1 that it signs itself, good for a day, in one PEM file.

    Raises `BenchError` where there is no `openssl` command, or it fails.
    """
    file = folder / "server.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1"
        " -addext subjectAltName=IP:127.0.0.1"
    )
    nothing, pipe = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command.split(), "-keyout", file, "-out", file, stdin=nothing, stdout=nothing, stderr=pipe
        )
    except FileNotFoundError:
        raise BenchError(
            "posts over TLS need the openssl command: install it, or leave post_tls out of --only"
        ) from None
    _, words = await process.communicate()
    if process.returncode != 0:
        raise BenchError(f"openssl made no certificate: {' '.join(words.decode('utf-8', 'replace').split())}")
    return file
