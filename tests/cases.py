"""Cases are data: the small problems, graphs, systems and broken inputs that the tests of several rooms share.

Everything that is differentiated or compared with a formula is float64 and smooth.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hcdc.bilevel import CG, Direct, LinearSolver, Neumann, Nystrom
from hcdc.data import GraphData, ImageData, Splits, graph_splits
from hcdc.models import Appnp, ConvMix, ConvNet, GraphNet, Heat, PolyFilter, Ppr, Sign

DATA = os.environ.get("HCDC_DATA")
needs_data = pytest.mark.skipif(DATA is None or not Path(DATA).is_dir(), reason="HCDC_DATA does not name a folder with the real data")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    """Standard normal float64 of `shape`."""
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def double(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.double() for key, value in tensors.items()}


# Bilevel problems ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """`x` [n, d] and `y` [n] or [n, 1]: the least that `fit` asks of data."""

    x: Tensor
    y: Tensor

    @property
    def size(self) -> int:
        return self.y.shape[0]

    def take(self, index: Tensor) -> Table:
        return Table(self.x[index], self.y[index])


class Ridge:
    """inner = mean (x w - y)^2 / 2 + exp(log_decay) / 2 ||w||^2; outer the same without the penalty."""

    def init(self, hyper: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {"w": torch.randn(3, generator=generator, dtype=torch.float64)}

    def inner(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Table) -> Tensor:
        return self.outer(params, hyper, data) + hyper["log_decay"].exp().squeeze() / 2 * params["w"].square().sum()

    def outer(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Table) -> Tensor:
        return (data.x @ params["w"] - data.y).square().mean() / 2


class Rough(Ridge):
    """Ridge with noise on its inputs."""

    def noise(self, data: Any, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": torch.randn(data.x.shape, generator=generator, dtype=torch.float64) / 10}

    def noisy(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any, noise: dict[str, Tensor]) -> Tensor:
        return self.inner(params, hyper, Table(data.x + noise["x"], data.y))


class Smooth:
    """A SiLU network with gates on its inputs, which enter the forward pass, and a learned weight decay, which does not."""

    def init(self, hyper: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        shapes = {"w1": (3, 4), "b1": (4,), "w2": (4, 3)}
        return {key: torch.randn(*shape, generator=generator, dtype=torch.float64) for key, shape in shapes.items()}

    def inner(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Table) -> Tensor:
        squares = torch.stack([value.square().sum() for value in params.values()]).sum()
        return self.outer(params, hyper, data) + hyper["log_decay"].exp().squeeze() / 2 * squares

    def outer(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Table) -> Tensor:
        hidden = functional.silu((data.x * hyper["gate"]) @ params["w1"] + params["b1"])
        return functional.cross_entropy(hidden @ params["w2"], data.y)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """inner = t^T A t / 2 - t^T B h, outer = ||t - 1||^2 / 2 + sum(h): H = A, M = -B^T, direct term 1. `data` is not read."""

    a: Tensor
    b: Tensor

    def init(self, hyper: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {"t": torch.randn(self.a.shape[0], generator=generator, dtype=torch.float64)}

    def inner(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any) -> Tensor:
        return params["t"] @ (self.a @ params["t"] / 2 - self.b @ hyper["h"])

    def outer(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any) -> Tensor:
        return (params["t"] - 1).square().sum() / 2 + hyper["h"].sum()


class Point(NamedTuple):
    """A problem and a place at which its derivatives are asked for."""

    problem: Any
    params: dict[str, Tensor]
    hyper: dict[str, Tensor]
    train: Any
    val: Any


def ridge_point(log_decay: float = -1.0) -> Point:
    truth = normal(3, seed=0)
    tables = []
    for seed, n in ((1, 12), (2, 9)):
        x = normal(n, 3, seed=seed)
        tables.append(Table(x, x @ truth + 0.5 * normal(n, seed=seed + 10)))
    hyper = {"log_decay": torch.tensor([log_decay], dtype=torch.float64)}
    return Point(Ridge(), {"w": normal(3, seed=3)}, hyper, *tables)


def smooth_point(seed: int = 0) -> Point:
    tables = []
    for number, n in ((1, 20), (2, 15)):
        x = normal(n, 3, seed=number)
        tables.append(Table(x, (x + 0.7 * normal(n, 3, seed=number + 10)).argmax(1)))
    hyper = {"gate": 1 + 0.3 * normal(3, seed=4), "log_decay": torch.tensor([-3.0], dtype=torch.float64)}
    return Point(Smooth(), Smooth().init(hyper, generator(seed)), hyper, *tables)


def polyfilter_point() -> Point:
    """A sparse graph under the family that ships for graphs, in float64."""
    splits = random_graph(seed=1)
    train, val = (as_double(part) for part in splits.real)
    problem = PolyFilter(3, num_features=5, hidden=4, order=2, weight_decay=0.1)
    hyper = {"filter": torch.tensor([0.6, 0.5, -0.3], dtype=torch.float64)}
    return Point(problem, double(problem.init(hyper, generator(0))), hyper, train, val)


def graph_point(problem: GraphNet, **hyper: list[float] | list[list[float]]) -> Point:
    """A family on the graph of `polyfilter_point`, in float64."""
    train, val = (as_double(part) for part in random_graph(seed=1).real)
    point = {name: torch.tensor(value, dtype=torch.float64) for name, value in hyper.items()}
    return Point(problem, double(problem.init(point, generator(0))), point, train, val)


def small_appnp(**settings: Any) -> Appnp:
    """Two options a choice, smooth; of width 2 at most."""
    smaller: dict[str, Any] = {"num_features": 5, "steps": (2, 3), "widths": (1, 2), "activations": ("tanh", "softplus"), "weight_decay": 0.03}
    return Appnp(3, **smaller | settings)


EVERY_REGULARISER = ("decay", "edge_drop", "smoothing")
HALVES = {"k": [[0.6, 0.4]], "hidden": [[0.3, 0.7]], "alpha": [[0.5, 0.5]], "activation": [[0.8, 0.2]]}
REGULAR = {"decay": [-1.8, -1.6], "edge_drop": [0.3], "smoothing": [0.1]}
SMALL = {"num_features": 5, "hidden": 4, "order": 2, "weight_decay": 0.03}
GRAPH_POINTS: dict[str, Callable[[], Point]] = {
    "bernstein": lambda: graph_point(PolyFilter(3, basis="bernstein", **SMALL), filter=[0.9, 0.7, -0.3]),
    "ppr": lambda: graph_point(Ppr(3, **SMALL), alpha=[0.3]),
    "heat": lambda: graph_point(Heat(3, **SMALL), t=[0.8]),
    "sign": lambda: graph_point(Sign(3, **SMALL | {"weight_decay": 0.01}), hop=[0.5, 0.8, 1.5]),
    "appnp": lambda: graph_point(small_appnp(), **HALVES),
    "regularised filter": lambda: graph_point(Ppr(3, **SMALL | {"hidden": 2}, regularisers=EVERY_REGULARISER), alpha=[0.3], **REGULAR),
    "regularised sign": lambda: graph_point(Sign(3, **SMALL, regularisers=EVERY_REGULARISER), hop=[0.9, 0.7, 0.5], **REGULAR),
    "regularised appnp": lambda: graph_point(small_appnp(regularisers=EVERY_REGULARISER), **HALVES, **REGULAR),
}
"""Every graph family but the one of `polyfilter_point`, with and without regularisers that are searched."""


def convmix_point() -> Point:
    problem = ConvMix(3, shape=(1, 8, 8), width=2, blocks=1)
    hyper = {"op": torch.tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64), "log10_decay": torch.tensor([-1.0], dtype=torch.float64)}
    train, val = (random_images(n=6, seed=seed) for seed in (1, 2))
    return Point(problem, double(problem.init(hyper, generator(0))), hyper, train, val)


def convnet_point() -> Point:
    """Smooth: no ReLU, no maximum."""
    problem = ConvNet(3, shape=(1, 4, 4), width=4, depth=1, searched=("width", "activation", "decay", "smoothing"))
    hyper = {"width": [[0.2, 0.3, 0.5]], "activation": [[0.0, 0.5, 0.3, 0.2, 0.0]], "decay": [-1.0, -1.2], "smoothing": [0.1]}
    train, val = (ImageData(normal(6, 1, 4, 4, seed=seed), torch.arange(6) % 3, 3) for seed in (1, 2))
    point = {name: torch.tensor(value, dtype=torch.float64) for name, value in hyper.items()}
    return Point(problem, double(problem.init(point, generator(0))), point, train, val)


POINTS: dict[str, Callable[[], Point]] = {
    "ridge": ridge_point,
    "smooth": smooth_point,
    "polyfilter": polyfilter_point,
    "convmix": convmix_point,
    "convnet": convnet_point,
    **GRAPH_POINTS,
}


# Linear systems ------------------------------------------------------------------------------------------------------


def symmetric(eigenvalues: tuple[float, ...], seed: int = 0) -> Tensor:
    """A float64 matrix with these eigenvalues and random eigenvectors."""
    size = len(eigenvalues)
    rotation = torch.linalg.qr(normal(size, size, seed=seed)).Q
    return rotation @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ rotation.T


POSITIVE = {
    "identity": symmetric((1, 1, 1, 1)),
    "spread": symmetric((0.3, 0.7, 1.5, 4.0)),
    "stiff": symmetric((0.1, 1.0, 1.1, 2.0), seed=1),
    "tiny": symmetric((2e-4, 3e-4, 5e-4, 9e-4), seed=2),
}
INDEFINITE = {
    "one negative": symmetric((-1.0, 0.5, 1.0, 2.0)),
    "mostly negative": symmetric((-3.0, -2.0, -1.0, 0.5), seed=1),
    "negative definite": symmetric((-3.0, -2.0, -1.0, -0.5), seed=2),
}
SINGULAR = {"zero": torch.zeros(4, 4, dtype=torch.float64), "corank 1": torch.diag(torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64))}

SOLVERS: dict[str, tuple[LinearSolver, float]] = {
    "neumann": (Neumann(terms=400), 1e-6),
    "cg": (CG(rtol=1e-12, max_steps=100), 1e-9),
    "nystrom": (Nystrom(rank=100, rho=1e-8), 1e-4),
    "direct": (Direct(), 1e-9),
}
"""Every solver at settings that solve a `POSITIVE` system, and the relative error that it then has."""


# Graphs and images ---------------------------------------------------------------------------------------------------


def graph_tensors(n: int = 15, features: int = 5, classes: int = 3, seed: int = 0) -> dict[str, Any]:
    """The arguments of `graph_splits`: each undirected edge once, node i of class i % classes, thirds of the nodes."""
    pairs = torch.combinations(torch.arange(n)).T
    chosen = torch.rand(pairs.shape[1], generator=generator(seed)) < 0.3
    part = torch.arange(n) // classes % 3
    return {
        "x": normal(n, features, seed=seed).float(),
        "edge_index": pairs[:, chosen],
        "y": torch.arange(n) % classes,
        "train": part == 0,
        "val": part == 1,
        "test": part == 2,
    }


def random_graph(**settings: int) -> Splits[GraphData]:
    return graph_splits(**graph_tensors(**settings))


def as_double(data: GraphData) -> GraphData:
    moved = {name: getattr(data, name) for name in ("x", "adjacency")}
    return data.replace(**{name: v.double() if isinstance(v, Tensor) else v.to(dtype=torch.float64) for name, v in moved.items()})


def dense_graph(seed: int = 0, n: int = 8, classes: int = 3) -> GraphData:
    """A weighted graph as a condenser makes it: dense, float32, every node in the loss."""
    weights = torch.rand(n, n, generator=generator(seed))
    data = GraphData(normal(n, 5, seed=seed).float(), weights, torch.arange(n) % classes, torch.ones(n, dtype=torch.bool), classes)
    return data.project()


def random_images(n: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> ImageData:
    return ImageData(normal(n, 1, 8, 8, seed=seed).to(dtype), torch.arange(n) % 3, 3)


def _with(**changes: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(arguments: dict[str, Any]) -> dict[str, Any]:
        made = {name: value(arguments[name].clone()) if callable(value) else value for name, value in changes.items()}
        return arguments | made

    return change


def _set(index: Any, value: Any) -> Callable[[Tensor], Tensor]:
    def write(tensor: Tensor) -> Tensor:
        tensor[index] = value
        return tensor

    return write


BROKEN_GRAPHS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "NaN feature": (_with(x=_set((3, 1), float("nan"))), "x"),
    "infinite feature": (_with(x=_set((3, 1), float("inf"))), "x"),
    "row missing": (_with(x=lambda x: x[:-1]), "x"),
    "features of one dimension": (_with(x=lambda x: x[:, 0]), "x"),
    "label above": (_with(y=_set(0, 3), num_classes=3), "y"),
    "label below": (_with(y=_set(0, -1)), "y"),
    "one class": (_with(y=lambda y: torch.zeros_like(y), num_classes=1), "y"),
    "labels as a column": (_with(y=lambda y: y.unsqueeze(1)), "y"),
    "no label": (_with(y=lambda y: y[:0]), "y"),
    "class without training node": (_with(num_classes=4), "train_mask"),
    "a node to train and validate": (_with(val=_set(0, True)), "train_mask, val_mask, test_mask"),
    "a node to train and test": (_with(test=_set(0, True)), "train_mask, val_mask, test_mask"),
    "a node to validate and test": (_with(test=_set(3, True)), "train_mask, val_mask, test_mask"),
    "empty mask": (_with(test=torch.zeros(15, dtype=torch.bool)), "test_mask"),
    "mask of another length": (_with(val=lambda mask: mask[:-1]), "val_mask"),
    "edge above": (_with(edge_index=_set((1, 0), 15)), "edge_index"),
    "edge below": (_with(edge_index=_set((0, 0), -1)), "edge_index"),
    "features of no dimension": (_with(x=lambda x: x[:, :0]), "x"),
    "edges transposed": (_with(edge_index=lambda e: e.T), "edge_index"),
}
"""A change to `graph_tensors()` and the argument that the error must name."""
