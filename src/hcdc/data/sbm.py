"""A contextual stochastic block model: graphs of any size whose homophily, degree and features are chosen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray

from hcdc._memory import LIBRARIES, machine_memory
from hcdc.data.base import Splits
from hcdc.data.graphs import GraphData, graph_splits
from hcdc.errors import DataError

SBM = "synthetic:sbm"
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class BlockModel:
    """What `block_model` draws from.

    `n` nodes in `classes` classes that differ in size by one at most; `homophily`, the expected share of edges
    inside of a class; `degree`, the expected mean degree; `features` per node, whose class means have norm `signal`;
    `labelled` training nodes a class; 500 validation nodes, or a third of the rest where it is smaller; 1000 test
    nodes, or what is left. Raises `DataError` where there are too few nodes for the split or for the degree.
    """

    n: int = 10_000
    classes: int = 5
    homophily: float = 0.8
    degree: float = 10.0
    features: int = 128
    signal: float = 1.0
    labelled: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("classes", 2), ("features", 1), ("labelled", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(name, getattr(self, name), f"must be a whole number from {least} up", f"raise it to {least} or more")
        if self.n > np.iinfo(np.int32).max:
            raise DataError("n", self.n, "must fit in 32 bits", "draw a smaller graph")
        if not 0 <= self.homophily <= 1:
            raise DataError("homophily", self.homophily, "must lie between 0 and 1", f"{1 / self.classes:.3g} is no preference for any class")
        if not 0 < self.degree < math.inf:
            raise DataError("degree", self.degree, "must be positive and finite", "give the mean number of neighbours of a node")
        if not 0 <= self.signal < math.inf:
            raise DataError("signal", self.signal, "must be finite and not negative", "give the norm of the class means, 0 for pure noise")
        if self.n // self.classes < self.labelled or self.n < self.classes * self.labelled + 3:
            rule = f"{self.classes} classes of {self.labelled} training nodes, validation and test need more nodes"
            raise DataError("n", self.n, rule, "raise `n` or lower `labelled`")
        for share, pairs in zip((self.homophily, 1 - self.homophily), self.pairs, strict=True):
            if share * self.edges > pairs:
                rule = f"{share:.3g} of the edges, {share * self.edges:.0f}, exceed the {pairs} pairs of nodes they may join"
                raise DataError("degree", self.degree, rule, "lower `degree`, raise `n` or change `homophily`")

    @property
    def memory(self) -> float:
        """Bytes at the peak of drawing it: features twice, and what was measured for an edge and a node (`tests/data/test_sbm.py`)."""
        return LIBRARIES + 8.0 * self.n * self.features + 100 * self.edges + 90.0 * self.n

    @property
    def edges(self) -> float:
        """Expected number of undirected edges, n degree / 2."""
        return self.n * self.degree / 2

    @property
    def pairs(self) -> tuple[int, int]:
        """Unordered pairs of nodes of one class, and of two classes."""
        size, larger = divmod(self.n, self.classes)
        within = larger * (size + 1) * size // 2 + (self.classes - larger) * size * (size - 1) // 2
        return within, self.n * (self.n - 1) // 2 - within

    @classmethod
    def parse(cls, name: str) -> Self:
        """From `synthetic:sbm` or `synthetic:sbm,option=value,...`; `DataError` names the option that breaks a rule."""
        defaults: dict[str, int | float] = asdict(cls())
        given: dict[str, Any] = {}
        for part in name.split(",")[1:]:
            option, _, value = part.partition("=")
            if option not in defaults:
                raise DataError(option, value, f"is no option of {SBM}", f"give some of {', '.join(defaults)} as option=value")
            if option in given:
                raise DataError(option, value, "is given twice", "give it once")
            try:
                given[option] = type(defaults[option])(value)
            except ValueError as error:
                rule = "must be a whole number" if isinstance(defaults[option], int) else "must be a number"
                raise DataError(option, value, rule, f"write {option}={defaults[option]} or leave it out") from error
        return cls(**given)


def block_model(model: BlockModel) -> Splits[GraphData]:
    """A graph with features from the contextual stochastic block model (Deshpande, Sen, Montanari and Mossel, 2018).

    ```
    A_ij ~ Bernoulli(p) for i < j,   p = h m / N_in inside of a class, (1 - h) m / N_out between two,   m = n degree / 2
    x_i  = signal u_{y_i} + z_i,     u_k uniform on the unit sphere of R^features,   z_i ~ N(0, I)
    ```

    with h the homophily, N_in and N_out the numbers of such pairs of nodes. Theirs has two classes, u and -u, and its
    features divided by sqrt(features); here there are any number, each with a direction of its own. h = 1 / classes
    leaves the graph almost without information on the classes, less makes it heterophilic. Nodes come in random
    order; nodes, edges, features and split are four independent streams of `seed`, so that a change of `signal`
    leaves the graph as it was. Time and memory grow with n features + edges; raises `DataError` where `model.memory` is more
    than there is.
    """
    needed, there = model.memory / 2**30, machine_memory() / 2**30
    if needed > there:
        rule = f"{model.n} nodes, {model.edges:.0f} edges and {model.features} features need about {needed:.1f} GiB, of {there:.1f} GiB"
        raise DataError("n", model.n, rule, "lower `n`, `degree` or `features`")
    nodes, edges, context, split = (default_rng(child) for child in SeedSequence(model.seed).spawn(4))
    order = nodes.permutation(model.n).astype(np.int32)
    sizes = np.bincount(np.arange(model.n) % model.classes)
    blocks = np.repeat(np.arange(model.classes), sizes)  # [n], the class of `order`
    y = np.empty_like(blocks)
    y[order] = blocks
    edge_index = torch.from_numpy(_edges(model, sizes, order, edges))
    directions = context.standard_normal((model.classes, model.features))
    means = model.signal * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    x = context.standard_normal((model.n, model.features), dtype=np.float32)
    with np.errstate(over="ignore"):  # a signal past float32 ends in the check of `x`
        x += means.astype(np.float32)[y]
    return graph_splits(torch.from_numpy(x), edge_index, torch.from_numpy(y), *_masks(model, y, split), num_classes=model.classes)


def _edges(model: BlockModel, sizes: Integers, order: NDArray[np.int32], random: Generator) -> NDArray[np.int32]:
    """`edge_index` [2, E], each edge once.

    In the order of the classes, the earlier partners of node i are those of its class, from `start` up to i, and those
    of the classes before, from 0 up to `start`: two triangular tables, in which equally likely pairs are drawn.
    """
    node = np.arange(model.n)
    start = np.repeat(sizes.cumsum() - sizes, sizes)
    drawn: list[NDArray[np.int32]] = []
    for share, pairs, first, length in zip(
        (model.homophily, 1 - model.homophily), model.pairs, (start, np.zeros_like(start)), (node - start, start), strict=True
    ):
        places = _sample(pairs, share * model.edges / pairs if pairs else 0.0, random)
        ends = length.cumsum()
        count = np.diff(np.searchsorted(places, ends), prepend=0)
        row = np.repeat(node.astype(np.int32), count)
        places -= np.repeat(ends - length - first, count)
        drawn.append(np.stack([order[row], order[places]]))
    return np.concatenate(drawn, 1)


def _sample(total: int, p: float, random: Generator) -> Integers:
    """Each of 0..total-1 with probability `p`, sorted, in time p total: the gaps are geometric (Batagelj and Brandes, 2005)."""
    if p <= 0:
        return np.empty(0, np.int64)
    parts, last = [np.empty(0, np.int64)], -1
    while last < total:
        expected = (total - last) * p
        gaps = random.geometric(p, size=int(expected + 4 * math.sqrt(expected)) + 4)
        np.minimum(gaps, total + 1, out=gaps)
        parts.append(np.cumsum(gaps, out=gaps))
        gaps += last
        last = int(gaps[-1])
    places = np.concatenate(parts)
    return places[: np.searchsorted(places, total)]


def _masks(model: BlockModel, y: Integers, random: Generator) -> list[torch.Tensor]:
    """Training, validation and test masks [n]."""
    order = random.permutation(model.n)
    sorted_ = order[np.argsort(y[order], kind="stable")]  # by class, random within
    begin = np.searchsorted(y[sorted_], np.arange(model.classes))
    train = sorted_[(begin[:, None] + np.arange(model.labelled)).ravel()]
    rest = order[~np.isin(order, train)]
    val = min(500, rest.size // 3)
    masks = np.zeros((3, model.n), bool)
    for mask, chosen in zip(masks, (train, rest[:val], rest[val : val + 1000]), strict=True):
        mask[chosen] = True
    return list(torch.from_numpy(masks))
