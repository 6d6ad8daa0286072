"""Train every configuration, on the condensed set or on the full data, many at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hcdc._tensors import batch_size, take
from hcdc._typing import Hyper, Params
from hcdc.bilevel import MEMORY, Bilevel, Recipe, Scored, bounded, readings, together
from hcdc.condense import CellFit
from hcdc.errors import InputError
from hcdc.evaluate.cells import judged
from hcdc.evaluate.scores import METRICS, Scores
from hcdc.models import CellNetwork, NasBench201
from hcdc.spaces import Cell


def retrain(recipe: Recipe, hyper: Hyper, train: Any, judged_on: Mapping[str, Any], *, seed: int, memory: int = MEMORY) -> Scores:
    """Train each point of the batched `hyper` on `train` from one seed and measure it on every data of `judged_on`.

    As many models are trained at once as `memory` bytes hold; of NAS-Bench-201, whose points have to be cells, one after
    the other, each on the network of its own, in bfloat16.
    """
    if not isinstance(recipe.problem, Scored):
        raise InputError(
            "problem", type(recipe.problem).__name__, "must have `metrics` to be evaluated", "add a method that returns loss and accuracy"
        )
    began = time.perf_counter()
    parts: list[dict[str, dict[str, Tensor]]] = []
    for part in slices(recipe, train, judged_on, batch_size(hyper), memory):
        some = take(hyper, part)
        params = trained(recipe, some, train, seed)
        parts.append({name: measure(recipe.problem, params, some, data) for name, data in judged_on.items()})
    joined = {metric: {name: torch.cat([part[name][metric] for part in parts]).unsqueeze(0) for name in judged_on} for metric in METRICS}
    return Scores(**joined, seconds=time.perf_counter() - began)


def slices(recipe: Recipe, train: Any, judged_on: Mapping[str, Any], count: int, memory: int = MEMORY) -> list[slice]:
    """`count` trainings in slices that `memory` holds, be it of the data trained on or of that judged on; cells one by one."""
    if isinstance(recipe.problem, NasBench201):
        return [slice(at, at + 1) for at in range(count)]
    return together(recipe.problem, max((train, *judged_on.values()), key=lambda data: data.size), count, memory, chosen=True)


def trained(recipe: Recipe, hyper: Hyper, train: Any, seed: int) -> Params:
    """Parameters of the points of one slice, batched; of a cell, those of its own network."""
    if not isinstance(recipe.problem, NasBench201):
        return recipe.fit(hyper, train, seed=seed)
    network, rest = alone(recipe.problem, hyper)
    return CellFit(recipe.solver, bf16=True)(network, network.init({}, torch.Generator().manual_seed(seed)), train, seed=seed, hyper=rest)


@torch.no_grad()
def measure(problem: Bilevel, params: Params, hyper: Hyper, data: Any) -> dict[str, Tensor]:
    """Metrics [B] of what `trained` made; of one that is not a number the worst there is (`bounded`)."""
    if isinstance(problem, NasBench201):
        network, rest = alone(problem, hyper)
        return {name: torch.tensor([value]) for name, value in judged(network, params, rest, data).items()}
    found = readings(problem, params, hyper, data)
    return {"loss": bounded(found["loss"]), "criterion": bounded(found["criterion"]), "accuracy": -bounded(-found["accuracy"])}


def alone(family: NasBench201, hyper: Hyper) -> tuple[CellNetwork, Hyper]:
    """The network of the cell at the single point of `hyper`, and its other hyperparameters."""
    rest = {name: value[0] for name, value in hyper.items() if name != "op"}
    return family.network(Cell.at_weights(hyper["op"][0])), rest
