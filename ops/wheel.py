"""The Python client as a wheel: the package `roomcast`, with as much of the domain as the client imports, no more.

In the repository it is two packages, `client` and `domain`: names that a program may well have for its own. So its
modules are laid out anew, `client.session` as `roomcast.session` and `domain.events` as `roomcast.domain.events`, and
the lines that import from them follow; nothing else in a module is touched.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["BUILT", "build", "lay_out", "renamed"]

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / ".build/wheel"
LICENSE = ROOT / "client/js/LICENSE"
"""One text for both clients: npm wants it in the package's own folder."""
NEW_NAMES = {"client": "roomcast", "domain": "roomcast.domain"}
PACKAGE = "__init__"


def build(folder: Path = BUILT) -> Path:
    """The wheel, made in `folder`, which is emptied first. Asks no registry for anything.

    Raises `CalledProcessError` where pip does not build it; it has said why.
    """
    shutil.rmtree(folder, ignore_errors=True)
    source = folder / "source"
    lay_out(source)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet")
    command = (sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", folder, source)
    subprocess.run(command, check=True)  # noqa: S603  # our own pip, and no word of it is from outside
    (wheel,) = folder.glob("*.whl")
    return wheel


def lay_out(folder: Path) -> None:
    """What the wheel is built from: a project in `folder`, whose package can be imported as it is there."""
    for module, path in sorted(_modules().items()):
        package, _, name = module.partition(".")
        target = folder.joinpath(*NEW_NAMES[package].split("."), f"{name or PACKAGE}.py")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(renamed(path.read_text(encoding="utf-8")), encoding="utf-8")
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / "client" / file, folder)
    shutil.copy(LICENSE, folder)
    shutil.copy(ROOT / "client/py.typed", folder / NEW_NAMES["client"])


def renamed(code: str) -> str:
    """The module's code, importing from the package's new names.

    Raises `ValueError` for `import client.session`: its uses would have to be found and renamed as well.
    """
    lines = code.splitlines(keepends=True)
    for number, module in _imports(code):
        old = module.partition(".")[0]
        lines[number - 1] = lines[number - 1].replace(f"from {old}", f"from {NEW_NAMES[old]}", 1)
    return "".join(lines)


def _modules() -> dict[str, Path]:
    """All of the client's modules, and those of the domain that they import, directly or not."""
    found: dict[str, Path] = {"domain": ROOT / f"domain/{PACKAGE}.py"}
    todo = ["client", *(f"client.{it.stem}" for it in (ROOT / "client").glob("*.py") if it.stem != PACKAGE)]
    while todo:
        module = todo.pop()
        if module not in found:
            path = ROOT / module.replace(".", "/")
            found[module] = path / f"{PACKAGE}.py" if path.is_dir() else path.with_suffix(".py")
            todo += [it for _, it in _imports(found[module].read_text(encoding="utf-8"))]
    return found


def _imports(code: str) -> Iterator[tuple[int, str]]:
    """The line, and the module that it imports from, wherever that is one of the two packages'."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and _ours(node.module):
            yield node.lineno, node.module
        elif isinstance(node, ast.Import) and any(_ours(it.name) for it in node.names):
            raise ValueError(f"line {node.lineno}: `{ast.unparse(node)}` has to be a `from … import …`")


def _ours(module: str) -> bool:
    return module.partition(".")[0] in NEW_NAMES


if __name__ == "__main__":
    print(build())
