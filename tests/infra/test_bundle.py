"""The functions' bundle: what is in it, and, as far as this machine can run it, that it runs."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from adapters.settings import Settings
from domain.lanes import LANES
from domain.rooms import Entry
from infra.packaging import PACKAGES, PROJECT, bundle, native, wheels_folder
from infra.settings import STAGES
from local.api_events import Upgrade, connect_event, connection_context
from local.cloud import CREDENTIALS, Cloud
from local.twin import API_FUNCTIONS, ARCHIVE_HANDLER, TICK, WORKER
from tests.contract.answers import Answers
from tests.unit.adapters.issuers import KEYS, key_set, make_token
from tests.unit.changes import entry_record

DEPLOYED = (STAGES["prod"].architecture, STAGES["prod"].python)
HANDLERS = sorted({*(f"services.{it}:handler" for it in (*API_FUNCTIONS, TICK)), WORKER, ARCHIVE_HANDLER})
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
MACHINES = {"arm64": (183, "aarch64"), "x86_64": (62, "x86_64")}
"""Architecture → ELF's `e_machine`, and its name in a library's name."""
runs_here = pytest.mark.skipif(sys.platform != "linux", reason="the functions' wheels are Linux's")
each_target = pytest.mark.parametrize("target", [DEPLOYED, native()], ids="-".join)


def contents(zipped: Path) -> dict[str, bytes]:
    """Name → content."""
    with ZipFile(zipped) as archive:
        return {it: archive.read(it) for it in archive.namelist()}


def libraries(target: tuple[str, str]) -> dict[str, bytes]:
    """The compiled files of a target's bundle; a bundle without any is none of ours."""
    found = {name: body for name, body in contents(bundle(*target)).items() if body.startswith(b"\x7fELF")}
    assert found
    return found


def segments(library: bytes) -> Iterator[bytes]:
    """What the loader reads of a 64-bit library, beyond its header."""
    table, size, count = (struct.unpack_from(form, library, at)[0] for form, at in (("<Q", 32), ("<H", 54), ("<H", 56)))
    for at in range(table, table + size * count, size):
        offset, length = struct.unpack_from("<Q16xQ", library, at + 8)
        yield library[at : at + size]
        yield library[max(offset, 64) : offset + length]


# ---- what is in it


@each_target
def test_libraries_are_of_the_target(target: tuple[str, str]) -> None:
    """Each by its header and by the tag in its name, and nothing else looks like a library."""
    machine, word = MACHINES[target[0]]
    names = (f".cpython-{target[1].replace('.', '')}-{word}-linux-gnu.so", ".abi3.so")
    found = libraries(target)
    assert {name: struct.unpack_from("<H", body, 18)[0] for name, body in found.items()} == dict.fromkeys(
        found, machine
    )
    assert [it for it in found if not it.endswith(names)] == []
    assert [it for it in contents(bundle(*target)) if ".so" in it or it.endswith((".pyd", ".dylib"))] == list(found)


@each_target
def test_a_library_keeps_all_that_is_loaded(target: tuple[str, str]) -> None:
    """Every library of the wheels is there, and every segment of it, byte for byte."""
    shipped, wheels = libraries(target), wheels_folder(*target)
    assert set(shipped) == {it.relative_to(wheels).as_posix() for it in wheels.rglob("*.so*")}
    for name, library in shipped.items():
        wheel = (wheels / name).read_bytes()
        assert list(segments(library)) == list(segments(wheel)), name
        assert (library[:40], library[48:60]) == (wheel[:40], wheel[48:60])
        assert (library[40:48], library[60:64]) == (bytes(8), bytes(4)), "the header names a section table"


def test_it_is_small() -> None:
    """Under 8 MB: a cold start begins with its download."""
    assert bundle(*DEPLOYED).stat().st_size < 8_000_000


def test_code_and_licences_ship_and_nothing_of_the_installer() -> None:
    """All of our code; of each package its licence and its name and version."""
    shipped, wheels = set(contents(bundle(*DEPLOYED))), wheels_folder(*DEPLOYED)
    for package in PACKAGES:
        assert {it.relative_to(PROJECT).as_posix() for it in (PROJECT / package).rglob("*.py")} <= shipped
    distributions = {it.name for it in wheels.glob("*.dist-info")}
    assert len(distributions) > 20
    for it in distributions:
        of_it = {Path(name).relative_to(it) for name in shipped if name.startswith(f"{it}/")}
        assert Path("METADATA") in of_it
        assert any(word in str(name).upper() for name in of_it for word in ("LICENSE", "LICENCE")), it
    metadata = {Path(it).name for it in shipped if ".dist-info/" in it}
    assert metadata.isdisjoint({"RECORD", "INSTALLER", "REQUESTED", "WHEEL", "direct_url.json"})
    assert [it for it in shipped if "__pycache__" in it or it.endswith((".pyc", ".pyi", ".pyx"))] == []


