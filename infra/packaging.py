"""The functions' bundle: one zip of their code and of the packages it stands on, made without Docker.

    fetch    requirements/lambda.txt as wheels for the functions' machine    → .build/lambda/TARGET/
    bundle   of those what a function reads, and our own packages            → .build/lambda/roomcast-TARGET-HASH.zip

`python -m infra.packaging` does the first and may use the network; the constructs call the second, which never does.
A target is an architecture and a Python, such as arm64-3.13.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import hashlib
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from uv import find_uv_bin

from domain.errors import BadSetting, RoomcastError, Unavailable

__all__ = ["ARCHITECTURES", "PROJECT", "PYTHONS", "bundle", "fetch", "main", "native", "wheels_folder"]

PROJECT = Path(__file__).resolve().parents[1]
ARCHITECTURES: Mapping[str, str] = {"arm64": "aarch64-manylinux2014", "x86_64": "x86_64-manylinux2014"}
"""Lambda's name → uv's. Lambda's own glibc is newer."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""What Lambda runs, from the oldest that this project takes."""
PACKAGES = ("adapters", "domain", "pipeline", "services")
"""Ours, that a function imports."""
HOOKS = "hooks"
"""The operator's own, which ships where there is one."""
SERVICES = ("apigatewaymanagementapi", "dynamodb", "s3", "sns", "sqs", "xray")
"""Whose API descriptions ship, of botocore's four hundred. The X-Ray SDK makes its client when it is imported."""
SHIPS: Sequence[tuple[str, bool]] = (
    ("*/examples-1.json", False),  # of an API's documentation
    *((f"botocore/data/{it}/*", True) for it in SERVICES),
    ("botocore/data/*/*", False),
    ("boto3/data/*", False),  # of resources; the functions use clients
    ("boto3/examples/*", False),
    ("aiohttp/web*.py", False),  # its server
    ("aiohttp/worker.py", False),
    ("aiohttp/pytest_plugin.py", False),
    ("aiohttp/test_utils.py", False),
    ("aws_xray_sdk/ext/*", False),  # of libraries that it would patch
    ("backports/zstd/_cffi/*", False),  # PyPy's
    ("backports/zstd/tarfile.py", False),
    ("backports/zstd/zipfile/*", False),
    ("aws_lambda_powertools/event_handler/*", False),  # of HTTP APIs
    ("aws_lambda_powertools/utilities/jmespath_utils/*", True),  # the logger's
    ("aws_lambda_powertools/utilities/*/*", False),
    ("cffi/*", False),  # builds bindings; cryptography's are built, and load its library `_cffi_backend` alone
    ("pycparser/*", False),  # the same
    ("urllib3/contrib/emscripten/*", False),  # of Python in browsers
    ("dateutil/zoneinfo/*.tar.gz", False),  # time zones by name
    ("*.dist-info/METADATA", True),  # packages read their own version here
    ("*.dist-info/licenses/*", True),
    ("*.dist-info/LICEN[CS]E*", True),
    ("*.dist-info/NOTICE*", True),
    ("*.dist-info/*", False),  # the installer's
    ("bin/*", False),
    ("*/tests/*", False),
    ("*.pyc", False),
    ("*.py[ixd]", False),  # stubs and Cython's sources, as the next two
    ("*.px[di]", False),
    ("*/py.typed", False),
    (".*", False),  # uv's lock, our stamp
)
"""Pattern of a file among the wheels → whether it ships: the first that matches decides. What none matches ships."""
STAMP = ".fetched"
"""The file in a folder of wheels that says what was fetched: a hash of the requirements and the target."""
LOCK = ".lock"
"""The file that is held while wheels are fetched: two runs of make at once are common."""
KEPT_SECONDS = 3600
"""How long a bundle of older code stays: another synth may be about to copy it."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in a zip, the earliest it can say."""
READABLE = 0o100644 << 16
"""A file's mode where a zip keeps it. The loader asks for no more than to read a library."""


