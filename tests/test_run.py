"""From plain names to tasks and methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hcdc.condense import HCDC, TRAINED_CELLS, Bank, CellBank, CellHCDC, GCond
from hcdc.errors import InputError, SpaceError
from hcdc.evaluate import objective_for
from hcdc.models import NasBench201, PolyFilter
from hcdc.run import DRIVERS, IMAGE_METHODS, METHODS, ONLY, adjusted, condense_source, condensed_at, method_named, task_for
from hcdc.spaces import Choice, Real, Space
from hcdc.store import Checkpoint
from tests import small

CELLS = NasBench201(10)


def test_a_space_of_ones_own_replaces_the_ranges():
    space = Space({f"filter.{k}": Real(0.0, 2.0) for k in range(3)})
    assert task_for(small.source(), size=9, order=2, space=space).space is space


@pytest.mark.parametrize("names", [["filter.0", "filter.1"], ["filter.0", "filter.1", "filter.2", "extra"], ["alpha"]], ids=str)
def test_a_space_that_the_family_does_not_read_is_refused(names):
    with pytest.raises(SpaceError, match="the family reads"):
        task_for(small.source(), size=9, order=2, space=Space({name: Real(0.0, 1.0) for name in names}))


def test_options_in_another_order_would_be_misread_and_are_refused():
    source = small.source(small.table())
    own = task_for(source, size=9, family="mlp").space
    turned = Space(dict(own.axes) | {"activation": Choice(own.axes["activation"].options[::-1])})
    assert own.shapes() == turned.shapes()
    with pytest.raises(SpaceError, match="the family reads activation"):
        task_for(source, size=9, family="mlp", space=turned)
    narrower = Space(dict(own.axes) | {"log10_decay": Real(-3.0, -2.0)})
    task = task_for(source, size=9, family="mlp", space=narrower)
    condensed = condense_source(source, task, "random")
    with pytest.raises(SpaceError, match=r"`space` = .'activation'."):
        objective_for(condensed, turned, force=True)
    assert objective_for(condensed, own, force=True).space is own


@pytest.mark.parametrize(("name", "driver"), [("hcdc", "bank"), ("hcdc", "algorithm1"), ("gcond", "bank"), ("gcond-x", "bank")])
def test_steps_are_learning_steps(name, driver):
    default, short = method_named(name, driver=driver), method_named(name, steps=10, driver=driver)
    assert default == method_named(name, driver=driver)
    assert short.length() < default.length()
    if isinstance(short, HCDC):
        assert [method_named(name, steps=steps, driver=driver).updates() for steps in (1, 7, 20)] == [1, 7, 20]
    if isinstance(short, GCond):
        assert short.epochs == 10


@pytest.mark.parametrize(("settings", "steps", "made"), [({}, 30, 30), ({}, 15, None), ({"problem": CELLS}, 1, 1), ({"problem": CELLS}, 7, None)])
def test_steps_of_algorithm_1_are_those_asked_for(settings, steps, made):
    kind = "images" if settings else "graph"
    if made is None:
        with pytest.raises(InputError, match=f"`steps` = {steps}"):
            method_named("hcdc", kind, driver="algorithm1", steps=steps, **settings)
    else:
        assert method_named("hcdc", kind, driver="algorithm1", steps=steps, **settings).updates() == made


@pytest.mark.parametrize("kind", ["images", "table"])
def test_both_drivers_have_the_settings_of_the_data(kind: str) -> None:
    bank, paths = (method_named("hcdc", kind, driver=driver) for driver in DRIVERS)
    assert replace(paths, driver=bank.driver) == bank
    assert paths.lr != method_named("hcdc").lr


@pytest.mark.parametrize(
    ("name", "kind", "given"),
    [
        ("random", "graph", {"driver": "algorithm1"}),
        ("gcond", "graph", {"neighbours": 3}),
        ("hcdc", "images", {"neighbours": 3}),
        ("hcdc", "graph", {"neighbours": 3, "problem": PolyFilter(3, num_features=2, regularisers=("edge_drop",))}),
    ],
)
def test_choices_that_would_do_nothing_are_refused(name: str, kind: str, given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"`{next(iter(given))}`"):
        method_named(name, kind, **given)


@pytest.mark.parametrize(("given", "said"), [({"space": "mlp"}, "family='mlp'"), ({"source": object()}, "Source")])
def test_natural_mistakes_are_told_what_to_write(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        task_for(**{"source": small.source(), "size": 9} | given)


def test_an_artefact_is_made_once(tmp_path):
    source = small.source()
    task = task_for(source, size=9, order=2)
    first = condensed_at(tmp_path / "set", source, task, "random")
    assert condensed_at(tmp_path / "set", source, task, "herding").card == first.card


def test_an_artefact_that_was_begun_is_gone_on_with(tmp_path, monkeypatch):
    source, method = small.source(), small.METHODS["gcond-x"]
    task, step, steps = task_for(source, size=9, order=2), GCond.step, []

    def killed(self, task, state, number):
        steps.append(number)
        if steps == [0, 1, 2]:
            raise small.Killed
        return step(self, task, state, number)

    whole = condensed_at(tmp_path / "whole", source, task, method)
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    monkeypatch.setattr(GCond, "step", killed)
    with pytest.raises(small.Killed):
        condensed_at(tmp_path / "set", source, task, method)
    assert condensed_at(tmp_path / "set", source, task, method).fingerprint() == whole.fingerprint()
    assert steps == [0, 1, 2, 2, 3, 4, 5]
    assert not (tmp_path / "set" / "checkpoint").exists()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["graph", "images"])
def test_every_method_is_of_its_name_or_refused(name, kind):
    if any(name in methods for wanted, methods in ONLY.items() if wanted != kind):
        with pytest.raises(InputError, match=rf"^`method` = '{name}': .* condense (images|graphs) only; choose one of hcdc, "):
            method_named(name, kind)
    else:
        assert method_named(name, kind).name == name


@pytest.mark.parametrize("name", IMAGE_METHODS)
def test_steps_of_image_methods(name):
    assert method_named(name, "images", steps=3) == replace(IMAGE_METHODS[name], steps=3)


def test_a_set_of_images_is_made_by_name():
    source = small.source(small.images())
    made = condense_source(source, task_for(source, size=9, width=3), method_named("dm", "images", steps=1))
    assert made.card.settings["steps"] == 1
    assert made.card.settings["augmentation"] == list(IMAGE_METHODS["dm"].augmentation)
    assert made.train.size == made.val.size == 9


def test_hcdc_on_cells_follows_trained_cells_where_there_is_a_cell_to_train() -> None:
    cells = task_for(small.source(small.images()), size=9, family="nasbench201").condensed.problem
    sampled = method_named("hcdc", "images", problem=cells)
    assert sampled == replace(TRAINED_CELLS, driver=CellBank())
    assert adjusted(sampled, relaxation="gdas") == sampled
    soft = method_named("hcdc", "images", problem=cells, relaxation="softmax")
    assert adjusted(soft, relaxation="softmax") == replace(CellHCDC(), relaxation="softmax")
    assert isinstance(method_named("hcdc", "images", problem=cells, driver="algorithm1"), CellHCDC)


def test_powers_with_parameters_of_their_own_are_told_apart_on_the_synthetic_graph() -> None:
    """On an edgeless graph they are all the same."""
    source = small.source(small.graph())
    task = task_for(source, size=12, family="sign", order=2)
    made = condense_source(source, task, replace(method_named("hcdc", problem=task.condensed.problem), driver=Bank(starts=2, stages=1, steps=2)))
    assert made.card.settings["train"]["structure"] == "paths"
    assert made.card.settings["train"]["hops"] == 2
    features = made.train.powers(2)
    assert float((features[1:] - features[:-1]).norm()) > 0.1 * float(features.norm())
    assert method_named("hcdc", problem=task_for(source, size=12).condensed.problem) == HCDC()