def test_what_is_shortened_says_the_same(task_folder: Path) -> None:
    """API descriptions but for the words for people, certificates but for remarks, metadata but for the page."""
    wheels = wheels_folder(*native())

    def described(folder: Path, service: str) -> Any:
        [path] = folder.glob(f"botocore/data/{service}/*/service-2.json.gz")
        return json.loads(gzip.decompress(path.read_bytes()))

    def bare(part: Any) -> Any:
        if isinstance(part, dict):
            return {name: bare(it) for name, it in part.items() if name != "documentation" or isinstance(it, dict)}
        return [bare(it) for it in part] if isinstance(part, list) else part

    asked = "clientContextParams"  # botocore reads the documentation of these
    for service in ("s3", "sqs", "sns", "apigatewaymanagementapi", "xray"):
        whole = described(wheels, service)
        assert described(task_folder, service) == bare(whole) | {it: whole[it] for it in {asked} & set(whole)} != whole
    trusted, shipped = ((it / "botocore/cacert.pem").read_text() for it in (wheels, task_folder))
    assert re.findall(CERTIFICATE, shipped) == re.findall(CERTIFICATE, trusted)
    assert "#" not in shipped
    found = sorted(task_folder.glob("*.dist-info"))
    assert len(found) > 20
    for it in found:
        name, _, version = it.name.removesuffix(".dist-info").partition("-")
        read = Distribution.at(it).metadata
        assert (read["Name"].replace("-", "_").replace(".", "_").lower(), read["Version"]) == (name.lower(), version)


# ---- that it runs


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This machine's bundle, unpacked as Lambda unpacks it into /var/task."""
    folder = tmp_path_factory.mktemp("task")
    with ZipFile(bundle(*native())) as archive:
        archive.extractall(folder)
    return folder


