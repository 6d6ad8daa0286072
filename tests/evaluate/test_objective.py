"""From an artefact to an objective: its recipe, its starts, and the spaces that it may be searched over."""

from __future__ import annotations

import pytest
import torch

from hcdc.condense import condense, first_configs
from hcdc.errors import SpaceError
from hcdc.evaluate import objective_for
from hcdc.spaces import Real, Space
from hcdc.store import DataCard, load_condensed
from tests import small

AXES = ["filter.0", "filter.1", "filter.2"]


def artefact(method="random", splits=None):
    kind = "graph" if splits is None else "images"
    return condense(small.METHODS[method], small.task(splits), DataCard(name="small", sha256="0" * 64, kind=kind, num_classes=3))


def box(low, high, **changes):
    return Space(dict.fromkeys(AXES, Real(low, high)) | changes)


def test_an_artefact_is_trained_by_its_own_recipe_over_its_own_space(tmp_path):
    condensed = artefact()
    condensed.save(tmp_path)
    for goal in (objective_for(condensed), objective_for(tmp_path), objective_for(str(tmp_path))):
        assert goal.recipe == small.task().condensed
        assert goal.space == condensed.space == box(-1, 1)
        assert torch.equal(goal.val.x, load_condensed(tmp_path).val.x)


@pytest.mark.parametrize(("space", "differing"), [
    (box(-2, 1), AXES), (box(-1, 1, **{"filter.1": Real(0, 1.5)}), ["filter.1"]),
])  # fmt: skip
def test_a_space_that_goes_further_is_refused_by_the_names_of_its_axes(space, differing):
    condensed = artefact()
    with pytest.raises(SpaceError) as caught:
        objective_for(condensed, space)
    assert caught.value.value == differing
    assert f"{differing[0]}: Real(low=-1" in str(caught.value)
    assert objective_for(condensed, space, force=True).space == space


@pytest.mark.parametrize("force", [False, True])
def test_other_axes_are_refused_always(force):
    with pytest.raises(SpaceError, match=r"\['filter.2'\].*which the family reads"):
        objective_for(artefact(), Space({name: Real(-1, 1) for name in AXES[:2]}), force=force)


@pytest.mark.parametrize("method", ["hcdc", "algorithm1"])
def test_its_starts_are_those_of_its_condensation(method):
    """The very points at which the trajectories began."""
    condensed, task = artefact(method), small.task()
    salts = (7, 0) if method == "hcdc" else (7,)
    generator = task.generator(*salts)
    count = 4 if method == "hcdc" else 3
    expected = [task.space.round(task.space.interior(generator)) for _ in range(count)]
    assert first_configs(condensed.card, 10) == expected
    assert first_configs(condensed.card, 2) == expected[:2]
    assert list(objective_for(condensed).starts) == expected
    narrow = objective_for(condensed, box(0, 1, **{"filter.1": Real(-1, 1), "filter.2": Real(-1, 1)}))
    assert list(narrow.starts) == [config for config in expected if config["filter.0"] >= 0]


def test_choices_start_at_the_options_that_weigh_most():
    condensed = artefact("hcdc", small.images())
    assert first_configs(condensed.card, 3)
    for config in objective_for(condensed).starts:
        condensed.space.check(config)


def test_a_method_without_trajectories_has_no_starts():
    assert first_configs(artefact("random").card, 5) == []
    assert objective_for(artefact("gcond")).starts == ()
