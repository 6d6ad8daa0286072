"""Data and tasks small enough to condense in a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hcdc.bilevel import Adam, Recipe
from hcdc.condense import DC, DM, DSA, HCDC, HERDING, K_CENTER, KIP, TM, Algorithm1, Bank, Budget, Condenser, Coreset, GCond, ImageCondenser, Task
from hcdc.data import GraphData, Source, Splits, TableData, graph_splits, image_splits, shuffled_parts, table_splits
from hcdc.models import ConvMix, PolyFilter


class Killed(BaseException):
    """What nothing catches."""


METHODS: dict[str, Condenser] = {
    "hcdc": HCDC(driver=Bank(starts=6, stages=2, chunk=4, more=5, steps=8, batch=8)),
    "algorithm1": HCDC(driver=Algorithm1(trajectories=3, repeats=2, updates=3, interval=4)),
    "hcdc on gcond": HCDC(train=GCond(epochs=2, outer=2, inner=2, hidden=8, both=False), driver=Bank(starts=4, stages=1, chunk=4, steps=4, batch=4)),
    "gcond": GCond(epochs=3, outer=2, inner=2, hidden=8),
    "gcond-x": GCond(structure=False, epochs=3, outer=2, inner=2, hidden=8),
    "random": Coreset(balanced=False),
    "herding": HERDING,
    "k-center": K_CENTER,
    "dc": DC(steps=2, outer=2, inner=1, width=4),
    "dsa": replace(DSA, steps=2, outer=2, inner=1, width=4),
    "dm": DM(steps=2, width=4),
    "kip": KIP(steps=2),
    "tm": TM(steps=2, experts=2, epochs=2, ahead=1, inner=2, max_start=2, batch=4, lr=1.0, width=4, both=False),
}
"""Every method at a budget of a second; `condense` cases run over all of them."""


def arrays(n: int = 90, classes: int = 3, features: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    """A noisy block model in the .npz layout."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    same = y[:, None] == y[None, :]
    edges = np.argwhere(np.triu(random.random((n, n)) < np.where(same, 0.12, 0.02), 1)).T
    x = random.normal(size=(n, features)) + 2 * np.eye(classes, features)[y]
    part = np.repeat([0, 1, 2], n // 3)
    random.shuffle(part)
    masks = {f"{name}_mask": part == k for k, name in enumerate(("train", "val", "test"))}
    return {"x": x.astype(np.float32), "edge_index": edges.astype(np.int32), "y": y.astype(np.int64), **masks}


def graph(**changes: Any) -> Splits[GraphData]:
    fields = {name: torch.from_numpy(value) for name, value in arrays(**changes).items()}
    masks = (fields[f"{name}_mask"] for name in ("train", "val", "test"))
    return graph_splits(fields["x"], fields["edge_index"], fields["y"], *masks)


def images(n: int = 90, classes: int = 3) -> Splits[Any]:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % classes
    x = 0.5 * torch.randn(n, 1, 4, 4, generator=generator) + torch.randn(classes, 1, 4, 4, generator=generator)[y]
    first, second, third = torch.randperm(n, generator=generator).split(n // 3)
    return image_splits(x, y, (first, second, third))


def columns(n: int = 90, classes: int = 3) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Two columns of numbers that tell the classes apart, one of text that helps, and the classes."""
    random, y = np.random.default_rng(0), np.arange(n) % classes
    numbers = random.normal(size=(2, n)) + 2 * np.eye(2, classes)[:, y]
    return {"a": numbers[0], "b": numbers[1], "town": np.asarray(["north", "south"])[(y + (random.random(n) < 0.2)) % 2]}, y


def table(n: int = 90) -> Splits[TableData]:
    inputs, y = columns(n)
    return table_splits(inputs, y, shuffled_parts(n))


def source(splits: Splits[Any] | None = None) -> Source:
    return Source.of("small", splits or graph())


def task(splits: Splits[Any] | None = None, *, size: int = 9, seed: int = 0) -> Task:
    splits = splits or graph()
    if isinstance(splits.train, GraphData):
        problem: Any = PolyFilter(3, num_features=splits.train.num_features, hidden=4, order=2)
    else:
        problem = ConvMix(3, shape=splits.train.shape, width=3, blocks=1)
    recipe = Recipe(problem, Adam(20, 0.05))
    return Task(recipe, recipe, splits.real, problem.space(), Budget(size, size), seed)


def splits_for(method: Condenser) -> Splits[Any]:
    """Data of the kind that `method` condenses."""
    return images() if isinstance(method, ImageCondenser) else graph()


def npz(folder: Path, **changes: Any) -> Path:
    """The small graph as a file, with fields replaced or, where None, left out."""
    fields = {name: value for name, value in (arrays() | changes).items() if value is not None}
    path = folder / "small.npz"
    np.savez(path, **fields)
    return path
