"""How long a function's module takes to import: the greater part of a cold start."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from loadtest.bench.errors import BenchError
from loadtest.run import Watch

__all__ = ["handler_modules", "measure_imports"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("services", "pipeline")
"""Where functions have their handlers."""
IMPORT_WITHIN = 60.0
"""Seconds."""
_TIME_IT = """
import importlib, sys, time
begun = time.perf_counter()
importlib.import_module(sys.argv[1])
print((time.perf_counter() - begun) * 1000)
"""


def handler_modules() -> list[str]:
    """The modules that define a Lambda handler."""
    files = (it for package in PACKAGES for it in sorted((ROOT / package).glob("*.py")))
    return [f"{it.parent.name}.{it.stem}" for it in files if "\ndef handler(" in it.read_text()]


async def measure_imports(*, modules: Sequence[str], rounds: int, watch: Watch) -> dict[str, float]:
    """Module → milliseconds, the median of `rounds` fresh processes. Raises `BenchError` where an import fails."""
    found: dict[str, list[float]] = {it: [] for it in modules}
    for done, module in enumerate(list(modules) * rounds):
        watch("import", done, rounds * len(modules))
        found[module].append(await _import(module))
    watch("import", rounds * len(modules), rounds * len(modules))
    return {module: statistics.median(it) for module, it in found.items()}


async def _import(module: str) -> float:
    # From the project's folder and without what an editable installation adds, as a function finds its code.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _TIME_IT, module),
        cwd=ROOT,
        env={name: it for name, it in os.environ.items() if not name.startswith(("AWS_", "POWERTOOLS_", "PYTHON"))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(IMPORT_WITHIN):
            out, err = await process.communicate()
    except TimeoutError:
        raise BenchError(f"importing {module} took longer than {IMPORT_WITHIN:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        said = err.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise BenchError(f"{module} can't be imported: {said[-1]}")
    return float(out)
