"""How work and memory grow: with points, hyperparameters, synthetic and real nodes, parameters and Neumann terms.

    python -m benchmarks.growth

Work is the multiplications and additions of the products with matrices, counted and not timed, so that the exponents
printed are the same on every machine; `tests/benchmarks` holds them to what they are to be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.measure import Action, Products, exponent, keep, peak_bytes
from hcdc._tensors import ravel, stack
from hcdc.bilevel import CG, Implicit, Neumann, SecondOrder, hypergradients, initialise, sensitivities
from hcdc.condense import total_derivative
from hcdc.data import GraphData, load
from hcdc.models import PolyFilter

COMMAND = "python -m benchmarks.growth"
Hyper = dict[str, Tensor]


@dataclass(frozen=True)
class Weighted:
    """Least squares whose rows are weighted by group, one hyperparameter a group: as many as one likes, on the same w."""

    groups: int
    rows: int = 1024
    columns: int = 16

    def init(self, hyper: Hyper, generator: torch.Generator) -> dict[str, Tensor]:
        return {"w": torch.randn(self.columns, 1, generator=generator)}

    def inner(self, params: dict[str, Tensor], hyper: Hyper, data: Tensor) -> Tensor:
        weights = hyper["weight"].exp().repeat_interleave(self.rows // self.groups, output_size=self.rows)
        return (weights * self._error(params, data)).mean() + 0.01 * params["w"].square().sum()

    def outer(self, params: dict[str, Tensor], hyper: Hyper, data: Tensor) -> Tensor:
        return self._error(params, data).mean()

    def _error(self, params: dict[str, Tensor], data: Tensor) -> Tensor:
        return (data @ params["w"] - 1).square().squeeze(1)


class Law(NamedTuple):
    """`action` of a size, the sizes, and the exponent that its work is to have, within `slack`."""

    action: Callable[[int], Action]
    sizes: Sequence[int]
    exponent: float
    slack: float = 0.1

    def measured(self) -> tuple[list[int], float]:
        counts = [Products.of(self.action(size)).operations for size in self.sizes]
        return counts, exponent(self.sizes, counts)


def weighted(groups: int) -> tuple[Weighted, dict[str, Tensor], Hyper, Tensor]:
    problem, generator = Weighted(groups), torch.Generator().manual_seed(0)
    hyper = {"weight": torch.zeros(1, groups)}
    return problem, initialise(problem, hyper, 0), hyper, torch.randn(problem.rows, problem.columns, generator=generator)


def all_sensitivities(groups: int) -> Action:
    """Distinct right-hand sides, each solved in four steps."""
    problem, params, hyper, data = weighted(groups)
    return lambda: sensitivities(problem, params, hyper, data, Implicit(CG(0.0, 4)))


def one_hypergradient(groups: int) -> Action:
    problem, params, hyper, data = weighted(groups)
    return lambda: hypergradients(problem, params, hyper, data, data, adjoint=Implicit(CG(0.0, 4)), throw=False)


def filters(points: int, features: int, hidden: int = 16) -> tuple[PolyFilter, dict[str, Tensor], Hyper]:
    problem = PolyFilter(7, num_features=features, hidden=hidden)
    hyper = stack([problem.space().relax(config) for config in problem.space().configs(points, 0)])
    return problem, initialise(problem, hyper, 0), hyper


def small_graph(nodes: int, features: int) -> GraphData:
    """Dense, every node in the loss."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(nodes, nodes, generator=generator)
    x = torch.randn(nodes, features, generator=generator)
    return GraphData(x, weights, torch.arange(nodes) % 7, torch.ones(nodes, dtype=torch.bool), 7).project()


def product(points: int = 4, nodes: int = 49, hidden: int = 16, features: int = 1433) -> Action:
    """One Hessian-vector product for each of `points`."""
    problem, params, hyper = filters(points, features, hidden)
    second = SecondOrder.at(problem, params, hyper, small_graph(nodes, features))
    return lambda: second.hessian(ravel(params))


def solve(terms: int) -> Action:
    problem, params, hyper = filters(2, 32)
    data = small_graph(49, 32)
    return lambda: hypergradients(problem, params, hyper, data, data, adjoint=Implicit(Neumann(terms, 1e-3)), throw=False)


def real_hypergradient(nodes: int) -> Action:
    """The total derivative on a graph of mean degree 6."""
    problem, params, hyper = filters(2, 32)
    val = load(f"synthetic:sbm,n={nodes},classes=7,features=32,degree=6,seed=0").splits.val
    slopes = {key: value.unsqueeze(1).expand(-1, 4, *value.shape[1:]) for key, value in params.items()}
    return lambda: total_derivative(problem, params, hyper, slopes, val)


LAWS: dict[str, Law] = {
    "Hessian-vector product, points": Law(lambda size: product(points=size), (2, 4, 8, 16), 1.0),
    "Hessian-vector product, parameters (width)": Law(lambda size: product(hidden=size), (8, 16, 32, 64), 1.0),
    "Hessian-vector product, nodes of S": Law(lambda size: product(nodes=size), (28, 49, 98, 196), 1.0, 0.25),
    "real hypergradient, n": Law(real_hypergradient, (500, 1000, 2000, 4000), 1.0),
    "hypergradient, Neumann terms": Law(solve, (10, 40, 160), 1.0, 0.15),
    "hypergradient, hyperparameters": Law(one_hypergradient, (2, 8, 32, 128), 0.0),
    "sensitivities, hyperparameters": Law(all_sensitivities, (2, 4, 8, 16), 1.0, 0.15),
}
"""The product is a sum of terms in |S| (features) and in |S|^2 (edges), so that its exponent lies between 1 and 2."""


def memory(counts: Sequence[int] = (10, 100, 1000)) -> dict[int, int]:
    """Most bytes alive during a hypergradient, by the number of Neumann terms."""
    return {terms: peak_bytes(solve(terms)) for terms in counts}


def main() -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, law in LAWS.items():
        counts, found = law.measured()
        sizes = ", ".join(map(str, law.sizes))
        rows.append({"work of, against": name, "sizes": sizes, "MFLOP": ", ".join(f"{count / 1e6:.3g}" for count in counts), "exponent": found})
    most = memory()
    keep("growth", COMMAND, rows, peak_bytes_by_terms=most)
    for terms, value in most.items():
        print(f"{terms} Neumann terms: {value / 2**20:.2f} MiB alive at most")


if __name__ == "__main__":
    main()
