"""Synthetic sets made of real examples: the floors, and the starting points of what is learned."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hcdc.condense.images import embedding, trained_network
from hcdc.condense.task import Task, choose, strata
from hcdc.data import HIDDEN, GraphData, ImageData, Sparse, propagated
from hcdc.errors import InputError
from hcdc.store import Groups

Features = Literal["raw", "propagated", "centroids"]
Structure = Literal["induced", "identity", "neighbours", "paths"]
Pick = Literal["uniform", "herding", "k-center"]

FARTHEST = 4
"""Hops to which a path reaches. What is k steps away weighs less than 2^-k, so that features which were to meet a fifth power
exactly would have to be hundreds of times as large as what they meet; higher powers are met by least squares."""


@dataclass(frozen=True)
class Coreset:
    """Real examples, or means of them; nothing is learned.

    Drawn uniformly (`balanced=False`, the paper's Random) or in class proportions. On graphs, `features` are raw or
    Â^hops X, and the adjacency is the induced subgraph or none (`identity`: the propagation of an edgeless graph is I).
    A few dozen nodes of a sparse graph hardly share an edge, so that "neighbours" fills up with neighbours of the nodes
    that enter the loss, which are fewer then (`with_neighbours`); its features are raw.
    "centroids" are the means of a k-means clustering within each class, of images, rows or Â^hops X, and have no edges;
    of a regression they are `sigma_points` of inputs and targets together.
    On an edgeless graph all powers of Â are one. "paths" are centroids of (X, Â X, ..., Â^hops X) together, each on the first
    node of a path of hops + 1 nodes, at most `FARTHEST` + 1, that has these very features at every hop (`path_features`);
    only first nodes enter the loss, as many as there are nodes for, but one a class.
    `pick` chooses within each class by Â^hops X or by images, as pixels or, after `trained` steps of training a `ConvNet`
    on all of the part, as that network's last layer reads them (of a regression always as pixels): herding (Welling 2009)
    follows the class mean, k-center (Sener and Savarese 2018) covers the class, from the example nearest to its mean.
    """

    features: Features = "raw"
    structure: Structure = "induced"
    hops: int = 2
    balanced: bool = True
    pick: Pick = "uniform"
    trained: int = 0
    label: str = "random"

    def __post_init__(self) -> None:
        known = {"features": get_args(Features), "structure": get_args(Structure), "pick": get_args(Pick)}
        for name, options in known.items():
            if getattr(self, name) not in options:
                raise InputError(name, getattr(self, name), f"must be one of {', '.join(options)}", "choose one of these")
        if self.structure == "paths" and self.features != "centroids":
            raise InputError("structure", "paths", "are made of centroids", 'write features="centroids", or another structure')
        if self.trained and self.pick == "uniform":
            raise InputError("trained", self.trained, "is for herding and k-center, which compare images", "leave it out")

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
        return task.real.train.replace(**state["train"]), task.real.val.replace(**state["val"])

    def select(self, data: Any, count: int, generator: torch.Generator) -> Any:
        """`count` of the examples of `data` that enter its loss."""
        labels, classes = strata(data)
        if self.features == "centroids":
            return self._centroids(data, count, generator)
        if self.structure == "neighbours" and isinstance(data, GraphData):
            return data.take(with_neighbours(data, count, generator))
        if self.pick != "uniform":
            positions = self._picked(data, count, generator)
        elif self.balanced:
            positions = choose(labels, count, classes, generator)
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

    def _embedded(self, data: Any, count: int, generator: torch.Generator) -> tuple[Tensor, list[Tensor], list[int]]:
        """What examples are compared by [m, ...], and of each class its positions and how many of them are wanted."""
        labels, classes = strata(data)
        if not isinstance(data, GraphData):
            x = data.x
        elif self.structure == "paths":
            x = data.powers(self.hops).movedim(0, 1)
        else:
            x = propagated(data, self.hops)
        chosen = choose(labels, count, classes, generator)
        if self.trained:
            if not isinstance(data, ImageData):
                raise InputError("trained", self.trained, "trains a network of images, which these data are not", "leave it out")
            x = trained_embedding(data, self.trained, generator) if data.num_classes else x
        quota = torch.bincount(labels[chosen], minlength=classes).tolist()
        return x, [(labels == label).nonzero().squeeze(1) for label in range(classes)], quota

    def _picked(self, data: Any, count: int, generator: torch.Generator) -> Tensor:
        follow = herding if self.pick == "herding" else k_center
        x, classes, quota = self._embedded(data, count, generator)
        wanted = [(members, number) for members, number in zip(classes, quota, strict=True) if number]
        return torch.cat([members[follow(x[members].flatten(1), number)] for members, number in wanted])

    def _centroids(self, data: Any, count: int, generator: torch.Generator) -> Any:
        paths = isinstance(data, GraphData) and self.structure == "paths"
        wanted = max(count // (min(self.hops, FARTHEST) + 1), int(data.labels().unique().numel())) if paths else count
        x, classes, quota = self._embedded(data, wanted, generator)
        seed = int(torch.randint(2**31, (), generator=generator))
        if not data.num_classes:
            both = sigma_points(torch.cat([x.flatten(1), data.y.unsqueeze(1)], 1), count)
            return data.replace(x=both[:, :-1].reshape(count, *x.shape[1:]), y=both[:, -1])
        means = torch.cat([kmeans(x[members], number, seed) for members, number in zip(classes, quota, strict=True) if number])
        y = torch.repeat_interleave(torch.arange(data.num_classes), torch.tensor(quota))
        if paths:
            return on_paths(data, means, y, count)
        if not isinstance(data, GraphData):
            return data.replace(x=means, y=y)
        return data.replace(x=means, y=y, adjacency=torch.zeros(count, count), mask=torch.ones(count, dtype=torch.bool))


def trained_embedding(data: ImageData, steps: int, generator: torch.Generator) -> Tensor:
    """Images as the last layer of a `trained_network` reads them: [n, d]."""
    network, params = trained_network(data, steps, generator)
    with torch.no_grad():
        return torch.cat([embedding(network, params, x) for x in data.x.split(512)])


def kmeans(x: Tensor, count: int, seed: int) -> Tensor:
    """Means [count, ...] of a k-means clustering of x [n, ...] into at most n / 2 clusters.

    Means of single rows are as noisy as the rows. Where `count` asks for more, the means of the largest clusters stand
    there again, which gives them more weight.
    """
    from scipy.cluster.vq import kmeans2  # here, since loading it takes a third of a second

    flat = x.reshape(x.shape[0], -1).double().cpu().numpy()
    clusters = min(count, max(1, flat.shape[0] // 2))
    means, sizes = np.unique(flat, axis=0, return_counts=True)
    if means.shape[0] > clusters:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty")
            means, members = kmeans2(flat, clusters, minit="++", rng=seed)
        sizes = np.bincount(members, minlength=clusters)
    if count > means.shape[0]:
        means = means[np.argsort(-sizes, kind="stable")[np.arange(count) % means.shape[0]]]
    return torch.from_numpy(means).to(x).reshape(count, *x.shape[1:])


def on_paths(like: GraphData, hops: Tensor, y: Tensor, count: int) -> GraphData:
    """A graph of `count` nodes in c paths, the first node of each with label y [c] and, at power k of Â, features hops[:, k]
    of `hops` [c, K + 1, d]; the first paths take the nodes that are left over."""
    paths = y.numel()
    lengths = [count // paths + (number < count % paths) for number in range(paths)]
    adjacency = torch.block_diag(*[path(length) for length in lengths]).to(hops)
    first = torch.tensor([0, *lengths[:-1]]).cumsum(0)
    mask, labels = torch.zeros(count, dtype=torch.bool), torch.full((count,), HIDDEN)
    mask[first], labels[first] = True, y
    x = torch.cat([path_features(features, length) for features, length in zip(hops, lengths, strict=True)])
    return like.replace(x=x, y=labels, adjacency=adjacency, mask=mask)


def path(length: int) -> Tensor:
    """The adjacency [length, length] of a path."""
    steps = torch.ones(length - 1)
    return torch.diag(steps, 1) + torch.diag(steps, -1)


def path_features(hops: Tensor, length: int) -> Tensor:
    """Features X [length, d] of a path so that the first row of Â^k X is hops[k], for `hops` [K + 1, d].

    These rows are M X with the Krylov matrix M = (e_1, Â e_1, ..., Â^K e_1)^T of the path, which has full rank, since k
    steps from its end reach node k + 1 and no farther: exact on K + 1 nodes or more, where X is the smallest such, and the
    least squares on fewer.
    """
    nodes = torch.arange(length)
    alone = GraphData(torch.eye(length, dtype=torch.float64), path(length).double(), nodes, nodes == 0, length)
    inverse = torch.linalg.pinv(alone.powers(hops.shape[0] - 1)[:, 0])
    return (inverse @ hops.to(inverse)).to(hops)


def sigma_points(x: Tensor, count: int) -> Tensor:
    """`count` rows with the mean of x [n, d] and its covariance along as many principal directions as there are pairs of rows.

    mean +- sqrt(count / 2) s_i v_i for the largest standard deviations s_i and their directions v_i (Julier and Uhlmann
    1997), and the mean itself in what is left over. A squared loss of a linear model reads nothing else of its data, so
    that with 2 d rows it is the same function on both.
    """
    mean = x.mean(0)
    _, deviations, directions = torch.linalg.svd((x - mean).double() / x.shape[0] ** 0.5, full_matrices=False)
    pairs = min(count // 2, int(deviations.numel()))
    offsets = ((count / 2) ** 0.5 * deviations[:pairs, None] * directions[:pairs]).to(x)
    return torch.cat([mean + offsets, mean - offsets, mean.expand(count - 2 * pairs, -1)])


def with_neighbours(data: GraphData, count: int, generator: torch.Generator) -> Tensor:
    """Nodes [count]: random ones of the loss, classes in turn, each followed by up to two of its neighbours."""
    order = torch.randperm(data.nodes.numel(), generator=generator)
    labels = data.labels()[order]
    turns = functional.one_hot(labels, data.num_classes).cumsum(0)[torch.arange(labels.numel()), labels]  # the how-manyth of its class
    chosen = dict[int, None]()
    for node in data.nodes[order[turns.argsort(stable=True)]].tolist():
        near = _neighbours(data.adjacency, node)
        near = near[torch.randperm(near.numel(), generator=generator)[:2]].tolist()
        chosen |= dict.fromkeys([node, *near][: count - len(chosen)])
        if len(chosen) == count:
            break
    return torch.tensor(list(chosen))


def _neighbours(adjacency: Tensor | Sparse, node: int) -> Tensor:
    """Nodes [d] that `node` has an edge to, in order."""
    if isinstance(adjacency, Tensor):
        return adjacency[node].nonzero().squeeze(1)
    crow = adjacency.csr.crow_indices()
    return adjacency.csr.col_indices()[crow[node] : crow[node + 1]]


def herding(x: Tensor, count: int) -> Tensor:
    """Positions [count] into x [n, d]: each the one that brings the running mean nearest to the mean of all."""
    mean, total, chosen = x.mean(0), torch.zeros_like(x[0]), list[int]()
    for number in range(1, count + 1):
        distance = (mean * number - total - x).norm(dim=1)
        distance[chosen] = float("inf")
        chosen.append(int(distance.argmin()))
        total = total + x[chosen[-1]]
    return torch.tensor(chosen)


def k_center(x: Tensor, count: int) -> Tensor:
    """Positions [count] into x [n, d]: the one nearest to the mean, then each the farthest from those chosen."""
    chosen = [int((x - x.mean(0)).norm(dim=1).argmin())]
    nearest = (x - x[chosen[0]]).norm(dim=1)
    while len(chosen) < count:
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (x - x[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


RANDOM = Coreset(balanced=False)
"""The paper's baseline: nodes drawn uniformly, raw features, induced subgraph."""

HERDING = Coreset(pick="herding", label="herding")
"""The coreset of class means, raw features, induced subgraph."""

K_CENTER = Coreset(pick="k-center", label="k-center")
"""The coreset that covers each class, raw features, induced subgraph."""

CENTROIDS = Coreset(features="centroids", label="centroids")
"""Class-wise k-means centroids of propagated features (of pixels): every real label is heard."""

PATHS = Coreset(features="centroids", structure="paths", hops=3, label="paths")
"""Centroids of all powers of the graph together, for a family with parameters of its own for every power."""

STRONG = Coreset(features="propagated", structure="identity", label="strong")
"""What costs nothing and is hard to beat: propagated features, no edges between them, class proportions kept."""


NEIGHBOURS = Coreset(structure="neighbours", label="neighbours")
"""Real nodes and their neighbours, for a model whose edges cannot be learned: without edges, a layer that reads them is one
that does not."""
