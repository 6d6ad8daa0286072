"""Hypergradients: the gradient of the validation criterion at the trained parameters, with respect to lambda."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, vmap

from hcdc._tensors import as_leaves, expand, ravel, take, unravel
from hcdc._typing import Hyper, Params
from hcdc.bilevel.linear import CG, LinearSolution, LinearSolver, Result
from hcdc.bilevel.problem import Bilevel
from hcdc.bilevel.second_order import SecondOrder, gradients, read
from hcdc.errors import ConvergenceError, InputError


@dataclass(frozen=True)
class Implicit:
    """d outer / d lambda = -M (H + damping I)^-1 grad_theta outer + grad_lambda outer  (Eq. (IFT) of the paper).

    H = grad^2_theta inner and M = grad_lambda grad_theta inner. The second, *direct* term vanishes only where lambda
    reaches the validation loss through theta alone; architecture weights and filter coefficients also enter the
    forward pass, so it is kept unless `direct=False` drops it, as the paper does.
    """

    solver: LinearSolver = field(default_factory=CG)
    damping: float = 0.0
    direct: bool = True


@dataclass(frozen=True)
class Unrolled:
    """Differentiate through `steps` steps of gradient descent at `lr` on the inner objective, from the given params.

    From a minimum this equals `Implicit(Neumann(terms=steps - 1, scale=lr))`; memory grows with `steps`.
    """

    steps: int = 20
    lr: float = 0.1


class Solution(NamedTuple):
    """How the hypergradients of a batch were found: `residual` [B] and `result` [B] (codes of `Result`) of the linear
    systems, and the number of Hessian-vector products that each of them took."""

    residual: Tensor
    result: Tensor
    products: int

    @property
    def succeeded(self) -> bool:
        return bool((self.result == Result.SUCCESS).all())


def hypergradient(
    problem: Bilevel, params: Params, hyper: Hyper, train: Any, val: Any, *, adjoint: Implicit | Unrolled, throw: bool = True
) -> tuple[Hyper, Solution]:
    """Hypergradient at one point; see `hypergradients`, of which this is the case B = 1."""
    found, solution = hypergradients(problem, expand(params, 1), expand(hyper, 1), train, val, adjoint=adjoint, throw=throw)
    return take(found, 0), solution


def hypergradients(
    problem: Bilevel, params: Params, hyper: Hyper, train: Any, val: Any, *, adjoint: Implicit | Unrolled, throw: bool = True
) -> tuple[Hyper, Solution]:
    """Hypergradients at B points at once, for batched `params` and `hyper`.

    With `throw`, a linear system that did not succeed, or an unrolled path that left the finite numbers, raises
    `ConvergenceError`; without, its code is in the `Solution` and its best iterate in the answer. A hyperparameter that
    enters neither loss raises `InputError` either way: the learning rate and other settings of the optimiser have no
    hypergradient at the optimum.
    """
    if isinstance(adjoint, Unrolled):
        check_dependence(problem, take(params, 0), take(hyper, 0), train, val)
        total, solution = _unrolled(problem, params, hyper, train, val, adjoint)
    else:
        total, solution = _implicit(problem, params, hyper, train, val, adjoint)
    if throw:
        _throw_unless_solved(solution)
    return total, solution


def sensitivities(problem: Bilevel, params: Params, hyper: Hyper, train: Any, adjoint: Implicit) -> tuple[Params, LinearSolution]:
    """d theta*/d lambda_j = -(H + damping I)^-1 M^T e_j for every coordinate j of lambda.

    Returns a dictionary of tensors [B, k, ...], k the number of coordinates, and the solution of the B k systems.
    One solve a coordinate, but for those whose right-hand side is a multiple of another's: on a graph without edges, all
    powers of it are one. Every hypergradient of whatever validation loss is then a product with these.
    """
    flat = ravel(hyper)
    size, coordinates = flat.shape
    second = SecondOrder.at(problem, params, hyper, train, adjoint.damping)
    tangents = torch.eye(coordinates, dtype=flat.dtype, device=flat.device).unsqueeze(1).expand(-1, size, -1)
    rights = torch.stack([second.mixed_transposed(unravel(tangent, hyper)) for tangent in tangents], 1)
    first, factor = multiples(rights)
    solved = {j: adjoint.solver.solve(second.hessian, rights[:, j]) for j in sorted(set(first))}
    solutions = [solved[j] for j in first]
    stacked = torch.stack([-factor[:, j : j + 1] * found.x for j, found in enumerate(solutions)], 1)
    shapes = {key: value[0].shape for key, value in params.items()}
    parts = stacked.split([shape.numel() for shape in shapes.values()], 2)
    out = {key: part.reshape(size, coordinates, *shape) for (key, shape), part in zip(shapes.items(), parts, strict=True)}
    residual = torch.stack([s.residual for s in solutions], 1)
    result = torch.stack([s.result for s in solutions], 1)
    return out, LinearSolution(stacked, residual, result, sum(s.products for s in solved.values()))


def multiples(columns: Tensor) -> tuple[list[int], Tensor]:
    """Which of `columns` [B, k, P] are multiples of an earlier one, within rounding and in every member.

    (first, factor [B, k]): column j is factor_j times column first_j, which is j and 1 where there is none. A column of
    zeros is a multiple of any.
    """
    gram, rounding = columns @ columns.mT, 100 * torch.finfo(columns.dtype).eps
    squares = gram.diagonal(dim1=1, dim2=2)
    first, factor = list(range(columns.shape[1])), torch.ones_like(squares)
    for j in range(1, len(first)):
        for i in sorted(set(first[:j])):
            ratio = gram[:, i, j] / squares[:, i].clamp_min(torch.finfo(columns.dtype).tiny)
            aligned = gram[:, i, j].square() >= (1 - rounding) * squares[:, i] * squares[:, j]
            if bool(aligned.all()) and bool(_within(columns[:, j] - ratio.unsqueeze(1) * columns[:, i], columns[:, j], rounding)):
                first[j], factor[:, j] = i, ratio
                break
    return first, factor


def _within(difference: Tensor, value: Tensor, share: float) -> Tensor:
    return (difference.norm(dim=1) <= share * value.norm(dim=1)).all()


def check_dependence(problem: Bilevel, params: Params, hyper: Hyper, train: Any, val: Any) -> None:
    """Raise `InputError` for a hyperparameter that reaches neither the inner nor the outer loss."""
    leaves = as_leaves(hyper)
    with torch.enable_grad():
        total = problem.inner(params, leaves, train) + problem.outer(params, leaves, val)
    _check_read(hyper, read(total, leaves))


def _check_read(hyper: Hyper, found: frozenset[str]) -> None:
    unused = [key for key in hyper if key not in found]
    if unused:
        rule = "enters neither the training nor the validation loss, so its hypergradient does not exist"
        remedy = "leave settings of the optimiser (learning rate, batch size) out of the space, or use it in the loss"
        raise InputError("space", unused, rule, remedy)


def _implicit(problem: Bilevel, params: Params, hyper: Hyper, train: Any, val: Any, adjoint: Implicit) -> tuple[Hyper, Solution]:
    with torch.no_grad():
        outer = gradients(lambda p, h: problem.outer(p, h, val), params, hyper)
    second = SecondOrder.at(problem, params, hyper, train, adjoint.damping)
    _check_read(hyper, outer.read | second.read)
    found = adjoint.solver.solve(second.hessian, ravel(outer.params))
    indirect = unravel(second.mixed(found.x), hyper)
    total = {key: (outer.hyper[key] if adjoint.direct else 0.0) - indirect[key] for key in hyper}
    return total, Solution(found.residual, found.result, found.products)


def _unrolled(problem: Bilevel, params: Params, hyper: Hyper, train: Any, val: Any, adjoint: Unrolled) -> tuple[Hyper, Solution]:
    def objective(start: Params, point: Hyper) -> Tensor:
        current = start
        for _ in range(adjoint.steps):
            slope = grad(lambda p: problem.inner(p, point, train))(current)
            current = {key: current[key] - adjoint.lr * slope[key] for key in current}
        return problem.outer(current, point, val)

    found = vmap(grad(objective, argnums=1))(params, hyper)
    flat = ravel(found)
    finite = torch.isfinite(flat).all(1)
    result = torch.where(finite, int(Result.SUCCESS), int(Result.DIVERGED))
    return found, Solution(torch.zeros_like(flat[:, 0]), result, adjoint.steps)


def _throw_unless_solved(found: Solution) -> None:
    if not found.succeeded:
        worst, residual = Result(int(found.result.max())), float(found.residual.max())
        count = int((found.result != Result.SUCCESS).sum())
        raise ConvergenceError(f"{count} of {found.result.numel()} hypergradients failed (residual {residual:.2g}): {worst.message}")
