"""Synthetic sets made of real examples: the floors, and the starting points of what is learned."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from hcdc.condense.task import Task, choose
from hcdc.data import GraphData, propagated
from hcdc.store import Groups

Features = Literal["raw", "propagated", "centroids"]
Structure = Literal["induced", "identity"]


@dataclass(frozen=True)
class Coreset:
    """Real examples, or means of them; nothing is learned.

    Drawn uniformly (`balanced=False`, the paper's Random) or in class proportions. On graphs, `features` are raw or
    Â^hops X, and the adjacency is the induced subgraph or none (`identity`: the propagation of an edgeless graph is I).
    "centroids" are the means of a k-means clustering within each class, of images or of Â^hops X, and have no edges.
    """

    features: Features = "raw"
    structure: Structure = "induced"
    hops: int = 2
    balanced: bool = True
    label: str = "random"

    @property
    def name(self) -> str:
        return self.label

    def length(self) -> int:
        return 0

    def init(self, task: Task) -> Groups:
        train = self.select(task.real.train, task.budget.train, task.generator(1))
        val = self.select(task.real.val, task.budget.val, task.generator(2))
        return {"train": train.tensors(), "val": val.tensors()}

    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        return state, {}

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        return rebuild(task.real.train, state["train"]), rebuild(task.real.val, state["val"])

    def select(self, data: Any, count: int, generator: torch.Generator) -> Any:
        """`count` of the examples of `data` that enter its loss."""
        labels = data.labels()
        if self.features == "centroids":
            return self._centroids(data, count, generator)
        if self.balanced:
            positions = choose(labels, count, data.num_classes, generator)
        else:
            positions = torch.randperm(labels.numel(), generator=generator)[:count]
        if not isinstance(data, GraphData):
            return data.take(positions)
        small = data.take(data.nodes[positions])
        if self.features == "propagated":
            small = small.replace(x=propagated(data, self.hops)[positions])
        if self.structure == "identity":
            small = small.replace(adjacency=torch.zeros(count, count))
        return small

    def _centroids(self, data: Any, count: int, generator: torch.Generator) -> Any:
        graph = isinstance(data, GraphData)
        x, labels = (propagated(data, self.hops) if graph else data.x), data.labels()
        chosen = choose(labels, count, data.num_classes, generator)
        quota = torch.bincount(labels[chosen], minlength=data.num_classes).tolist()
        seed = int(torch.randint(2**31, (), generator=generator))
        means = torch.cat([_kmeans(x[labels == label], number, seed) for label, number in enumerate(quota)])
        y = torch.repeat_interleave(torch.arange(data.num_classes), torch.tensor(quota))
        if not graph:
            return data.replace(x=means, y=y)
        return data.replace(x=means, y=y, adjacency=torch.zeros(count, count), mask=torch.ones(count, dtype=torch.bool))


def _kmeans(x: Tensor, count: int, seed: int) -> Tensor:
    """Means [count, ...] of a k-means clustering of x [n, ...]."""
    flat = x.reshape(x.shape[0], -1).double().numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        means, _ = kmeans2(flat, count, minit="++", rng=seed)
    return torch.from_numpy(means).to(x.dtype).reshape(count, *x.shape[1:])


RANDOM = Coreset(balanced=False)
"""The paper's baseline: nodes drawn uniformly, raw features, induced subgraph."""

CENTROIDS = Coreset(features="centroids", label="centroids")
"""Class-wise k-means centroids of propagated features (of pixels): every real label is heard."""

STRONG = Coreset(features="propagated", structure="identity", label="strong")
"""What costs nothing and is hard to beat: propagated features, no edges between them, class proportions kept."""


def rebuild(like: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A container of the kind of `like` with `tensors` in place of its own."""
    return like.replace(**tensors)
