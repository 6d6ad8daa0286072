"""Linear solvers against `torch.linalg.solve`, and their codes where there is nothing to solve."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hcdc.bilevel import CG, Direct, LinearSolver, Neumann, Nystrom, Result, largest_eigenvalue
from tests.cases import INDEFINITE, POSITIVE, SINGULAR, SOLVERS, normal, symmetric

ALL = {**POSITIVE, **INDEFINITE, **SINGULAR}
ROBUST = {name: solver for name, (solver, _) in SOLVERS.items()} | {"neumann, given scale": Neumann(terms=5, scale=0.1)}
each_solver = pytest.mark.parametrize("solver", ROBUST.values(), ids=ROBUST)


def products(*matrices: Tensor) -> Callable[[Tensor], Tensor]:
    """One matrix a system."""
    stacked = torch.stack(matrices)
    return lambda v: torch.einsum("bij,bj->bi", stacked, v)


@pytest.mark.parametrize(("solver", "tolerance"), SOLVERS.values(), ids=SOLVERS)
def test_solves_positive_systems(solver: LinearSolver, tolerance: float) -> None:
    b = normal(len(POSITIVE), 4, seed=5)
    found = solver.solve(products(*POSITIVE.values()), b)
    expected = torch.stack([torch.linalg.solve(a, row) for a, row in zip(POSITIVE.values(), b, strict=True)])
    assert ((found.x - expected).norm(dim=1) / expected.norm(dim=1)).max() < tolerance
    assert found.result.tolist() == [Result.SUCCESS] * len(POSITIVE)


@each_solver
@pytest.mark.parametrize("matrix", ALL.values(), ids=ALL)
def test_residual_is_that_of_the_answer(solver: LinearSolver, matrix: Tensor) -> None:
    """Whatever happened: ||b - H x|| / ||b|| of the x returned, and all of it finite; of a Neumann series that no term of
    which grew, of the sum without its last term."""
    b = normal(1, 4, seed=6)
    found = solver.solve(products(matrix), b)
    assert torch.isfinite(found.x).all()
    x = found.x
    if isinstance(solver, Neumann) and found.result[0] == Result.SUCCESS:
        x = replace(solver, terms=solver.terms - 1).solve(products(matrix), b).x
    torch.testing.assert_close(found.residual, (b - x @ matrix).norm(dim=1) / b.norm(dim=1), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("solver", [CG(), Nystrom(rank=4), Direct(), Neumann(terms=200)], ids=["cg", "nystrom", "direct", "neumann"])
@pytest.mark.parametrize("matrix", INDEFINITE.values(), ids=INDEFINITE)
def test_indefinite_systems_are_reported(solver: LinearSolver, matrix: Tensor) -> None:
    found = solver.solve(products(matrix), normal(3, 4, seed=7))
    assert found.result.tolist() == [Result.NEGATIVE_CURVATURE] * 3
    assert torch.isfinite(found.x).all()


def test_cg_keeps_what_it_solved_before_negative_curvature() -> None:
    """b lies in a positive eigenspace but for a little: one good step, then the negative direction is met."""
    matrix = torch.diag(torch.tensor([2.0, -1.0], dtype=torch.float64))
    b = torch.tensor([[1.0, 0.1]], dtype=torch.float64)
    found = CG(rtol=1e-9).solve(products(matrix), b)
    first_step = b * (b.square().sum() / (b @ matrix @ b.T).squeeze())
    torch.testing.assert_close(found.x, first_step)
    assert found.result.tolist() == [Result.NEGATIVE_CURVATURE]


def test_cg_takes_b_where_the_first_direction_is_negative() -> None:
    b = normal(1, 4, seed=8)
    found = CG().solve(products(INDEFINITE["negative definite"]), b)
    assert torch.equal(found.x, b)
    assert found.products == 1


@each_solver
def test_one_broken_system_leaves_the_others_alone(solver: LinearSolver) -> None:
    broken = torch.full((4, 4), float("nan"), dtype=torch.float64)
    b = normal(4, 4, seed=9)
    good, negative, zero = POSITIVE["spread"], INDEFINITE["one negative"], SINGULAR["zero"]
    together = solver.solve(products(good, broken, negative, zero), b)
    for index, matrix in ((0, good), (2, negative), (3, zero)):
        alone = solver.solve(products(matrix), b[index : index + 1])
        torch.testing.assert_close(together.x[index], alone.x[0])
        assert together.result[index] == alone.result[0]
    assert together.result[1] == Result.DIVERGED


def test_cg_keeps_what_it_had_when_products_stop_being_numbers() -> None:
    calls = 0

    def failing(v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return v @ POSITIVE["spread"] if calls == 1 else torch.full_like(v, float("nan"))

    b = normal(1, 4, seed=20)
    found = CG(max_steps=5).solve(failing, b)
    assert torch.equal(found.x, CG(max_steps=1).solve(products(POSITIVE["spread"]), b).x)
    assert found.result.tolist() == [Result.DIVERGED]


@each_solver
def test_a_right_hand_side_of_nan_is_no_success(solver: LinearSolver) -> None:
    found = solver.solve(products(POSITIVE["spread"]), torch.full((1, 4), float("nan"), dtype=torch.float64))
    assert found.result.tolist() == [Result.DIVERGED]


@each_solver
def test_zero_right_hand_side(solver: LinearSolver) -> None:
    found = solver.solve(products(POSITIVE["spread"], INDEFINITE["one negative"]), torch.zeros(2, 4, dtype=torch.float64))
    assert torch.equal(found.x, torch.zeros_like(found.x))
    assert found.residual.tolist() == [0, 0]
    assert found.result[0] == Result.SUCCESS


@each_solver
def test_products_are_counted(solver: LinearSolver) -> None:
    calls = 0

    def counting(v: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return v @ POSITIVE["spread"]

    found = solver.solve(counting, normal(1, 4, seed=10))
    assert found.products == calls


@pytest.mark.parametrize("matrix", [*POSITIVE.values(), *INDEFINITE.values()])
@pytest.mark.parametrize("terms", [0, 1, 4])
def test_neumann_is_its_partial_sum(matrix: Tensor, terms: int) -> None:
    scale, b = 1 / torch.linalg.matrix_norm(matrix, 2), normal(1, 4, seed=11)
    step = torch.eye(4, dtype=torch.float64) - scale * matrix
    expected = scale * sum((b @ torch.linalg.matrix_power(step, j) for j in range(terms + 1)), torch.zeros_like(b))
    found = Neumann(terms=terms, scale=float(scale)).solve(products(matrix), b)
    if found.result[0] == Result.SUCCESS:
        torch.testing.assert_close(found.x, expected)
    else:
        assert torch.linalg.eigvalsh(matrix)[0] < 0, "a positive definite system was given up"


def test_neumann_stops_where_a_given_scale_is_too_large() -> None:
    """Eigenvalues 0.5 and 4 under scale 0.6: |1 - 2.4| > 1, so the series would grow as 1.4^terms."""
    b = torch.ones(2, 2, dtype=torch.float64)
    matrices = torch.diag(torch.tensor([0.5, 4.0], dtype=torch.float64)), torch.eye(2, dtype=torch.float64)
    found = Neumann(terms=300, scale=0.6).solve(products(*matrices), b)
    assert found.result.tolist() == [Result.DIVERGED, Result.SUCCESS]
    assert found.x[0].norm() < 10
    torch.testing.assert_close(found.x[1], b[1])


def test_neumann_memory_does_not_depend_on_terms() -> None:
    """The number of products alive at once; a solver that kept its terms would hold one more a term."""

    def peak(terms: int) -> int:
        alive: list[weakref.ref[Tensor]] = []
        most = 0

        def watching(v: Tensor) -> Tensor:
            nonlocal most
            out = v @ POSITIVE["spread"]
            alive.append(weakref.ref(out))
            most = max(most, sum(ref() is not None for ref in alive))
            return out

        gc.collect()
        Neumann(terms=terms, scale=0.1).solve(watching, normal(1, 4, seed=12))
        return most

    assert peak(3) == peak(60) <= 3


def test_neumann_estimates_a_scale_that_converges() -> None:
    """Over systems of very different sizes, without being told any of them."""
    matrices = [size * symmetric((0.5, 1.0, 1.9, 2.0), seed=seed) for seed, size in enumerate((1e-6, 1e-2, 1.0, 1e6))]
    b = normal(4, 4, seed=13)
    found = Neumann(terms=400).solve(products(*matrices), b)
    expected = torch.stack([torch.linalg.solve(a, row) for a, row in zip(matrices, b, strict=True)])
    assert ((found.x - expected).norm(dim=1) / expected.norm(dim=1)).max() < 1e-9


def test_cg_needs_one_step_a_distinct_eigenvalue() -> None:
    matrix = symmetric((1.0, 1.0, 1.0, 5.0, 5.0, 9.0))
    found = CG(rtol=1e-10, max_steps=50).solve(products(matrix), normal(1, 6, seed=14))
    assert found.products == 3
    assert found.result.tolist() == [Result.SUCCESS]


def test_cg_says_when_its_steps_ran_out() -> None:
    matrices = symmetric((0.001, 0.1, 10.0, 1000.0)), torch.eye(4, dtype=torch.float64)
    found = CG(rtol=1e-10, max_steps=2).solve(products(*matrices), normal(2, 4, seed=15))
    assert found.result.tolist() == [Result.MAX_STEPS, Result.SUCCESS]
    assert found.residual[0] > 1e-10


def test_cg_stops_at_rtol() -> None:
    matrix = symmetric(tuple(torch.logspace(-2, 2, 30, dtype=torch.float64).tolist()))
    b = normal(1, 30, seed=16)
    loose, tight = (CG(rtol, max_steps=500).solve(products(matrix), b) for rtol in (1e-1, 1e-8))
    assert loose.products < tight.products
    assert loose.residual[0] <= 1e-1
    assert tight.residual[0] <= 1e-8


def test_nystrom_of_full_rank_is_the_damped_inverse() -> None:
    matrix, b, rho = POSITIVE["spread"], normal(1, 4, seed=17), 0.3
    found = Nystrom(rank=4, rho=rho).solve(products(matrix), b)
    torch.testing.assert_close(found.x[0], torch.linalg.solve(matrix + rho * torch.eye(4, dtype=torch.float64), b[0]))


def test_nystrom_is_exact_on_a_matrix_of_its_rank() -> None:
    matrix = symmetric((0.0,) * 17 + (1.0, 3.0, 10.0))
    b, rho = normal(1, 20, seed=18), 0.1
    damped = matrix + rho * torch.eye(20, dtype=torch.float64)
    enough, short = (Nystrom(rank, rho).solve(products(matrix), b).x[0] for rank in (3, 2))
    torch.testing.assert_close(enough, torch.linalg.solve(damped, b[0]))
    assert (short - enough).norm() > 1e-2 * enough.norm()


def test_direct_reports_a_singular_matrix() -> None:
    found = Direct().solve(products(*SINGULAR.values()), normal(2, 4, seed=19))
    assert found.result.tolist() == [Result.NEGATIVE_CURVATURE] * 2
    assert torch.isfinite(found.x).all()


def test_largest_eigenvalue_approaches_from_below() -> None:
    matrices = [*POSITIVE.values(), *INDEFINITE.values()]
    like = torch.zeros(len(matrices), 4, dtype=torch.float64)
    top = torch.stack([torch.linalg.eigvalsh(a).abs().max() for a in matrices])
    few, many = (largest_eigenvalue(products(*matrices), like, steps) for steps in (3, 300))
    assert (few <= top * (1 + 1e-9)).all()
    torch.testing.assert_close(many, top, rtol=1e-4, atol=0)


def test_every_code_has_a_message_and_trouble_a_remedy() -> None:
    for code in Result:
        assert code.message
    for code in set(Result) - {Result.SUCCESS}:
        assert "damping" in code.message


def test_cg_stays_where_nothing_is_left_of_the_residual() -> None:
    """In float32, on numbers whose squares underflow."""
    b = (1e-12 * normal(2, 6, seed=21)).float()
    matrix = torch.diag(torch.linspace(0.5, 2, 6))
    found = CG(rtol=0.0, max_steps=60).solve(lambda v: v @ matrix, b)
    torch.testing.assert_close(found.x, b / matrix.diag(), rtol=1e-4, atol=0)
    assert found.result.tolist() == [Result.SUCCESS] * 2
