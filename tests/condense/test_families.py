"""Every family but the defaults condensed end to end: learned, saved, and rebuilt from its card."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hcdc.bilevel import SGD, Adam, Recipe
from hcdc.condense import HCDC, Bank, Budget, Coreset, Task, condense, recipe_from_card
from hcdc.condense.loop import recipe_to_card
from hcdc.errors import FormatError
from hcdc.models import problem_for
from hcdc.store import DataCard, load_condensed
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)
SETTINGS: dict[str, dict[str, Any]] = {
    "ppr": {"hidden": 4, "order": 3},
    "heat": {"hidden": 4, "order": 3},
    "sign": {"hidden": 4, "order": 2},
    "appnp": {"steps": (2, 4), "widths": (3, 5), "activations": ("tanh", "relu")},
    "graphnas": {"activations": ("tanh", "relu"), "heads": (1, 2), "widths": (2, 3), "pool": 3},
}


@pytest.mark.parametrize("regularisers", [(), ("decay", "edge_drop", "smoothing")], ids=["plain", "regularised"])
@pytest.mark.parametrize("family", SETTINGS)
def test_a_family_is_condensed_saved_and_rebuilt(family, regularisers, tmp_path):
    splits = small.graph()
    problem = problem_for(splits.train, family, regularisers=regularisers, **SETTINGS[family])
    recipe = Recipe(problem, Adam(20, 0.05))
    task = Task(recipe, recipe, splits.real, problem.space(), Budget(9, 9))
    method = HCDC(driver=Bank(starts=4, stages=2, chunk=4, more=4, steps=12, batch=8))
    condensed = condense(method, task, CARD)
    start = method.init(task)["val"]["x"]
    assert not torch.equal(condensed.val.x, start)
    losses = [record["alignment_loss"] for record in condensed.card.history if "alignment_loss" in record]
    assert losses
    assert all(0 <= loss <= 2 for loss in losses)
    condensed.save(tmp_path / "out")
    loaded = load_condensed(tmp_path / "out")
    assert recipe_from_card(loaded.card.recipes["condensed"]) == recipe
    assert loaded.space == task.space


def cell_recipes(data) -> tuple[Recipe, Recipe]:
    problem = problem_for(data, "nasbench201", channels=1, activation="softplus", regularisers=("smoothing",))
    return Recipe(problem, SGD(10, 0.1, batch_size=None)), Recipe(problem, Adam(10, 0.05))


def test_the_card_of_a_recipe_names_its_solver():
    """But for Adam, so that older cards stay what they were."""
    sgd, adam = cell_recipes(small.images().train)
    cards = [json.loads(json.dumps(recipe_to_card(recipe))) for recipe in (sgd, adam)]
    assert [recipe_from_card(card) for card in cards] == [sgd, adam]
    assert cards[1]["solver"].keys() == {"steps", "lr", "batch_size"}
    for solver in ({"type": "LBFGS", "steps": 3}, {"momentum": 0.9}, {"type": "SGD", "beta": 3}):
        with pytest.raises(FormatError, match="field `recipes`"):
            recipe_from_card(cards[1] | {"solver": solver})


@pytest.mark.slow
def test_cells_are_condensed_saved_and_rebuilt(tmp_path):
    """NAS-Bench-201 on images, by hypergradients through the whole supernet."""
    splits = small.images()
    recipes = cell_recipes(splits.train)
    task = Task(*recipes, splits.real, recipes[0].problem.space(), Budget(9, 9))
    method = HCDC(start=Coreset(label="images"), driver=Bank(starts=2, stages=1, chunk=2, steps=3, batch=2))
    condensed = condense(method, task, CARD.model_copy(update={"kind": "images"}))
    assert not torch.equal(condensed.val.x, method.init(task)["val"]["x"])
    assert torch.isfinite(condensed.val.x).all()
    condensed.save(tmp_path / "out")
    loaded = load_condensed(tmp_path / "out")
    assert [recipe_from_card(loaded.card.recipes[name]) for name in ("condensed", "full")] == list(recipes)
    assert loaded.space == task.space


@pytest.mark.parametrize("searched", [("width", "decay"), ("kernel", "pooling", "smoothing", "weights"), ("mixup", "augment")], ids=str)
def test_a_convnet_is_condensed_for_and_rebuilt(searched, tmp_path):
    splits = small.images()
    problem: Any = problem_for(splits.train, "convnet", width=4, searched=searched, operations=("color", "cutout"))
    recipe = Recipe(problem, Adam(20, 0.05))
    task = Task(recipe, recipe, splits.real, problem.space(), Budget(9, 9))
    method = HCDC(start=Coreset(), driver=Bank(starts=3, stages=1, chunk=3, steps=4, batch=3))
    condensed = condense(method, task, DataCard(name="small", sha256="0" * 64, kind="images", num_classes=3))
    assert not torch.equal(condensed.val.x, method.init(task)["val"]["x"])
    condensed.save(tmp_path / "out")
    loaded = load_condensed(tmp_path / "out")
    assert recipe_from_card(loaded.card.recipes["condensed"]) == recipe
    assert loaded.space == task.space
