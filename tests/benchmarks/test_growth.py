"""Work grows as it is to, counted in operations; memory does not grow with the number of Neumann terms."""

from __future__ import annotations

import pytest
import torch

from benchmarks import growth
from benchmarks.measure import Products
from hcdc._tensors import stack
from hcdc.bilevel import Adam, fit, initialise
from hcdc.models import PolyFilter


@pytest.mark.parametrize("name", growth.LAWS)
def test_work_grows_as_it_is_to(name: str) -> None:
    law = growth.LAWS[name]
    counts, found = law.measured()
    assert min(counts) > 0
    assert abs(found - law.exponent) <= law.slack


def test_memory_is_flat_in_neumann_terms() -> None:
    few, many = growth.memory((5, 100)).values()
    assert few > 0
    assert many <= 1.02 * few


def test_products_are_counted() -> None:
    """Dense, batched, sparse, and a convolution with its backward pass."""
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert Products.of(lambda: a @ b).operations == 2 * 3 * 4 * 5
    assert Products.of(lambda: a.expand(2, 3, 4) @ b.expand(2, 4, 5)).operations == 2 * 2 * 3 * 4 * 5
    assert Products.of(lambda: torch.eye(4).to_sparse_csr() @ b).operations == 2 * 4 * 5
    x, w = torch.ones(2, 3, 6, 6), torch.ones(5, 3, 3, 3).requires_grad_()
    forward = 2 * (2 * 5 * 6 * 6) * (3 * 3 * 3)
    assert Products.of(lambda: torch.conv2d(x, w, padding=1)).operations == forward
    assert Products.of(lambda: torch.conv2d(x, w, padding=1).sum().backward()).operations == 2 * forward


def test_a_training_step_makes_the_products_that_it_cannot_avoid_and_no_others() -> None:
    """Once the powers of the graph; forward the filter, X W1, the filter times it, H W2, the filter times it; backward the
    last two filters again, and what W1, H and W2 need."""
    points, nodes, features, hidden, classes, order = 3, 14, 20, 8, 7, 3
    problem = PolyFilter(classes, num_features=features, hidden=hidden, order=order)
    hyper = stack([problem.space().relax(config) for config in problem.space().configs(points, 0)])
    data, start = growth.small_graph(nodes, features), initialise(problem, hyper, 0)
    counted = Products.of(lambda: fit(problem, hyper, data, Adam(1), seed=0, params=start)).operations
    layers = 2 * nodes * features * hidden * 2 + 2 * nodes * hidden * classes * 3
    filters = 2 * nodes * nodes * (order + 1) + 2 * nodes * nodes * (hidden + classes) * 2
    powers = 2 * nodes**3 * order
    assert counted == powers + points * (layers + filters)


def test_the_products_are_made_again() -> None:
    a = torch.randn(3, 3)
    seen = Products.of(lambda: (a @ a) @ a, keep=True)
    assert len(seen.calls) == 2
    with Products() as again:
        seen.again()
    assert again.operations == seen.operations