async def run(task_folder: Path, program: str, *arguments: str, cwd: Path, environ: dict[str, str]) -> str:
    """What a program prints that finds the bundle and the standard library, and nothing else."""
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(task_folder)!r})\n{program}",
            *arguments,
        ],
        cwd=cwd,
        env={"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_TRACE_DISABLED": "true", **CREDENTIALS, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@runs_here
@pytest.mark.parametrize("handler", HANDLERS)
async def test_it_holds_what_a_handler_imports(task_folder: Path, tmp_path: Path, handler: str) -> None:
    """Each alone, in a process that has no other packages. What verifies tokens waits for the first: cold starts are
    imports."""
    program = """
import importlib
module, name = sys.argv[1].split(":")
assert not any("site-packages" in it for it in sys.path), sys.path
print(callable(getattr(importlib.import_module(module), name)), {"jwt", "cryptography"} & set(sys.modules))
"""
    assert await run(task_folder, program, handler, cwd=tmp_path, environ={}) == "True set()\n"


@runs_here
async def test_its_libraries_load(task_folder: Path, tmp_path: Path) -> None:
    """By name: most packages take to slow Python without a word where their library fails them."""
    program = """
import importlib
for it in sys.argv[1:]:
    print(importlib.import_module(it).__file__)
"""
    found = [task_folder / it for it in libraries(native())]
    modules = [".".join((*it.relative_to(task_folder).parent.parts, it.name.partition(".")[0])) for it in found]
    said = await run(task_folder, program, *modules, cwd=tmp_path, environ={})
    assert said.splitlines() == [str(it) for it in found]


@runs_here
async def test_clients_find_their_endpoints_and_authorities(task_folder: Path, tmp_path: Path) -> None:
    """In every partition, from the descriptions that ship; and the certificates by which TLS is verified."""
    program = """
import asyncio, json, ssl
import aioboto3
from botocore.httpsession import get_cert_path

async def endpoint(service, region):
    async with aioboto3.Session(region_name=region).client(service) as client:
        return client.meta.endpoint_url

async def main():
    regions = ("eu-central-1", "cn-north-1", "us-gov-west-1")
    services = ("dynamodb", "sqs", "sns", "s3", "apigatewaymanagementapi")
    return [await endpoint(it, region) for it in services for region in regions]

trusted = ssl.create_default_context(cafile=get_cert_path(True)).cert_store_stats()["x509_ca"]
print(json.dumps([trusted, *asyncio.run(main())]))
"""
    trusted, *found = json.loads(await run(task_folder, program, cwd=tmp_path, environ={}))
    assert trusted > 100
    assert found == [
        f"https://{service}.{region}.amazonaws.com{'.cn' if region == 'cn-north-1' else ''}"
        for service in ("dynamodb", "sqs", "sns", "s3", "execute-api")
        for region in ("eu-central-1", "cn-north-1", "us-gov-west-1")
    ]


@runs_here
@pytest.mark.parametrize("signer", ["RS256", "ES256", "EdDSA"])
async def test_it_verifies_tokens(task_folder: Path, tmp_path: Path, signer: str) -> None:
    """With the libraries that ship, whatever was left out of their packages; and a forged one is refused."""
    program = """
from adapters.identity.keys import read_keys
from adapters.identity.tokens import read_header, verified_claims
from domain.errors import Refused

keys = read_keys(sys.argv[1].encode())
for token in sys.argv[2:]:
    header = read_header(token)
    try:
        print(verified_claims(token, keys[header.kid, header.alg], header.alg)["sub"])
    except Refused:
        print("refused")
"""
    good = make_token(KEYS[signer], {"sub": "ada"})
    forged = make_token(KEYS[f"{signer}:other"], {"sub": "ada"}, kid=signer)
    shown = key_set(KEYS[signer].jwk()).decode()
    assert await run(task_folder, program, shown, good, forged, cwd=tmp_path, environ={}) == "ada\nrefused\n"


@runs_here
@pytest.mark.asyncio(loop_scope="session")
async def test_it_archives(task_folder: Path, tmp_path: Path, cloud: Cloud) -> None:
    """A change is written to a bucket, and read there: S3's client needs more of its description than others do."""
    program = """
import json, types
from pipeline.archive import handler

context = types.SimpleNamespace(
    function_name="archive", memory_limit_in_mb=512, invoked_function_arn="arn:aws:lambda", aws_request_id="1",
    get_remaining_time_in_millis=lambda: 120_000,
)
print(json.dumps([handler(json.loads(sys.argv[1]), context) for _ in range(2)]))
"""
    await cloud.create_bucket("bundle-archive")
    settings = Settings(
        tables=await cloud.create_tables("bundle"),
        queues={},
        dead_letter_queues={},
        management_endpoint="",
        bucket="bundle-archive",
    )
    environ = {**settings.as_environment(), "AWS_ENDPOINT_URL": cloud.endpoint}
    event = json.dumps({"Records": [entry_record("lobby", 5, Entry(1, "chat", 1_796_000_000_000, "ada", {}))]})
    said = await run(task_folder, program, event, cwd=tmp_path, environ=environ)
    assert json.loads(said.splitlines()[-1]) == [{"batchItemFailures": []}] * 2
    [found] = (await cloud.s3.list_objects_v2(Bucket="bundle-archive"))["Contents"]
    assert found["Key"] == "log/lobby/2026-11-30/0000000000000005-0000000000000000.jsonl.zst"


@runs_here
@pytest.mark.asyncio(loop_scope="session")
async def test_it_serves(task_folder: Path, tmp_path: Path, cloud: Cloud) -> None:
    """An event that reads and writes the tables and rings a queue is answered; and a post says who is gone."""
    program = """
import json, types
from adapters.runtime import runtime
from domain.errors import ConnectionGone
from services.connect import handler

async def post():
    sockets = await runtime().connections(4)
    try:
        await sockets.post("gone=", b"{}", 3)
    except ConnectionGone:
        return "gone"

context = types.SimpleNamespace(
    function_name="connect", memory_limit_in_mb=512, invoked_function_arn="arn:aws:lambda", aws_request_id="1"
)
answer = handler(json.loads(sys.argv[1]), context)
print(json.dumps({"status": answer["statusCode"], "post": runtime().run(post())}))
"""
    queues = await cloud.create_queues("bundle", LANES.values())
    async with Answers() as sockets:
        sockets.answer(410, headers={"x-amzn-ErrorType": "GoneException"})
        settings = Settings(
            tables=await cloud.create_tables("bundle"),
            queues=queues.urls,
            dead_letter_queues=queues.dead,
            management_endpoint=f"{sockets.endpoint}/dev",
        )
        environ = {**settings.as_environment(), "AWS_ENDPOINT_URL": cloud.endpoint}
        upgrade = Upgrade("roomId=general&userId=ada", (), "127.0.0.1")
        now = time.time_ns() // 1_000_000
        context = connection_context("L0SM9cOFvHcCIhw=", upgrade, "dev", now)
        context["authorizer"] = {"principalId": "ada", "userId": "ada", "name": "Ada"}
        event = json.dumps(connect_event(context, upgrade, now))
        said = await run(task_folder, program, event, cwd=tmp_path, environ=environ)
    assert json.loads(said.splitlines()[-1]) == {"status": 200, "post": "gone"}
    assert sockets.requests == [("POST", "/dev/@connections/gone%3D", b"{}")]
    depths = await cloud.queue_depths()
    assert depths["ephemeral"].visible == 1
