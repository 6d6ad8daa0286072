"""Properties of the mathematics at random points, and how far results depend on the number of threads.

    python -m torture.properties --draws 8 --seed 0

Every differentiable piece is held to finite differences once and twice (`torch.autograd.gradcheck`, `gradgradcheck`,
float64). Then the small graph is condensed with one thread twice and with two threads once: the same seed must give
the same bits, and another number of threads values within `TOLERANCE`.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from hcdc.bilevel import CG, Implicit, sensitivities
from hcdc.condense import condense, total_derivative
from hcdc.condense.calibration import correlation
from hcdc.condense.gcond import Surrogate, column_distance
from hcdc.data import GraphData, Sparse, propagated
from hcdc.models.graphnet import Thinned
from hcdc.store import DataCard
from tests import cases, small

TOLERANCE = 1e-4
"""Largest difference, relative to the largest entry of a tensor, that another number of threads may make."""
Piece = Callable[[torch.Generator], tuple[Callable[..., Any], tuple[Tensor, ...]]]


def draw(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def positive(generator: torch.Generator, *shape: int) -> Tensor:
    return (torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1).requires_grad_()


def losses(name: str, which: str) -> Piece:
    """A family's loss in its parameters and its hyperparameters, near where the cases have them."""

    def make(generator: torch.Generator) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
        point = cases.POINTS[name]()
        keys = [("params", key) for key in point.params] + [("hyper", key) for key in point.hyper]
        leaves = [getattr(point, group)[key].detach() for group, key in keys]
        moved = tuple((leaf * (1 + 0.05 * torch.randn(leaf.shape, generator=generator).double())).requires_grad_() for leaf in leaves)

        def loss(*tensors: Tensor) -> Tensor:
            groups: dict[str, dict[str, Tensor]] = {"params": {}, "hyper": {}}
            for (group, key), tensor in zip(keys, tensors, strict=True):
                groups[group][key] = tensor
            return getattr(point.problem, which)(groups["params"], groups["hyper"], point.train if which == "inner" else point.val)

        return loss, moved

    return make


def learned_graph(features: Tensor, weights: Tensor) -> GraphData:
    symmetric = (weights + weights.T) / 2
    nodes = torch.arange(features.shape[0])
    return GraphData(features, symmetric - torch.diag(symmetric.diag()), nodes % 3, torch.ones_like(nodes, dtype=torch.bool), 3)


def aligned(generator: torch.Generator) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    """The total derivative along lambda in features and edges of S_val: what HCDC descends."""
    point = cases.graph_point(cases.Ppr(3, num_features=5, hidden=2, order=2, weight_decay=0.5), alpha=[0.3])
    params, hyper = ({key: value.unsqueeze(0) for key, value in group.items()} for group in (point.params, point.hyper))
    slopes, _ = sensitivities(point.problem, params, hyper, point.train, Implicit(CG(1e-10, 50), damping=3.0))

    def slope(x: Tensor, weights: Tensor) -> Tensor:
        return total_derivative(point.problem, params, hyper, slopes, learned_graph(x, weights))[0]

    return slope, (draw(generator, 6, 5), positive(generator, 6, 6))


def sparse(generator: torch.Generator) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    dense = draw(generator, 5, 4).detach() * (torch.rand(5, 4, generator=generator) < 0.5)
    matrix = Sparse.from_dense(dense)
    return lambda h: (matrix @ h).square(), (draw(generator, 4, 2),)


def thinned(generator: torch.Generator) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    data = cases.as_double(cases.random_graph(seed=1).train)
    return lambda keep, h: Thinned(data, keep) @ h, (positive(generator), draw(generator, 15, 2))


def surrogate(generator: torch.Generator) -> tuple[Callable[..., Any], tuple[Tensor, ...]]:
    model, target, y = Surrogate(4, 3, 0.01, generator), draw(generator, 3, 4, 3).detach(), torch.arange(6) % 3
    model.weight, model.bias = model.weight.double(), model.bias.double()
    return lambda x: column_distance(model.class_gradients(x, y), target), (draw(generator, 6, 4),)


PIECES: dict[str, Piece] = {
    **{f"{which} loss of {name}": losses(name, which) for name in cases.POINTS for which in ("inner", "outer")},
    "sparse product": sparse,
    "product with a thinned graph": thinned,
    "normalisation of a learned graph": lambda g: (lambda x, w: propagated(learned_graph(x, w), 2), (draw(g, 5, 2), positive(g, 5, 5))),
    "total derivative in S_val": aligned,
    "correlation": lambda g: (correlation, (draw(g, 7), draw(g, 7))),
    "distance of class gradients": surrogate,
}


def checked(draws: int, seed: int) -> Iterator[tuple[str, int]]:
    """Name and number of checks of each piece; raises where a derivative is wrong."""
    for name, piece in PIECES.items():
        for number in range(draws):
            function, inputs = piece(torch.Generator().manual_seed(1000 * seed + number))
            assert gradcheck(function, inputs, fast_mode=True, atol=1e-4, rtol=1e-3), name
            assert gradgradcheck(function, inputs, fast_mode=True, atol=1e-3, rtol=1e-2), name
        yield name, 2 * draws


def apart(one: Any, two: Any) -> float:
    """Largest difference of two artefacts, relative to the largest entry of its tensor."""
    found = [0.0]
    for a, b in ((one.train, two.train), (one.val, two.val)):
        pairs = zip(a.learnable().values(), b.learnable().values(), strict=True)
        found += [float((x - y).abs().max() / x.abs().max().clamp_min(1e-12)) for x, y in pairs]
    return max(found)


def threads(names: tuple[str, ...] = ("hcdc", "algorithm1", "gcond")) -> dict[str, float]:
    """Largest difference that two threads make, of each method; the same seed must give the same bits."""
    card, found, before = DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3), dict[str, float](), torch.get_num_threads()
    try:
        for name in names:
            made = []
            for number in (1, 1, 2):
                torch.set_num_threads(number)
                made.append(condense(small.METHODS[name], small.task(), card))
            assert made[0].fingerprint() == made[1].fingerprint(), f"{name}: the same seed gave other bits"
            found[name] = apart(made[0], made[2])
            assert found[name] <= TOLERANCE, f"{name}: two threads make a difference of {found[name]:.2g}"
    finally:
        torch.set_num_threads(before)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=8, help="points at which each piece is checked")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    begin = time.monotonic()
    counts = dict(checked(given.draws, given.seed))
    print(f"derivatives checked: {sum(counts.values())}, of {len(counts)} pieces; seed {given.seed}; {time.monotonic() - begin:.0f} s")
    for name, difference in threads().items():
        print(f"{name}: the same bits again; two threads differ by {difference:.1e} of the largest entry (tolerance {TOLERANCE:g})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
