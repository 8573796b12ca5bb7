"""The built wheel holds every package and data file, and works without the source tree beside it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT, SOURCE_ROOTS, repository_files

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCE_FOLDERS = tuple(str(ROOT / root).rstrip("/") for root in SOURCE_ROOTS)


def source_files() -> set[str]:
    """Return the path inside the wheel of each file of our packages."""
    names = (path.relative_to(ROOT).as_posix() for path in repository_files())
    return {name.removeprefix(root) for name in names for root in SOURCE_ROOTS if name.startswith(root)}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the installed hatchling, so without any network, and unpack it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(folder / "dist"),
    ]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    [wheel] = (folder / "dist").glob("chatledger-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_every_file_of_the_source_is_in_the_wheel(unpacked: Path) -> None:
    inside = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert not source_files() - inside
    own = {name for name in inside if not name.partition("/")[0].endswith(".dist-info")}
    assert not own - source_files()


def test_every_package_is_typed_for_its_users(unpacked: Path) -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (unpacked / Path(package).name / "py.typed").is_file()


def test_the_packages_of_the_wheel_can_be_imported(unpacked: Path) -> None:
    packages = [Path(path).name for path in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    check_in_fresh_python(
        unpacked,
        f"import importlib, sys\nfor name in {packages}:\n"
        "    assert importlib.import_module(name).__file__.startswith(sys.path[0]), name",
    )


def test_the_programs_of_the_wheel_exist(unpacked: Path) -> None:
    scripts = PROJECT["project"]["scripts"]
    written = (next(unpacked.glob("*.dist-info")) / "entry_points.txt").read_text()
    for name, target in scripts.items():
        assert f"{name} = {target}" in written
    points = [EntryPoint(name=name, value=value, group="console_scripts") for name, value in scripts.items()]
    calls = "\n".join(f"from {point.module} import {point.attr} as a{n}" for n, point in enumerate(points))
    check_in_fresh_python(unpacked, calls)


def check_in_fresh_python(unpacked: Path, code: str) -> None:
    """Run code on the unpacked wheel and the installed libraries, with the source tree off the path."""
    head = (
        f"import sys\nsource_folders = {SOURCE_FOLDERS!r}\n"
        "others = [path for path in sys.path if path and not path.startswith(source_folders)]\n"
        f"sys.path[:] = [{str(unpacked)!r}, *others]\n"
    )
    command = [sys.executable, "-P", "-c", head + code]
    ran = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
