"""Four bilevel problems at trained parameters: ridge, a perceptron, a small ConvNet, a graph filter on 49 nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measure import DEVICE
from hcdc._tensors import stack
from hcdc.bilevel import Adam, fit
from hcdc.condense import STRONG
from hcdc.data import ImageData, TableData, load
from hcdc.data.tables import Column
from hcdc.models import ConvMix, Logistic, Mlp, PolyFilter

DECAY = -1.0
"""log10 of the weight decay, so that Hessians at the trained parameters are positive."""
CONVNET = -2.5
"""Of the ConvNet, which under a larger one learns nothing, and whose Hessian is not quite positive."""


class Case(NamedTuple):
    """A problem and B points (`params`, `hyper`, batched) at which its hypergradients are asked for."""

    problem: Any
    params: dict[str, Tensor]
    hyper: dict[str, Tensor]
    train: Any
    val: Any

    def one(self, index: int) -> Case:
        """The point `index` alone, batched with itself."""
        return self._replace(**{group: {k: v[index : index + 1] for k, v in getattr(self, group).items()} for group in ("params", "hyper")})

    def double(self) -> Case:
        """In float64."""
        groups = {group: {k: v.double() for k, v in getattr(self, group).items()} for group in ("params", "hyper")}
        return self._replace(**groups, **{part: _double(getattr(self, part)) for part in ("train", "val")})


def _double(data: Any) -> Any:
    graph = {"adjacency": data.adjacency.double()} if hasattr(data, "adjacency") else {}
    return data.replace(x=data.x.double(), **graph)


def trained(problem: Any, hyper: list[dict[str, Tensor]], train: Any, val: Any, steps: int = 300) -> Case:
    points = stack(hyper)
    params = fit(problem, points, train, Adam(steps, 0.03), seed=0)
    moved = [{key: value.to(DEVICE) for key, value in group.items()} for group in (params, points)]
    return Case(problem, moved[0], moved[1], train.to(DEVICE), val.to(DEVICE))


def _rows(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def _table(x: Tensor, y: Tensor, classes: int) -> TableData:
    return TableData(x, y, classes, tuple(Column(f"x{j}") for j in range(x.shape[1])), Column("y"))


def _decays(count: int, size: int, centre: float = DECAY) -> list[Tensor]:
    """Near `centre`, each of another draw, the same whatever `count` is."""
    return [centre + 0.2 * _rows(1, size, 5 + number).squeeze(0) for number in range(count)]


def ridge(count: int) -> Case:
    """300 rows of 40 columns, a decay a column: 41 parameters."""
    truth, tables = _rows(40, 1, 0), []
    for seed in (1, 2):
        x = _rows(300, 40, seed)
        tables.append(_table(x, (x @ truth + 0.5 * _rows(300, 1, seed + 10)).squeeze(1), 0))
    return trained(Logistic(0, columns=(1,) * 40), [{"log10_decay": decay} for decay in _decays(count, 40)], *tables)


def perceptron(count: int) -> Case:
    """500 rows of 30 columns, ten classes, 16 smooth units: 666 parameters."""
    truth, tables = _rows(30, 10, 0), []
    for seed in (1, 2):
        x = _rows(500, 30, seed)
        tables.append(_table(x, (x @ truth + _rows(500, 10, seed + 10)).argmax(1), 10))
    problem = Mlp(10, columns=(1,) * 30, activations=("tanh", "softplus"), hidden=(8, 16))
    halves = {"activation": torch.full((1, 2), 0.5), "width": torch.full((1, 2), 0.5)}
    return trained(problem, [{**halves, "log10_decay": decay} for decay in _decays(count, 1)], *tables)


def convnet(count: int) -> Case:
    """50 images of 8 x 8, ten classes, one block of soft operations: 806 parameters."""
    pattern, parts = _rows(10, 64, 0), []
    for seed in (1, 2):
        y = torch.arange(50) % 10
        parts.append(ImageData((pattern[y] + _rows(50, 64, seed)).reshape(-1, 1, 8, 8), y, 10))
    hyper = [{"op": torch.full((1, 4), 0.25), "log10_decay": decay} for decay in _decays(count, 1, CONVNET)]
    return trained(ConvMix(10, shape=(1, 8, 8), width=8, blocks=1), hyper, *parts, steps=150)


def graph(count: int, nodes: int = 49, features: int = 32) -> Case:
    """`nodes` with weighted edges to train and to validate, seven classes, 16 units: 647 parameters."""
    splits = load(f"synthetic:sbm,n=1400,classes=7,features={features},seed=0").splits
    train, val = (STRONG.select(part, nodes, torch.Generator().manual_seed(0)) for part in splits.real)
    problem = PolyFilter(7, num_features=features, weight_decay=10**DECAY)
    filters = [0.5 * _rows(1, 4, 7 + number).squeeze(0) + 0.3 for number in range(count)]
    return trained(problem, [{"filter": row} for row in filters], train, val)


PROBLEMS: dict[str, Callable[[int], Case]] = {"ridge": ridge, "MLP": perceptron, "ConvNet": convnet, "GNN": graph}
