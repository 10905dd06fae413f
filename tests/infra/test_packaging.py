"""How the functions' bundle is made: fetched once by hash, the same bytes each time, and plain words where it can't."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

import pytest

from domain.errors import BadSetting, Unavailable
from infra.packaging import KEPT_SECONDS, LOCK, PACKAGES, PROJECT, STAMP, bundle, fetch, main, wheels_folder
from infra.settings import STAGES

DEPLOYED = (STAGES["prod"].architecture, STAGES["prod"].python)


def contents(zipped: Path) -> dict[str, bytes]:
    """Name → content."""
    with ZipFile(zipped) as archive:
        return {it: archive.read(it) for it in archive.namelist()}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one module and one package: `make_wheel` writes the package, and asks for it by hash."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "domain/rooms.py").write_text("ROOMS = 1\n")
    (tmp_path / "requirements").mkdir()
    make_wheel(tmp_path, "first")
    return tmp_path


def make_wheel(project: Path, content: str) -> None:
    """A wheel of the package `tiny`, and the requirement of it, by its hash."""
    wheel = project / "tiny-1-py3-none-any.whl"
    files = {
        "tiny.py": f"CONTENT = {content!r}\n",
        "tiny-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{it},,\n" for it in (*files, "tiny-1.dist-info/RECORD"))
    with ZipFile(wheel, "w") as archive:
        for name, text in {**files, "tiny-1.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (project / "requirements/lambda.txt").write_text(
        f"--no-index\n--find-links {project}\ntiny==1 --hash=sha256:{digest}\n"
    )


def test_hooks_ship_where_there_are_any(project: Path) -> None:
    """The operator's modules, beside ours, and another zip than without them."""
    fetch(*DEPLOYED, project=project)
    without = bundle(*DEPLOYED, project=project)
    (project / "hooks").mkdir()
    (project / "hooks/language.py").write_text("WORDS = 1\n")
    (project / "hooks/words.txt").write_text("no code")
    assert without != bundle(*DEPLOYED, project=project)
    shipped = contents(bundle(*DEPLOYED, project=project))
    assert set(shipped) - set(contents(without)) == {"hooks/language.py"}


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """Wherever the project is, whenever its files were written, and whatever their modes are."""
    bundle(*DEPLOYED)  # or the remedy
    first, second = tmp_path / "first", tmp_path / "second"
    for it in (*PACKAGES, "requirements"):
        shutil.copytree(PROJECT / it, first / it)
    wheels, copies = wheels_folder(*DEPLOYED), wheels_folder(*DEPLOYED, project=first)
    for folder in wheels.glob("m*"):  # enough: libraries are among them
        shutil.copytree(folder, copies / folder.name)
    shutil.copy(wheels / STAMP, copies)
    shutil.copytree(first, second)
    rewrite(first, 1_000_000_000, 0o644)
    rewrite(second, 1_700_000_000, 0o755)
    one, other = bundle(*DEPLOYED, project=first), bundle(*DEPLOYED, project=second)
    assert any(it.endswith(".so") for it in contents(one))
    assert (one.name, one.read_bytes()) == (other.name, other.read_bytes())
    (second / "domain/rooms.py").write_text("ROOMS = 2\n")
    assert bundle(*DEPLOYED, project=second).name != one.name


def rewrite(project: Path, when: int, mode: int) -> None:
    """Give every file this time and mode."""
    for path in (it for it in project.rglob("*") if it.is_file()):
        path.chmod(mode)
        os.utime(path, (when, when))


