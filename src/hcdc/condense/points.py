"""Points (theta, lambda) at which hypergradients are to agree, with all that does not depend on S_val."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hcdc._tensors import TensorDict, batch_size, concatenate, ravel, take, under, unravel
from hcdc._typing import Hyper, Params
from hcdc.bilevel import (
    CG,
    MEMORY,
    Bilevel,
    Implicit,
    Spanned,
    gradients_of,
    hypergradients,
    judged,
    readings,
    sensitivities,
    together,
    within,
)
from hcdc.condense.task import Task
from hcdc.data import GraphData
from hcdc.errors import ConvergenceError

RealGradient = Literal["path", "synthetic", "trained"]


@dataclass(frozen=True)
class Points:
    """B points: `params` and `hyper` batched, `sensitivity` d theta^S/d lambda as tensors [B, k, ...], `target` [B, k]
    the real hypergradient g_T, `loss` [B] the real validation loss and `accuracy` [B] the real validation accuracy, NaN
    where the problem has none. Of a parameter that has an orthonormal Q in `basis`, which is that of all points,
    `sensitivity` holds the coordinates, Q^T d theta^S/d lambda, of what lies in its span (`Spanned`)."""

    params: Params
    hyper: Hyper
    sensitivity: Params
    target: Tensor
    loss: Tensor
    accuracy: Tensor
    basis: Params = field(default_factory=dict)

    @property
    def count(self) -> int:
        return int(self.loss.shape[0])

    def take(self, index: Tensor | slice) -> Points:
        parts = (take(self.params, index), take(self.hyper, index), take(self.sensitivity, index))
        return Points(*parts, self.target[index], self.loss[index], self.accuracy[index], self.basis)

    def sound(self, step: int) -> Points:
        """The points that are finite throughout; `ConvergenceError` with `step` and the tensors at fault where none is."""
        finite = {name: torch.isfinite(value.flatten(1) if value.ndim > 1 else value.unsqueeze(1)).all(1) for name, value in self.members().items()}
        del finite["accuracy"]
        kept = torch.stack(list(finite.values())).all(0)
        if bool(kept.all()):
            return self
        if not bool(kept.any()):
            broken = ", ".join(name for name, members in finite.items() if not bool(members.all()))
            rule = f"step {step}: none of {self.count} points is finite, in {broken}"
            raise ConvergenceError(f"{rule}; training on S_train diverges: check the scale of the features, or lower the rate of the inner solver")
        return self.take(kept.nonzero().squeeze(1))

    def members(self) -> TensorDict:
        """All that has a row a point, under flat names."""
        groups = {"params": self.params, "hyper": self.hyper, "sensitivity": self.sensitivity}
        out = {f"{group}.{key}": value for group, tensors in groups.items() for key, value in tensors.items()}
        return out | {"target": self.target, "loss": self.loss, "accuracy": self.accuracy}

    def tensors(self) -> TensorDict:
        """Flat names, for a checkpoint; `from_tensors` is the inverse."""
        return self.members() | {f"basis.{key}": value for key, value in self.basis.items()}

    @classmethod
    def from_tensors(cls, tensors: TensorDict) -> Points:
        groups = under(tensors, "params."), under(tensors, "hyper."), under(tensors, "sensitivity.")
        return cls(*groups, tensors["target"], tensors["loss"], tensors["accuracy"], under(tensors, "basis."))

    @classmethod
    def join(cls, parts: list[Points]) -> Points:
        """In the basis of the first: another machine may have found another one of the same span."""
        basis = parts[0].basis
        return replace(cls.from_tensors(concatenate([part.rebased(basis).members() for part in parts])), basis=basis)

    def rebased(self, basis: Params) -> Points:
        """The same points in another `basis` of the same span."""
        if all(torch.equal(basis[name], mine) for name, mine in self.basis.items()):
            return self
        rotated = {name: basis[name].mT @ (self.basis[name] @ value) if name in basis else value for name, value in self.sensitivity.items()}
        return replace(self, sensitivity=rotated, basis=basis)

    def slope(self, problem: Bilevel, val: Any, direct: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """`total_derivative` of all points on `val`."""
        return total_derivative(problem, self.params, self.hyper, self.sensitivity, val, direct, self.basis)


@dataclass(frozen=True)
class Measure:
    """How the two hypergradients of a point are computed.

    `synthetic` solves the systems of d theta^S/d lambda on S_train. `real` says which real hypergradient is the target:
    "path", the total derivative of the real validation criterion along theta^S(lambda); "synthetic", Eq. (IFT) with the
    real training loss at theta^S, as Algorithm 1 is printed; "trained", the same at theta^T, fully trained on the real
    data for every point. `direct=False` drops the direct terms of both, as the paper does. `real_batch` bounds the
    number of real validation images looked at by a call; on a graph, `neighbours` bounds how many of a node's neighbours
    a product with the graph reads, drawn anew in every call (`GraphData.thinned`). As many points are measured at once
    as `memory` bytes hold. `gradients_of` says whose hypergradients are compared, those of the validation loss or of the
    problem's own criterion, which may be another (`docs/ablations.md`). `values` says whose real loss and accuracy are
    matched: those of the models trained on S_train, or of models trained on the real data as a configuration is there,
    one more full training a point, since no S_val can mend what S_train does not show.
    """

    synthetic: Implicit = Implicit(CG(1e-2, 15), damping=1e-3)
    real: RealGradient = "path"
    real_solver: Implicit = Implicit(CG(1e-2, 10), damping=1e-3)
    direct: bool = True
    real_batch: int | None = 2048
    neighbours: int | None = None
    memory: int = MEMORY
    gradients_of: Literal["loss", "criterion"] = "loss"
    values: Literal["synthetic", "trained"] = "synthetic"

    def aligned(self, problem: Bilevel) -> Bilevel:
        """The problem whose hypergradients are compared: `problem`, or under `gradients_of="loss"` the same with the loss
        for its criterion."""
        return read_by(problem, "loss") if self.gradients_of == "loss" else problem

    def __call__(self, task: Task, train: Any, params: Params, hyper: Hyper, seed: int) -> Points:
        """Measure the batch (`params`, `hyper`) trained on the synthetic `train`."""
        problem, val = task.condensed.problem, self.real_val(task, seed)
        narrower, coordinates, data, basis = narrowed(problem, params, train)
        sensitivity, _ = sensitivities(narrower, coordinates, hyper, data, self.synthetic)
        parts: list[Points] = []
        for part in together(problem, val, batch_size(hyper), self.memory):
            some, point, slopes = take(params, part), take(hyper, part), take(sensitivity, part)
            with torch.no_grad():
                target, found = total_derivative(self.aligned(problem), some, point, slopes, val, self.direct, basis)
            if self.values == "trained":
                trained = task.full.fit(point, task.real.train, seed=task.seed + seed)
                with torch.no_grad():
                    found = readings(problem, trained, point, val)
            if self.real != "path":
                target = self._implicit(task, some, point, val, seed)
            accuracy = found.get("accuracy", torch.full_like(found["loss"], float("nan")))
            parts.append(Points(some, point, slopes, target, found["loss"], accuracy, basis))
        return Points.join(parts)

    def _implicit(self, task: Task, params: Params, hyper: Hyper, val: Any, seed: int) -> Tensor:
        """Eq. (IFT) with the real training loss, that of the full recipe, and the criterion read on S [B, k], at `params` or at
        parameters trained on the real data."""
        at = params if self.real == "synthetic" else task.full.fit(hyper, task.real.train, seed=task.seed + seed)
        adjoint = Implicit(self.real_solver.solver, self.real_solver.damping, self.direct)
        problem = read_by(task.full.problem, getattr(self.aligned(task.condensed.problem), "criterion", "loss"))
        found, _ = hypergradients(problem, at, hyper, task.real.train, val, adjoint=adjoint, throw=False)
        return ravel(found)

    def real_val(self, task: Task, seed: int) -> Any:
        """The real validation data that a call with `seed` looks at."""
        val, generator = task.real.val, task.generator(seed, 5)
        if isinstance(val, GraphData):
            return val if self.neighbours is None else val.thinned(self.neighbours, generator)
        if self.real_batch is None or val.size <= self.real_batch:
            return val
        return val.take(torch.randperm(val.size, generator=generator)[: self.real_batch])


def read_by(problem: Bilevel, criterion: str) -> Bilevel:
    """`problem` with `criterion` for its own; as it is where that is its own, or it has none and reads the loss."""
    known: Any = problem
    return problem if getattr(problem, "criterion", "loss") == criterion else replace(known, criterion=criterion)


def narrowed(problem: Bilevel, params: Params, train: Any) -> tuple[Bilevel, Params, Any, Params]:
    """(problem, parameters, data, basis) of which d theta/d lambda is solved for: what is given and {}, or, where the problem is
    `Spanned`, the same in the coordinates of the span of `train`, which are far fewer."""
    narrow = problem.spanned(train) if isinstance(problem, Spanned) else None
    if narrow is None:
        return problem, params, train, {}
    narrower, data, basis = narrow
    return narrower, within(params, basis), data, basis


def total_derivative(
    problem: Bilevel, params: Params, hyper: Hyper, sensitivity: Params, val: Any, direct: bool = True, basis: Params | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """(d/d lambda of outer(theta(lambda), lambda, val) [B, k], what is `judged` of the models on `val`, each [B]), given
    d theta/d lambda, of the parameters in `basis` its coordinates.

    (d theta/d lambda)^T grad_theta outer + grad_lambda outer: linear in the validation gradients, so its derivative with
    respect to tensors of `val` needs no third derivatives and no further solve. Where gradients are disabled it cannot be
    differentiated again, and keeps no more memory alive than one gradient.
    """
    slopes, read = gradients_of("criterion", lambda p, h: judged(problem, p, h, val), params, hyper)
    explicit, size = ravel(slopes.hyper), batch_size(hyper)
    total = explicit if direct else torch.zeros_like(explicit)
    for key, slope in within(slopes.params, basis or {}).items():
        total = total + torch.einsum("bkp,bp->bk", sensitivity[key].reshape(size, total.shape[1], -1), slope.reshape(size, -1))
    return total, read


def descend(task: Task, hyper: Hyper, gradient: Tensor, rate: float) -> Hyper:
    """One normalised step of `rate` down `gradient` [B, k], back onto the relaxed space."""
    length = gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return task.space.project(unravel(ravel(hyper) - rate * gradient / length, hyper))
