"""From plain names to tasks and methods."""

from __future__ import annotations

import pytest

from hcdc.condense import GCond
from hcdc.errors import SpaceError
from hcdc.run import condensed_at, method_named, task_for
from hcdc.spaces import Real, Space
from tests import small


def test_a_space_of_ones_own_replaces_the_ranges():
    space = Space({f"filter.{k}": Real(0.0, 2.0) for k in range(3)})
    assert task_for(small.source(), size=9, order=2, space=space).space is space


@pytest.mark.parametrize("names", [["filter.0", "filter.1"], ["filter.0", "filter.1", "filter.2", "extra"], ["alpha"]], ids=str)
def test_a_space_that_the_family_does_not_read_is_refused(names):
    with pytest.raises(SpaceError, match="the family reads"):
        task_for(small.source(), size=9, order=2, space=Space({name: Real(0.0, 1.0) for name in names}))


@pytest.mark.parametrize("name", ["hcdc", "gcond", "gcond-x"])
@pytest.mark.parametrize("driver", ["bank", "algorithm1"])
def test_steps_are_learning_steps(name, driver):
    default, short = method_named(name, driver=driver), method_named(name, steps=10, driver=driver)
    assert default == method_named(name, driver=driver)
    assert short.length() < default.length()
    if isinstance(short, GCond):
        assert short.epochs == 10


def test_an_artefact_is_made_once(tmp_path):
    source = small.source()
    task = task_for(source, size=9, order=2)
    first = condensed_at(tmp_path / "set", source, task, "random")
    assert condensed_at(tmp_path / "set", source, task, "herding").card == first.card