def fetch(architecture: str, python: str, *, project: Path = PROJECT) -> Path:
    """Have the wheels of a target, and return their folder. Asks the network only where the requirements have changed.

    Raises `BadSetting` for a target that Lambda has not, `Unavailable` where the wheels can't be had.
    """
    _check_target(architecture, python)
    wheels, wanted = wheels_folder(architecture, python, project=project), _wanted(architecture, python, project)
    wheels.parent.mkdir(parents=True, exist_ok=True)
    with (wheels.parent / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _stamp(wheels) != wanted:
            with TemporaryDirectory(dir=wheels.parent, prefix=f".{wheels.name}-") as folder:
                new = Path(folder, "wheels")
                _install(_requirements(project), architecture, python, new)
                (new / STAMP).write_text(wanted)
                shutil.rmtree(wheels, ignore_errors=True)
                new.rename(wheels)
    return wheels


def bundle(architecture: str, python: str, *, project: Path = PROJECT) -> Path:
    """The zip of a target, named for its content: the same wheels and code give the same bytes. Needs no network.

    Raises `BadSetting` for a target that Lambda has not, or whose wheels are not there as the requirements want them.
    """
    _check_target(architecture, python)
    wheels = wheels_folder(architecture, python, project=project)
    if _stamp(wheels) != _wanted(architecture, python, project):
        raise BadSetting(
            f"the functions' wheels in {wheels} are missing or not those of requirements/lambda.txt; run"
            f' make bundle ARGS="--architecture {architecture} --python {python}"'
        )
    files = dict(sorted([*_third_parties(wheels), *_ours(project)]))
    digest = hashlib.sha256()
    for name, body in files.items():
        digest.update(f"{name}\0{len(body)}\0".encode() + body)
    prefix = f"roomcast-{architecture}-{python}"
    path = wheels.parent / f"{prefix}-{digest.hexdigest()[:16]}.zip"
    if path.exists():
        path.touch()
    else:
        _write(path, files)
    for it in wheels.parent.glob(f"{prefix}-*.zip"):
        if it.stat().st_mtime < time.time() - KEPT_SECONDS:
            it.unlink(missing_ok=True)
    return path


def native() -> tuple[str, str]:
    """This machine's architecture and Python, in Lambda's words."""
    machine = platform.machine().lower()
    architecture = {"aarch64": "arm64", "amd64": "x86_64"}.get(machine, machine)
    return architecture, f"{sys.version_info.major}.{sys.version_info.minor}"


def wheels_folder(architecture: str, python: str, *, project: Path = PROJECT) -> Path:
    """Where a target's wheels are, or would be."""
    return project / ".build" / "lambda" / f"{architecture}-{python}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its status is 2 for bad usage, 1 where the wheels can't be had."""
    parser = argparse.ArgumentParser(prog="python -m infra.packaging", description="Fetch the functions' wheels.")
    target = parser.add_argument_group("the target")
    target.add_argument("--architecture", default="", help=", ".join(ARCHITECTURES))
    target.add_argument("--python", default="", help=", ".join(PYTHONS))
    target.add_argument("--native", action="store_true", help="this machine's own instead: what the tests can run")
    asked = parser.parse_args(arguments)
    try:
        fetch(*(native() if asked.native else (asked.architecture, asked.python)))
    except RoomcastError as error:
        print(f"infra.packaging: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadSetting) else 1
    return 0


# ---- private


def _check_target(architecture: str, python: str) -> None:
    if architecture not in ARCHITECTURES:
        raise BadSetting(f"architecture '{architecture}': choose one of {', '.join(ARCHITECTURES)}")
    # Tests run on this machine's Python, whether or not Lambda has it.
    if python not in PYTHONS and (architecture, python) != native():
        raise BadSetting(f"python '{python}': choose one of {', '.join(PYTHONS)}")


def _requirements(project: Path) -> Path:
    return project / "requirements" / "lambda.txt"


def _wanted(architecture: str, python: str, project: Path) -> str:
    target = f"{ARCHITECTURES[architecture]} {python}\n".encode()
    return hashlib.sha256(target + _requirements(project).read_bytes()).hexdigest()


def _stamp(wheels: Path) -> str | None:
    try:
        return (wheels / STAMP).read_text()
    except OSError:
        return None


def _install(requirements: Path, architecture: str, python: str, folder: Path) -> None:
    # Copies: a hard link would lead from here into uv's cache, which all projects share. The system's certificates, as
    # pip takes them: a network may have an authority of its own.
    done = subprocess.run(  # noqa: S603  # arguments of ours; the target is checked
        [
            *(
                find_uv_bin(),
                "pip",
                "install",
                "--quiet",
                "--system-certs",
                "--link-mode",
                "copy",
                "--python",
                sys.executable,
            ),
            *("--python-platform", ARCHITECTURES[architecture], "--python-version", python),
            *("--require-hashes", "--only-binary", ":all:", "-r", str(requirements), "--target", str(folder)),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable(f"the functions' wheels can't be fetched: {' '.join(done.stderr.split())}")


def _third_parties(wheels: Path) -> Iterator[tuple[str, bytes]]:
    for path in wheels.rglob("*"):
        name = path.relative_to(wheels).as_posix()
        if path.is_file() and _ships(name):
            yield name, _shortened(name, path.read_bytes())


def _ours(project: Path) -> Iterator[tuple[str, bytes]]:
    for package in (*PACKAGES, HOOKS):
        for path in (project / package).rglob("*.py"):
            yield path.relative_to(project).as_posix(), path.read_bytes()


def _ships(name: str) -> bool:
    return next((ships for pattern, ships in SHIPS if fnmatchcase(name, pattern)), True)


def _shortened(name: str, body: bytes) -> bytes:
    """A file without what no function reads of it."""
    if body.startswith(b"\x7fELF"):
        return _without_sections(body)
    if fnmatchcase(name, "botocore/data/*/service-2.json.gz"):
        described = json.loads(gzip.decompress(body))
        # botocore asks for the documentation of the client's own parameters, and only for theirs.
        asked = {name: it for name, it in described.items() if name == "clientContextParams"}
        described = _without_documentation(described) | asked
        return gzip.compress(json.dumps(described, separators=(",", ":")).encode(), mtime=0)
    if fnmatchcase(name, "*.dist-info/METADATA"):
        fields, end, _ = body.partition(b"\n\n")  # behind them is a page for people
        return fields + end[:1]
    if name == "botocore/cacert.pem":
        return b"".join(it for it in body.splitlines(keepends=True) if not it.startswith(b"#"))
    return body


def _without_documentation(described: Any) -> Any:
    """A part of an API's description, without the words for people: four fifths of it."""
    if isinstance(described, dict):
        # A member of that name is described by an object.
        told = {name for name, it in described.items() if name == "documentation" and isinstance(it, str)}
        return {name: _without_documentation(it) for name, it in described.items() if name not in told}
    return [_without_documentation(it) for it in described] if isinstance(described, list) else described


def _without_sections(library: bytes) -> bytes:
    """A library up to the end of its last segment: three quarters of ours lie behind that, for debuggers alone.

    The loader reads segments, and a library may have no section table (https://man7.org/linux/man-pages/man5/elf.5.html,
    `e_shnum`). `strip` can't be asked: it knows its own machine's libraries alone, and not every machine has it.
    """
    segments, _, _, _, segment_size, segment_count = struct.unpack_from("<QQIHHH", library, 0x20)
    end = segments + segment_size * segment_count
    for at in range(segments, end, segment_size):
        offset, size = struct.unpack_from("<Q16xQ", library, at + 8)
        end = max(end, offset + size)
    kept = bytearray(library[:end])
    struct.pack_into("<Q", kept, 0x28, 0)  # e_shoff
    struct.pack_into("<HH", kept, 0x3C, 0, 0)  # e_shnum, e_shstrndx
    return bytes(kept)


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with ZipFile(part, "w") as archive:
            for name, body in files.items():
                entry = ZipInfo(name, EPOCH)
                entry.create_system = 3  # Unix, on any machine: the mode below is its
                entry.external_attr = READABLE
                archive.writestr(entry, body, ZIP_DEFLATED, 9)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
