"""Hypergradients held to closed forms, finite differences, unrolled differentiation and a dense twin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hcdc._tensors import expand, stack, take
from hcdc.bilevel import (
    CG,
    Direct,
    Implicit,
    LinearSolver,
    Neumann,
    Nystrom,
    Result,
    SecondOrder,
    Unrolled,
    check_dependence,
    hypergradient,
    hypergradients,
    initialise,
    sensitivities,
)
from hcdc.bilevel.adjoint import multiples
from hcdc.errors import ConvergenceError, InputError
from hcdc.models import PolyFilter
from tests.cases import INDEFINITE, POINTS, POSITIVE, SOLVERS, Point, Quadratic, Ridge, dense_graph, normal, ridge_point, smooth_point
from tests.reference import optimum, second_order
from tests.reference.second_order import flatten, unflatten

each_point = pytest.mark.parametrize("point", [make() for make in POINTS.values()], ids=POINTS)
each_solver = pytest.mark.parametrize(("solver", "tolerance"), SOLVERS.values(), ids=SOLVERS)
DAMPING = 3.0
"""Enough to make every Hessian of `POINTS` positive definite away from a minimum."""


@pytest.fixture(scope="module")
def minimum() -> Point:
    """`smooth_point` trained to rounding error."""
    point = smooth_point()
    return point._replace(params=optimum.minimise(point.problem, point.params, point.hyper, point.train))


@pytest.fixture(scope="module")
def differences(minimum: Point) -> tuple[Tensor, Tensor]:
    """(d outer / d lambda, d theta* / d lambda), retrained."""
    return optimum.central_differences(minimum.problem, minimum.params, *minimum[2:])


def quadratic(matrix: Tensor) -> Point:
    problem = Quadratic(matrix, normal(4, 2, seed=1))
    hyper = {"h": normal(2, seed=2)}
    return Point(problem, {"t": torch.linalg.solve(matrix, problem.b @ hyper["h"])}, hyper, None, None)


def found_at(point: Point, adjoint: Implicit | Unrolled) -> Tensor:
    return flatten(hypergradient(*point, adjoint=adjoint)[0])


@each_solver
@pytest.mark.parametrize("log_decay", [-4.0, -1.0, 1.0])
def test_ridge_in_closed_form(solver: LinearSolver, tolerance: float, log_decay: float) -> None:
    point = ridge_point(log_decay)
    weights, derivative = optimum.ridge(point.train.x, point.train.y, point.hyper["log_decay"].squeeze())
    error = point.val.x @ weights - point.val.y
    expected = (point.val.x.T @ error / len(error)) @ derivative
    found = found_at(point._replace(params={"w": weights}), Implicit(solver))
    torch.testing.assert_close(found.squeeze(), expected, rtol=10 * tolerance, atol=0)


def test_finite_differences_of_the_retrained_optimum(minimum: Point, differences: tuple[Tensor, Tensor]) -> None:
    expected, _ = differences
    torch.testing.assert_close(found_at(minimum, Implicit(Direct())), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found_at(minimum, Implicit(CG(1e-10, 200))), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_unrolled_from_a_minimum_is_neumann(minimum: Point, steps: int) -> None:
    lr = 0.3
    torch.testing.assert_close(
        found_at(minimum, Unrolled(steps, lr)), found_at(minimum, Implicit(Neumann(terms=steps - 1, scale=lr))), rtol=1e-9, atol=1e-12
    )


def test_unrolled_converges_to_implicit(minimum: Point) -> None:
    exact = found_at(minimum, Implicit(Direct()))
    errors = [(found_at(minimum, Unrolled(steps, lr=1.0)) - exact).norm() for steps in (2, 10, 80)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.2 * errors[0]


@each_point
@pytest.mark.parametrize("direct", [True, False])
def test_dense_twin_away_from_a_minimum(point: Point, direct: bool) -> None:
    expected = second_order.hypergradient(*point, damping=DAMPING, direct=direct)
    torch.testing.assert_close(found_at(point, Implicit(Direct(), DAMPING, direct)), expected, rtol=1e-7, atol=1e-10)


@each_solver
def test_every_solver_on_a_network(minimum: Point, solver: LinearSolver, tolerance: float) -> None:
    expected = second_order.hypergradient(*minimum, damping=0.05)
    error = found_at(minimum, Implicit(solver, damping=0.05)) - expected
    assert error.norm() / expected.norm() < 10 * tolerance


def test_damping_fades_the_indirect_term(minimum: Point) -> None:
    explicit = second_order.outer_gradients(minimum.problem, minimum.params, minimum.hyper, minimum.val)[1]
    distances = [(found_at(minimum, Implicit(Direct(), damping)) - explicit).norm() for damping in (0.0, 0.1, 10.0, 1e6)]
    assert distances[0] > distances[1] > distances[2] > distances[3]
    assert distances[3] < 1e-5 * distances[0]


def test_the_direct_term_is_zero_only_where_lambda_is_not_in_the_forward_pass(minimum: Point) -> None:
    whole, indirect = (hypergradient(*minimum, adjoint=Implicit(Direct(), direct=direct))[0] for direct in (True, False))
    assert torch.equal(whole["log_decay"], indirect["log_decay"])
    assert (whole["gate"] - indirect["gate"]).norm() > 1e-3


ADJOINTS: dict[str, Implicit | Unrolled] = {name: Implicit(solver, damping=0.1) for name, (solver, _) in SOLVERS.items()}
ADJOINTS |= {"unrolled": Unrolled(5), "few terms": Implicit(Neumann(terms=3, scale=0.1)), "low rank": Implicit(Nystrom(rank=5))}


@pytest.mark.parametrize("adjoint", ADJOINTS.values(), ids=ADJOINTS)
def test_a_batch_is_its_members(adjoint: Implicit | Unrolled) -> None:
    """At three starts of different curvature, indefinite ones among them."""
    points = [smooth_point(seed) for seed in range(3)]
    params = stack([p.params for p in points])
    hyper = stack([{k: v + 0.1 * i for k, v in p.hyper.items()} for i, p in enumerate(points)])
    together, solution = hypergradients(points[0].problem, params, hyper, *points[0][3:], adjoint=adjoint, throw=False)
    for i in range(3):
        alone, single = hypergradient(points[0].problem, take(params, i), take(hyper, i), *points[0][3:], adjoint=adjoint, throw=False)
        torch.testing.assert_close(take(together, i), alone, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(solution.residual[i], single.residual[0], rtol=1e-4, atol=1e-9)
        assert solution.result[i] == single.result[0]


@pytest.mark.parametrize("solver", [Direct(), Neumann(terms=4, scale=0.2), Nystrom(rank=6)], ids=["direct", "neumann", "nystrom"])
def test_sensitivities_contract_to_hypergradients(minimum: Point, solver: LinearSolver) -> None:
    """Solvers that are linear in b: (d theta / d lambda) grad_theta outer + direct term, for any validation loss."""
    adjoint = Implicit(solver, damping=0.01)
    found, solution = sensitivities(minimum.problem, expand(minimum.params, 1), expand(minimum.hyper, 1), minimum.train, adjoint)
    rows = torch.stack([flatten({key: value[0, j] for key, value in found.items()}) for j in range(4)])
    partial, explicit = second_order.outer_gradients(minimum.problem, minimum.params, minimum.hyper, minimum.val)
    torch.testing.assert_close(rows @ partial + explicit, found_at(minimum, adjoint))
    assert solution.x.shape == (1, 4, rows.shape[1])
    assert solution.residual.shape == solution.result.shape == (1, 4)


def test_sensitivities_are_those_of_the_retrained_optimum(minimum: Point, differences: tuple[Tensor, Tensor]) -> None:
    _, expected = differences
    params, hyper = expand(minimum.params, 2), expand(minimum.hyper, 2)
    found, solution = sensitivities(minimum.problem, params, hyper, minimum.train, Implicit(CG(1e-10, 200)))
    for member in range(2):
        for j in range(4):
            torch.testing.assert_close(flatten({k: v[member, j] for k, v in found.items()}), expected[j], rtol=1e-5, atol=1e-8)
    assert (solution.result == Result.SUCCESS).all()


@each_point
def test_products_are_those_of_the_dense_matrices(point: Point) -> None:
    hessian, mixed = second_order.hessian_and_mixed(point.problem, point.params, point.hyper, point.train)
    second = SecondOrder.at(point.problem, expand(point.params, 1), expand(point.hyper, 1), point.train, damping=0.2)
    v, u = normal(1, hessian.shape[0], seed=1), normal(1, mixed.shape[0], seed=2)
    torch.testing.assert_close(second.hessian(v), v @ hessian + 0.2 * v)
    torch.testing.assert_close(second.mixed(v), v @ mixed.T)
    torch.testing.assert_close(second.mixed_transposed(expand(unflatten(u[0], point.hyper), 1)), u @ mixed)


@each_point
def test_hessian_is_symmetric_and_mixed_adjoint(point: Point) -> None:
    """<u, H v> = <H u, v> and <u, M v> = <M^T u, v>, which need no reference at all."""
    second = SecondOrder.at(point.problem, expand(point.params, 1), expand(point.hyper, 1), point.train)
    size, coordinates = flatten(point.params).numel(), flatten(point.hyper).numel()
    v, w, u = normal(1, size, seed=1), normal(1, size, seed=2), normal(1, coordinates, seed=3)
    torch.testing.assert_close((w * second.hessian(v)).sum(), (second.hessian(w) * v).sum())
    transposed = second.mixed_transposed(expand(unflatten(u[0], point.hyper), 1))
    torch.testing.assert_close((u * second.mixed(v)).sum(), (transposed * v).sum())


@pytest.mark.parametrize("solver", [CG(), Nystrom(rank=4), Direct(), Neumann(terms=200)], ids=["cg", "nystrom", "direct", "neumann"])
@pytest.mark.parametrize("matrix", INDEFINITE.values(), ids=INDEFINITE)
def test_indefinite_hessians(solver: LinearSolver, matrix: Tensor) -> None:
    point, adjoint = quadratic(matrix), Implicit(solver)
    found, solution = hypergradient(*point, adjoint=adjoint, throw=False)
    assert solution.result.tolist() == [Result.NEGATIVE_CURVATURE]
    assert not solution.succeeded
    assert torch.isfinite(found["h"]).all()
    with pytest.raises(ConvergenceError, match=r"indefinite.*no minimum.*train longer or add `damping`"):
        hypergradient(*point, adjoint=adjoint)


@each_solver
def test_damping_mends_an_indefinite_hessian(solver: LinearSolver, tolerance: float) -> None:
    point = quadratic(INDEFINITE["one negative"])
    expected = second_order.hypergradient(*point, damping=2.0)
    torch.testing.assert_close(found_at(point, Implicit(solver, damping=2.0)), expected, rtol=10 * tolerance, atol=10 * tolerance)


def test_diverging_neumann_scale() -> None:
    point = quadratic(POSITIVE["spread"])
    _, solution = hypergradient(*point, adjoint=Implicit(Neumann(terms=100, scale=1.0)), throw=False)
    assert solution.result.tolist() == [Result.DIVERGED]
    with pytest.raises(ConvergenceError, match="lower `scale`"):
        hypergradient(*point, adjoint=Implicit(Neumann(terms=100, scale=1.0)))


def test_too_few_cg_steps() -> None:
    point = quadratic(POSITIVE["spread"])
    with pytest.raises(ConvergenceError, match=r"1 of 1 .*residual.*max_steps"):
        hypergradient(*point, adjoint=Implicit(CG(rtol=1e-9, max_steps=1)))


def test_diverging_unrolled_path() -> None:
    point, adjoint = quadratic(POSITIVE["spread"]), Unrolled(steps=200, lr=50.0)
    _, solution = hypergradient(*point, adjoint=adjoint, throw=False)
    assert solution.result.tolist() == [Result.DIVERGED]
    with pytest.raises(ConvergenceError):
        hypergradient(*point, adjoint=adjoint)


def test_a_member_that_fails_is_named_among_the_others() -> None:
    """One of two is trained where its Hessian is indefinite: the other keeps its answer."""
    good = smooth_point()
    params = stack([optimum.minimise(good.problem, good.params, good.hyper, good.train), {k: 5 * v for k, v in good.params.items()}])
    adjoint = Implicit(CG(1e-10, 200))
    found, solution = hypergradients(good.problem, params, expand(good.hyper, 2), good.train, good.val, adjoint=adjoint, throw=False)
    assert solution.result.tolist() == [Result.SUCCESS, Result.NEGATIVE_CURVATURE]
    torch.testing.assert_close(flatten(take(found, 0)), second_order.hypergradient(good.problem, take(params, 0), *good[2:]))
    with pytest.raises(ConvergenceError, match="1 of 2"):
        hypergradients(good.problem, params, expand(good.hyper, 2), good.train, good.val, adjoint=adjoint)


class Careless(Ridge):
    """Does not read all of its hyperparameters; `scale` reaches the outer loss alone."""

    def outer(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any) -> Tensor:
        return super().outer(params, hyper, data) * hyper.get("scale", torch.ones(())).exp().squeeze()

    def inner(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any) -> Tensor:
        return super().inner(params, {"log_decay": hyper["log_decay"]}, data)


@pytest.mark.parametrize("throw", [True, False])
@pytest.mark.parametrize("adjoint", [Implicit(), Unrolled()], ids=["implicit", "unrolled"])
def test_a_hyperparameter_in_neither_loss(adjoint: Implicit | Unrolled, throw: bool) -> None:
    point = ridge_point()
    hyper = point.hyper | {"lr": torch.ones(1, dtype=torch.float64), "momentum": torch.ones(1, dtype=torch.float64)}
    with pytest.raises(InputError, match=r"'lr', 'momentum'.*neither the training nor the validation loss"):
        hypergradient(Ridge(), point.params, hyper, point.train, point.val, adjoint=adjoint, throw=throw)


def test_a_hyperparameter_in_the_outer_loss_alone() -> None:
    """It has a hypergradient, all of it direct."""
    point = ridge_point()
    hyper = point.hyper | {"scale": torch.full((1,), 0.3, dtype=torch.float64)}
    check_dependence(Careless(), point.params, hyper, point.train, point.val)
    found, _ = hypergradient(Careless(), point.params, hyper, point.train, point.val, adjoint=Implicit(Direct()))
    torch.testing.assert_close(found["scale"].squeeze(), Careless().outer(point.params, hyper, point.val))


def test_the_graph_is_built_once_whatever_the_number_of_terms() -> None:
    """Memory does not grow with `terms`: the losses are evaluated as often for 100 terms as for 2."""

    class Counting(Ridge):
        calls = 0

        def inner(self, params: dict[str, Tensor], hyper: dict[str, Tensor], data: Any) -> Tensor:
            Counting.calls += 1
            return super().inner(params, hyper, data)

    def calls(adjoint: Implicit | Unrolled) -> int:
        Counting.calls = 0
        hypergradient(Counting(), *ridge_point()[1:], adjoint=adjoint)
        return Counting.calls

    assert calls(Implicit(Neumann(terms=2))) == calls(Implicit(Neumann(terms=100)))
    assert calls(Unrolled(steps=20)) > calls(Unrolled(steps=2)), "the count would not show growth"


def test_an_answer_holds_no_graph(minimum: Point) -> None:
    for adjoint in ADJOINTS.values():
        found, solution = hypergradient(*minimum, adjoint=adjoint, throw=False)
        assert not any(value.requires_grad for value in (*found.values(), solution.residual))


def test_multiples_are_found_within_rounding_and_in_every_member() -> None:
    a, b = normal(3, 50, seed=0).float(), normal(3, 50, seed=1).float()
    scale = torch.tensor([2.0, -1.0, 0.0]).unsqueeze(1)
    nearly = torch.where(torch.arange(3).unsqueeze(1) == 1, a + 1e-3 * b, a)
    first, factor = multiples(torch.stack([a, b, scale * a, torch.zeros_like(a), nearly, b * (1 + 1e-7)], 1))
    assert first == [0, 1, 0, 0, 4, 1]
    torch.testing.assert_close(factor[:, [2, 3]], torch.cat([scale, torch.zeros_like(scale)], 1))


def test_a_column_of_zeros_that_comes_first_is_solved_for_itself() -> None:
    zeros, a = torch.zeros(2, 5), normal(2, 5, seed=0).float()
    assert multiples(torch.stack([zeros, a], 1))[0] == [0, 1]


def test_coordinates_that_training_cannot_tell_apart_are_solved_once() -> None:
    """Without edges, all powers of the graph are one; the answer is that of a solve a coordinate."""
    bare = dense_graph().replace(adjacency=torch.zeros(8, 8))
    problem = PolyFilter(3, num_features=5, order=2)
    hyper = {"filter": normal(2, 3, seed=1).float()}
    params = initialise(problem, hyper, 0)
    adjoint = Implicit(CG(1e-6, 40), damping=1.0)
    found, solution = sensitivities(problem, params, hyper, bare, adjoint)
    second = SecondOrder.at(problem, params, hyper, bare, adjoint.damping)
    for j in range(3):
        tangent = {"filter": torch.eye(3)[j].expand(2, -1)}
        alone = adjoint.solver.solve(second.hessian, second.mixed_transposed(tangent))
        torch.testing.assert_close(solution.x[:, j], -alone.x, rtol=1e-3, atol=1e-5)
    assert solution.products == alone.products, "one solve, not three"
    assert found["w1"].shape == (2, 3, 5, 16)
