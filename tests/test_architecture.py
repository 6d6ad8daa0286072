"""The plan of the house: arrows point down, doors are labelled, nobody shouts."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import hcdc

ROOT = Path(hcdc.__file__).parent
FLOORS = (
    {"errors"},
    {"_typing", "_tensors", "_device", "_memory", "_progress", "engine"},
    {"data", "spaces"},
    {"bilevel", "models", "store"},
    {"condense", "search"},
    {"evaluate", "doctor"},
    {"run", "testing"},
    {"own", "integrations"},
    {"cli"},
)
"""From the ground up. A room may import from the floors below its own; rooms on one floor do not know each other."""

EXCEPTIONS: set[tuple[str, str]] = set()
"""(room, imported room) pairs that are allowed against the rule; each would need its reason here."""

FILES = sorted(ROOT.rglob("*.py"))
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
PACKAGES = [f"hcdc.{path.parent.relative_to(ROOT)}".replace("/", ".") for path in FILES if path.name == "__init__.py" and path.parent != ROOT]


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(source: str, package: str) -> Iterator[str]:
    """Dotted names that a module of `package` imports, wherever in it and however they are spelt."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in ("import_module", "__import__"):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str))


def offences(source: str, room: str) -> list[str]:
    """Imports of a module in `room` that point up or sideways, or to a room that has no floor."""
    found = []
    for name in imports(source, f"hcdc.{room}"):
        parts = name.split(".")
        if parts[0] != "hcdc" or (len(parts) > 1 and parts[1] == room):
            continue
        target = parts[1] if len(parts) > 1 else "__init__"
        if (room, target) not in EXCEPTIONS and HEIGHT.get(target, len(FLOORS)) >= HEIGHT[room]:
            found.append(name)
    return found


def test_every_file_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(HEIGHT)


@pytest.mark.parametrize("path", [path for path in FILES if path != ROOT / "__init__.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path: Path) -> None:
    assert offences(path.read_text(), room_of(path)) == []


@pytest.mark.parametrize("line", [
    "from hcdc.search import Grid", "from hcdc.evaluate.verdict import verdict", "import hcdc.cli", "from hcdc import search", "import hcdc",
    "from hcdc import Space", "from ..search import Grid", "def f():\n    from hcdc.run import task_for", "import torch, hcdc.evaluate",
    "if TYPE_CHECKING:\n    from hcdc.search.base import Trial", "import_module('hcdc.search')", "from hcdc.attic import x",
])  # fmt: skip
def test_an_arrow_up_would_be_seen(line: str) -> None:
    """From `condense`, one floor above `bilevel` and beside `search`."""
    assert len(offences(line, "condense")) == 1


@pytest.mark.parametrize("line", ["from hcdc.bilevel import fit", "from hcdc.condense.task import Task", "from .task import Task", "import torch"])
def test_an_arrow_down_is_none(line: str) -> None:
    assert offences(line, "condense") == []


def rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions, each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_what_is_public(name: str) -> None:
    package = importlib.import_module(name)
    public = {
        key for key, value in vars(package).items()
        if not key.startswith("_") and key != "annotations" and not isinstance(value, types.ModuleType)
    }  # fmt: skip
    assert set(package.__all__) == public
    assert list(package.__all__) == sorted(package.__all__, key=rank)
    assert package.__doc__


def test_every_name_of_the_front_door_opens() -> None:
    """Each to what its room calls so; a name shared with a submodule would open to the module."""
    homes = {
        alias.asname: f"hcdc.{node.module}"
        for node in ast.parse((ROOT / "__init__.pyi").read_text()).body if isinstance(node, ast.ImportFrom) for alias in node.names
    }  # fmt: skip
    assert list(hcdc.__all__) == sorted(homes) == sorted(dir(hcdc))
    for name in hcdc.__all__:
        home = importlib.import_module(homes[name])
        assert getattr(hcdc, name) is getattr(home, name)
        assert name in getattr(home, "__all__", vars(home)), f"{name} is not public at home"
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hcdc.nonsense


def test_a_type_checker_reads_the_package() -> None:
    """PEP 561: without the marker the types of an installed package count for nothing."""
    assert (ROOT / "py.typed").exists()


def test_the_front_door_is_light() -> None:
    """`import hcdc` and the first look at its names wait for no library."""
    code = "import hcdc, sys; dir(hcdc); sys.exit(bool({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def forbidden(source: str) -> Iterator[str]:
    """Calls of print, of global random number generators, and of devices by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ("print", "torch.manual_seed", "np.random.seed", "numpy.random.seed", "random.seed") or name.endswith(".cuda"):
                yield f"{name} in line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_prints_seeds_the_world_or_names_a_device(path: Path) -> None:
    assert list(forbidden(path.read_text())) == []


@pytest.mark.parametrize("line", ["print('x')", "torch.manual_seed(0)", "model().cuda()", "x.cuda(0)", "np.random.seed(1)"])
def test_a_forbidden_call_would_be_seen(line: str) -> None:
    assert len(list(forbidden(f"def f():\n    {line}"))) == 1


def test_what_only_looks_forbidden_is_not() -> None:
    assert list(forbidden("fingerprint(x); torch.Generator().manual_seed(0); torch.cuda.is_available(); console.print(x)")) == []