def test_a_bundle_is_made_from_what_was_fetched(project: Path) -> None:
    """Fetched once; the zip is readable by Lambda, holds both, and goes when its content is an hour old."""
    fetch("arm64", "3.13", project=project)
    (project / "tiny-1-py3-none-any.whl").unlink()
    fetch("arm64", "3.13", project=project)  # nothing is left that it could fetch
    made = bundle("arm64", "3.13", project=project)
    assert contents(made) == {
        "domain/rooms.py": b"ROOMS = 1\n",
        "tiny-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        "tiny.py": b"CONTENT = 'first'\n",
    }
    with ZipFile(made) as archive:
        assert {it.external_attr >> 16 for it in archive.infolist()} == {0o100644}
    (project / "domain/rooms.py").write_text("ROOMS = 2\n")
    newer = bundle("arm64", "3.13", project=project)
    assert sorted(made.parent.glob("*.zip")) == sorted([made, newer])
    old = time.time() - KEPT_SECONDS - 60
    os.utime(made, (old, old))
    os.utime(newer, (old, old))
    assert bundle("arm64", "3.13", project=project) == newer
    assert list(made.parent.glob("*.zip")) == [newer]


def test_who_fetches_at_once_waits(project: Path) -> None:
    """Two runs of make share a folder: both find it whole."""
    with ThreadPoolExecutor(8) as threads:
        fetched = list(threads.map(lambda _: fetch("arm64", "3.13", project=project), range(8)))
    assert {(it / "tiny.py").read_text() for it in fetched} == {"CONTENT = 'first'\n"}


def test_other_requirements_are_fetched_anew(project: Path) -> None:
    """And until they are, there is no bundle."""
    fetch("x86_64", "3.12", project=project)
    make_wheel(project, "second")
    with pytest.raises(BadSetting, match=r"not those of requirements/lambda\.txt"):
        bundle("x86_64", "3.12", project=project)
    fetch("x86_64", "3.12", project=project)
    assert contents(bundle("x86_64", "3.12", project=project))["tiny.py"] == b"CONTENT = 'second'\n"


@pytest.mark.parametrize("wanted", [f" --hash=sha256:{'0' * 64}", ""])
def test_a_wheel_is_taken_by_its_hash_alone(project: Path, wanted: str) -> None:
    """Another hash than was asked for, or none: there are no wheels, and nothing half-made stays."""
    requirements = project / "requirements/lambda.txt"
    requirements.write_text(re.sub(r" --hash=\S+", wanted, requirements.read_text()))
    with pytest.raises(Unavailable, match=r"the functions' wheels can't be fetched: .*[Hh]ash"):
        fetch("arm64", "3.13", project=project)
    assert [it.name for it in (project / ".build/lambda").iterdir()] == [LOCK]


def test_an_install_that_broke_off_is_no_install(project: Path) -> None:
    """Without the stamp, which comes last, the wheels are fetched again."""
    wheels = fetch("arm64", "3.13", project=project)
    (wheels / STAMP).unlink()
    (wheels / "tiny.py").unlink()
    with pytest.raises(BadSetting, match="are missing"):
        bundle("arm64", "3.13", project=project)
    fetch("arm64", "3.13", project=project)
    assert "tiny.py" in contents(bundle("arm64", "3.13", project=project))


def test_missing_wheels_name_the_remedy(project: Path) -> None:
    """The very command, with its target."""
    with pytest.raises(BadSetting, match=r'run make bundle ARGS="--architecture arm64 --python 3.13"$'):
        bundle("arm64", "3.13", project=project)


@pytest.mark.parametrize(
    ("architecture", "python", "words"),
    [
        ("mips", "3.13", "architecture 'mips': choose one of arm64, x86_64"),
        ("", "3.13", "architecture '': choose one of arm64, x86_64"),
        ("arm64", "2.7", "python '2.7': choose one of 3.11, 3.12, 3.13, 3.14"),
        ("arm64", "3.1", "python '3.1': choose one of 3.11, 3.12, 3.13, 3.14"),
    ],
)
def test_a_target_that_lambda_has_not(
    architecture: str, python: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, from each of the three."""
    for make in (fetch, bundle):
        with pytest.raises(BadSetting, match=f"^{words}$"):
            make(architecture, python)
    assert main([f"--architecture={architecture}", f"--python={python}"]) == 2
    assert capsys.readouterr().err == f"infra.packaging: {words}\n"
