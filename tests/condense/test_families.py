"""Every graph family condensed end to end: learned, saved, and rebuilt from its card."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hcdc.bilevel import Adam, Recipe
from hcdc.condense import HCDC, Bank, Budget, Coreset, Task, condense, recipe_from_card
from hcdc.models import problem_for
from hcdc.store import DataCard, load_condensed
from tests import small

CARD = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3)
SETTINGS: dict[str, dict[str, Any]] = {
    "ppr": {"hidden": 4, "order": 3},
    "heat": {"hidden": 4, "order": 3},
    "sign": {"hidden": 4, "order": 2},
    "appnp": {"steps": (2, 4), "widths": (3, 5), "activations": ("tanh", "relu")},
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
