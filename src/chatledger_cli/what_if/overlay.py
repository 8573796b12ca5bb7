"""Changed flow code laid over the installed one, in the process that runs it and before it is imported there.

A file that is called like a module of `chatledger.flows` takes its place, in every import; one with a new name becomes
a further module there, and its `Flow` objects are registered by their names. Of a checkout the modules are taken that
deciding is made of, and the texts. Files that say what the installed ones say are passed over.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from chatledger.errors import ConfigurationError

FLOWS = "chatledger.flows"
BESIDE_FLOWS = ("conversation", "pricing", "shop")
"""Further modules of `chatledger` that decide and fold; what is around them belongs to the program, not to a change."""
TEXTS = "chatledger.texts"
_TESTS = re.compile(r"(test_.*|.*_test|conftest)\.py")


class Overlay(MetaPathFinder):
    """Finds the modules that were changed, before any other finder does."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a changed module is; None for any other."""
        file = self._files.get(fullname)
        if file is None:
            return None
        if file.name != "__init__.py":
            return spec_from_file_location(fullname, file)
        # Its other modules are still the installed ones.
        folders = [str(file.parent), str(installed_file(fullname).parent)]
        return spec_from_file_location(fullname, file, submodule_search_locations=folders)


def changed_modules(paths: Iterable[Path]) -> dict[str, Path]:
    """Return each module that differs from the installed one, and its file.

    Raises ConfigurationError where a path has no flow code, or two are of one module.
    """
    found: dict[str, Path] = {}
    for path in paths:
        modules = dict(_modules(path))
        if not modules:
            raise ConfigurationError(
                f"--flow {path}: there is no Python file in it; name a flow's file or their folder"
            )
        for name, file in modules.items():
            if found.setdefault(name, file) != file:
                raise ConfigurationError(f"--flow: {file} and {found[name]} both stand for {name}: give one of them")
    return {name: file for name, file in found.items() if not _is_installed(name, file)}


def register_flows(modules: Iterable[str]) -> list[str]:
    """Import the changed modules, register the flows that they define, and return the names of those."""
    flows, flow_class = import_module(FLOWS).FLOWS, import_module(f"{FLOWS}.base").Flow
    before = {id(flow) for flow in flows.values()}
    new: dict[str, object] = {}
    for name in modules:
        module = import_module(name)
        if name.startswith(f"{FLOWS}."):
            defined = [each for each in vars(module).values() if isinstance(each, flow_class)]
            new |= {each.name: each for each in defined if id(each) not in before}
    flows.update(new)
    return sorted(new)


def installed_file(module: str) -> Path:
    """Return the file of an installed module, as `chatledger` itself was found. It need not be there."""
    spec = find_spec("chatledger")
    assert spec is not None
    assert spec.origin is not None
    base = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def install(files: Mapping[str, Path]) -> None:
    """Lay the changed modules over the installed ones. Nothing of them may have been imported yet."""
    late = [name for name in files if name in sys.modules]
    assert not late, f"{late} were imported before they could be changed"
    sys.meta_path.insert(0, Overlay(files))


def _modules(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules that a path stands for, changed or not."""
    if path.is_file():
        yield _name(path), path
        return
    if not path.is_dir():
        raise ConfigurationError(f"--flow {path}: there is no such file or folder")
    for package in (path / "src" / "chatledger", path / "chatledger", path):
        if (package / "flows").is_dir():
            yield from _of_folder(package / "flows")
            beside = [(f"chatledger.{name}", package / f"{name}.py") for name in BESIDE_FLOWS]
            yield from ((name, file) for name, file in beside if file.is_file())
            return
    yield from _of_folder(path)


def _of_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.glob("*.py")):
        if not _TESTS.fullmatch(file.name):
            yield _name(file), file
    texts = folder.parent / "texts" / "__init__.py"
    if folder.name == "flows" and texts.is_file():
        yield TEXTS, texts


def _name(file: Path) -> str:
    if file.name == "__init__.py":
        return FLOWS
    stem = re.sub(r"\W", "_", file.stem)
    if stem in BESIDE_FLOWS and not installed_file(f"{FLOWS}.{stem}").exists():
        return f"chatledger.{stem}"
    return f"{FLOWS}.{stem}"


def _is_installed(module: str, file: Path) -> bool:
    installed = installed_file(module)
    if module != TEXTS:
        return installed.exists() and installed.read_bytes() == file.read_bytes()
    pairs = [(each, installed.parent / each.name) for each in file.parent.glob("*.yaml")]
    return all(known.exists() and known.read_bytes() == each.read_bytes() for each, known in pairs)
