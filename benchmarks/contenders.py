"""One hypergradient by `hcdc`, betty-ml, TorchOpt and higher: the same losses, the same linear solver, the same terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.problems import Case
from hcdc._tensors import ravel, take
from hcdc.bilevel import CG, Implicit, Neumann, hypergradients

PACKAGES = {"betty": "betty-ml", "torchopt": "TorchOpt", "higher": "higher"}
"""Modules and the names of their distributions."""


@dataclass(frozen=True)
class Terms:
    """`method` "neumann", `count` terms at `scale`, or "cg", `count` steps."""

    method: str
    count: int
    scale: float = 1.0


Contender = Callable[[Case, Terms], Callable[[], Tensor]]
"""Prepares a case of one point; the call it returns gives d outer / d lambda, flat, direct term included."""


def ours(case: Case, terms: Terms) -> Callable[[], Tensor]:
    """Of any number of points at once."""
    solver = Neumann(terms.count, terms.scale) if terms.method == "neumann" else CG(0.0, terms.count)

    def call() -> Tensor:
        return ravel(hypergradients(*case, adjoint=Implicit(solver), throw=False)[0])

    return call


class _Held(nn.Module):
    """The tensors of one point as the parameters of a module."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.names = list(tensors)
        self.held = nn.ParameterList(value.clone() for value in tensors.values())

    def dictionary(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.held, strict=True))


def betty(case: Case, terms: Terms) -> Callable[[], Tensor]:
    """What betty's `Problem.backward` computes: the gradient along the path outer -> inner -> outer, and the direct one."""
    from betty.configs import Config  # pyright: ignore[reportMissingImports]
    from betty.hypergradient import get_grads  # pyright: ignore[reportMissingImports]
    from betty.problems import ImplicitProblem  # pyright: ignore[reportMissingImports]

    problem, (params, hyper) = case.problem, (take(group, 0) for group in (case.params, case.hyper))
    settings: dict[str, Any] = {"type": terms.method}
    if terms.method == "neumann":
        settings |= {"neumann_iterations": terms.count, "neumann_alpha": terms.scale}
    else:
        settings |= {"cg_iterations": terms.count, "cg_alpha": 1.0}
    upper = ImplicitProblem("outer", Config(), module=_Held(hyper))

    class Inner(ImplicitProblem):
        def training_step(self, batch: Any) -> Tensor:
            return problem.inner(self.module.dictionary(), upper.module.dictionary(), batch)

    inner = Inner("inner", Config(**settings), module=_Held(params))
    inner.cur_batch = case.train

    def call() -> Tensor:
        loss = problem.outer(inner.module.dictionary(), upper.module.dictionary(), case.val)
        indirect = get_grads(loss, [upper, inner, upper], retain_graph=True)
        direct = torch.autograd.grad(loss, upper.trainable_parameters(), allow_unused=True)
        return torch.cat([(a if b is None else a + b).flatten() for a, b in zip(indirect, direct, strict=True)])

    return call


def torchopt(case: Case, terms: Terms) -> Callable[[], Tensor]:
    """`custom_root` around a solver that returns the parameters it is given."""
    from torchopt import linear_solve  # pyright: ignore[reportMissingImports]
    from torchopt.diff.implicit import custom_root  # pyright: ignore[reportMissingImports]

    problem, (params, hyper) = case.problem, (take(group, 0) for group in (case.params, case.hyper))
    if terms.method == "neumann":
        solve = linear_solve.solve_inv(ns=True, maxiter=terms.count, alpha=terms.scale)
    else:
        solve = linear_solve.solve_cg(maxiter=terms.count, rtol=0.0, atol=0.0)

    def optimality(theta: tuple[Tensor, ...], *point: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(hyper, point, strict=True))
        slope = torch.func.grad(lambda p: problem.inner(p, named, case.train))(dict(zip(params, theta, strict=True)))
        return tuple(slope.values())

    @custom_root(optimality, argnums=tuple(range(1, 1 + len(hyper))), solve=solve)
    def root(theta: tuple[Tensor, ...], *point: Tensor) -> tuple[Tensor, ...]:
        return theta

    start = tuple(params.values())

    def call() -> Tensor:
        leaves = {key: value.clone().requires_grad_() for key, value in hyper.items()}
        theta = root(start, *leaves.values())
        loss = problem.outer(dict(zip(params, theta, strict=True)), leaves, case.val)
        return torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, list(leaves.values()))])

    return call


def higher(case: Case, terms: Terms) -> Callable[[], Tensor]:
    """Unrolled: one step of gradient descent more than there are terms, which from a minimum is the same sum."""
    import higher as package  # pyright: ignore[reportMissingImports]

    if terms.method != "neumann":
        raise NotImplementedError("higher unrolls; it has no conjugate gradients")
    problem, (params, hyper) = case.problem, (take(group, 0) for group in (case.params, case.hyper))
    module = _Held(params)
    optimiser = torch.optim.SGD(module.parameters(), lr=terms.scale)

    def call() -> Tensor:
        leaves = {key: value.clone().requires_grad_() for key, value in hyper.items()}
        with package.innerloop_ctx(module, optimiser, copy_initial_weights=True) as (fast, step):
            for _ in range(terms.count + 1):
                step.step(problem.inner(dict(zip(params, fast.parameters(), strict=True)), leaves, case.train))
            loss = problem.outer(dict(zip(params, fast.parameters(), strict=True)), leaves, case.val)
            return torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, list(leaves.values()))])

    return call


def contenders(method: str) -> dict[str, Contender]:
    """Those that are installed and have `method`, by name and version; `hcdc` first."""
    known: dict[str, Contender] = {"betty": betty, "torchopt": torchopt, **({"higher": higher} if method == "neumann" else {})}
    others = {f"{PACKAGES[name]} {version(PACKAGES[name])}": contender for name, contender in known.items() if find_spec(name)}
    return {"hcdc": ours, **others}
