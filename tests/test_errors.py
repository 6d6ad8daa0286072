"""Errors: one root, one line that is enough to mend the call, and whole after a trip to another process."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from hcdc import errors
from hcdc.errors import ConvergenceError, DataError, FormatError, HcdcError, InputError, MissingExtraError, ModelError, RunExistsError, SpaceError
from hcdc.store import StorageError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value)]


def test_one_root() -> None:
    assert all(issubclass(error, HcdcError) for error in [*CLASSES, StorageError])
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingExtraError, ImportError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = {name: len(indent) // 4 for indent, name in re.findall(r"^([│ ├└─]*)(\w+Error)\b", str(errors.__doc__), re.MULTILINE)}
    assert drawn == {error.__name__: error.__mro__.index(HcdcError) for error in CLASSES}


@pytest.mark.parametrize("kind", [InputError, DataError, SpaceError])
def test_one_line_names_argument_value_rule_and_remedy(kind: type[InputError]) -> None:
    assert str(kind("size", 3, "must be even", "add one")) == "`size` = 3: must be even; add one"
    long = kind("x", "v" * 10_000, "must be short", "cut it")
    assert len(str(long)) < 120
    assert str(long).endswith("…: must be short; cut it")


def test_a_missing_extra_says_how_to_get_it() -> None:
    assert "pip install -e '.[graphs]'" in str(MissingExtraError("torch_geometric", "graphs"))


RAISED = [
    InputError("a", 1, "b", "c"), DataError("a", (1, 2), "b", "c"), SpaceError("a", None, "b", "c"), MissingExtraError("m", "e"),
    FormatError("f"), RunExistsError("r"), ConvergenceError("c"), HcdcError("h"), ModelError("m"), StorageError("s"),
]  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling(error: HcdcError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


def test_every_error_is_pickled_above() -> None:
    assert {type(error) for error in RAISED} == {*CLASSES, StorageError}


def test_a_message_as_long_as_a_file_loses_its_middle() -> None:
    said = str(FormatError("card.json: " + "x" * 10**6 + "; write it again"))
    assert len(said) < 800
    assert said.startswith("card.json: xxx")
    assert said.endswith("; write it again")
