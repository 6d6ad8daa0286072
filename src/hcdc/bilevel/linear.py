"""Solvers for H x = b with a symmetric H known by its products only, many systems at once.

Every solver takes `product`: [B, P] -> [B, P] (one Hessian-vector product a system) and `b` [B, P], and returns a
`LinearSolution`; trouble is a value there, one code a system, with a message of cause and remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

Product: TypeAlias = Callable[[Tensor], Tensor]


class Result(IntEnum):
    """How one system ended."""

    SUCCESS = 0
    MAX_STEPS = 1
    NEGATIVE_CURVATURE = 2
    DIVERGED = 3

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Result.SUCCESS: "solved",
    Result.MAX_STEPS: "the residual is above `rtol` after `max_steps` products; raise either, or add `damping`",
    Result.NEGATIVE_CURVATURE: "the Hessian is indefinite, the parameters are no minimum yet; train longer or add `damping`",
    Result.DIVERGED: "the iteration grew or left the finite numbers; lower `scale` (`lr` if unrolled), add `damping`, or train longer",
}


class LinearSolution(NamedTuple):
    """`x` [B, P]; `residual` [B], ||b - H x|| / ||b||; `result` [B], codes of `Result`; `products`, how many were taken."""

    x: Tensor
    residual: Tensor
    result: Tensor
    products: int


class LinearSolver(Protocol):
    def solve(self, product: Product, b: Tensor) -> LinearSolution: ...


@dataclass(frozen=True)
class Neumann:
    """x = scale * sum_{j=0}^{terms} (I - scale H)^j b (Lorraine et al. 2020, with the step that makes it converge).

    Converges to H^-1 b for 0 < scale < 2 / lambda_max(H) and H positive definite; `terms=0` is the identity times
    `scale`. With `scale=None` each system takes 1 / lambda_max from `power_steps` power iterations. Memory does not
    depend on `terms`. A system whose term grows has an eigenvalue below 0 or above 2 / scale: its sum stops there,
    with `NEGATIVE_CURVATURE` where the step was estimated, `DIVERGED` where it was given. The norm of the terms of a
    symmetric H is log-convex: what grows once grows at the last term too, so that only this one is looked at, and the
    sum is taken again, term by term, where it did.

    Each term is the residual of the sum of those before it. `residual` is thus had for nothing, of the sum without its last
    term, unless one grew; that of the whole would cost one product more.
    """

    terms: int = 20
    scale: float | None = None
    power_steps: int = 8

    def solve(self, product: Product, b: Tensor) -> LinearSolution:
        scale, used = self._scale(product, b)
        step, before, term, total = scale.unsqueeze(1), b, b, b.clone()
        for _ in range(self.terms):
            before, term = term, torch.addcmul(term, step, product(term), value=-1)
            total += term
        alive, used = _shrinks(before, term), used + self.terms
        if not bool(alive.all()):
            total, alive = self._stopped(product, b, step)
            term, used = b - product(step * total), used + self.terms + 1
        trouble = Result.NEGATIVE_CURVATURE if self.scale is None else Result.DIVERGED
        result = torch.where(alive.squeeze(1), int(Result.SUCCESS), int(trouble))
        return _ended(step * total, term, b, result, used)

    def _stopped(self, product: Product, b: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """(the sum, each system's up to where its term grows; whether none did [B, 1])."""
        term, total, alive = b, b.clone(), torch.ones_like(b[:, :1], dtype=torch.bool)
        for _ in range(self.terms):
            before, term = term, torch.addcmul(term, step, product(term), value=-1)
            alive = alive & _shrinks(before, term)
            term = torch.where(alive, term, 0.0)
            total += term
        return total, alive

    def _scale(self, product: Product, b: Tensor) -> tuple[Tensor, int]:
        if self.scale is not None:
            return torch.full_like(b[:, 0], self.scale), 0
        top = largest_eigenvalue(product, b, self.power_steps)
        return torch.where(top > 0, 1 / (1.05 * top), 1.0), self.power_steps


@dataclass(frozen=True)
class CG:
    """Conjugate gradients, stopped a system at `rtol`, at `max_steps`, or where p^T H p <= 0 (Steihaug 1983).

    A system that meets negative curvature keeps the iterate reached before it, which solves H x = b on the subspace
    where H was seen to be positive; if that is the first direction, x = b. Curvature that rounding cannot tell from 0
    counts as negative: on a singular H the next step would be of any length. A residual whose square is no normal number
    any more is as good as 0.
    """

    rtol: float = 1e-3
    max_steps: int = 50

    def solve(self, product: Product, b: Tensor) -> LinearSolution:
        x, residual, direction = torch.zeros_like(b), b, b
        rho = b.square().sum(1)
        stop = (self.rtol**2 * rho).clamp_min(torch.finfo(b.dtype).tiny)
        result = torch.full_like(rho, int(Result.MAX_STEPS), dtype=torch.long)
        active, top = rho > 0, torch.zeros_like(rho)
        result = torch.where(active, result, int(Result.SUCCESS))
        steps = 0
        while steps < self.max_steps and bool(active.any()):
            image = product(direction)
            curvature, length = (direction * image).sum(1), direction.norm(dim=1)
            top = torch.maximum(top, torch.where(active, image.norm(dim=1) / length, 0.0))
            broken = active & ~torch.isfinite(curvature)
            negative = active & (curvature <= torch.finfo(b.dtype).eps * top * length.square())
            result = torch.where(negative, int(Result.NEGATIVE_CURVATURE), torch.where(broken, int(Result.DIVERGED), result))
            if steps == 0:
                x = torch.where(negative.unsqueeze(1), b, x)
                residual = torch.where(negative.unsqueeze(1), b - image, residual)
            active = active & ~negative & ~broken
            image = torch.where(active.unsqueeze(1), image, 0.0)
            alpha = torch.where(active, rho / curvature, 0.0).unsqueeze(1)
            x, residual = x + alpha * direction, residual - alpha * image
            fresh = residual.square().sum(1)
            done = active & (fresh <= stop)
            result = torch.where(done, int(Result.SUCCESS), result)
            active = active & ~done
            direction = residual + torch.where(active, fresh / rho, 0.0).unsqueeze(1) * direction
            rho = torch.where(active, fresh, rho)
            steps += 1
        return _ended(x, residual, b, result, steps)


@dataclass(frozen=True)
class Nystrom:
    """(rho I + Y (Omega^T Y)^-1 Y^T)^-1 b, Y = H Omega: a Gaussian sketch of rank `rank` (after Hataya and Yamada 2023).

    Good where H has a few large eigenvalues and the rest near `rho`; solved by the Woodbury identity in `rank` products.
    Directions in which the sketch is not positive are dropped and reported as `NEGATIVE_CURVATURE`.
    """

    rank: int = 20
    rho: float = 1e-2
    seed: int = 0

    def solve(self, product: Product, b: Tensor) -> LinearSolution:
        generator = torch.Generator().manual_seed(self.seed)
        rank = min(self.rank, b.shape[1])
        sketch = torch.linalg.qr(torch.randn(b.shape[1], rank, generator=generator, dtype=b.dtype).to(b.device)).Q
        images = torch.stack([product(column.expand_as(b)) for column in sketch.T], 2)
        core = torch.einsum("pr,bps->brs", sketch, images)
        values, vectors = torch.linalg.eigh(_finite((core + core.mT) / 2))
        keep = values > 1e-6 * values.abs().amax(1, keepdim=True)
        weights = torch.where(keep, values.clamp_min(1e-30).rsqrt(), 0.0)
        factor = images @ (vectors * weights.unsqueeze(1))
        inside = self.rho * torch.eye(rank, dtype=b.dtype, device=b.device) + factor.mT @ factor
        within, _ = torch.linalg.solve_ex(inside, factor.mT @ b.unsqueeze(2))
        x = (b.unsqueeze(2) - factor @ within).squeeze(2) / self.rho
        negative = (values < -1e-6 * values.abs().amax(1, keepdim=True)).any(1)
        result = torch.where(negative, int(Result.NEGATIVE_CURVATURE), int(Result.SUCCESS))
        return _solution(x, product, b, result, rank + 1)


@dataclass(frozen=True)
class Direct:
    """The whole matrix by P products and an LU solve: for small P, and the answer that others are held to.

    A singular system is reported as `NEGATIVE_CURVATURE`, with x = 0.
    """

    def solve(self, product: Product, b: Tensor) -> LinearSolution:
        basis = torch.eye(b.shape[1], dtype=b.dtype, device=b.device)
        matrix = torch.stack([product(row.expand_as(b)) for row in basis], 2)
        solved, singular = torch.linalg.solve_ex(matrix, b.unsqueeze(2))
        x = torch.where(singular.unsqueeze(1) != 0, 0.0, solved.squeeze(2))
        negative = torch.linalg.eigvalsh(_finite((matrix + matrix.mT) / 2))[:, 0] <= 0
        result = torch.where(negative | (singular != 0), int(Result.NEGATIVE_CURVATURE), int(Result.SUCCESS))
        return _solution(x, product, b, result, b.shape[1] + 1)


def largest_eigenvalue(product: Product, like: Tensor, steps: int, seed: int = 0) -> Tensor:
    """|lambda|_max of each system [B] by `steps` power iterations from a random start; approaches it from below."""
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(like.shape[1], generator=generator, dtype=like.dtype).to(like.device).expand_as(like)
    top = torch.ones_like(like[:, 0])
    for _ in range(steps):
        vector = product(vector / vector.norm(dim=1, keepdim=True).clamp_min(1e-30))
        top = vector.norm(dim=1)
    return top


def _shrinks(before: Tensor, after: Tensor) -> Tensor:
    """Whether the norm of each system's term does not grow beyond rounding, nor leaves the finite numbers: [B, 1]."""
    old, new = (torch.linalg.vector_norm(term, dim=1, keepdim=True) for term in (before, after))
    return (new <= 1.0001 * old) & torch.isfinite(new)


def _solution(x: Tensor, product: Product, b: Tensor, result: Tensor, products: int) -> LinearSolution:
    return _ended(x, b - product(x), b, result, products)


def _ended(x: Tensor, residual: Tensor, b: Tensor, result: Tensor, products: int) -> LinearSolution:
    """With `DIVERGED` for every system that left the finite numbers; `residual` is [B, P]."""
    relative = residual.norm(dim=1) / b.norm(dim=1).clamp_min(1e-30)
    finite = torch.isfinite(x).all(1) & torch.isfinite(relative)
    return LinearSolution(x, relative, torch.where(finite, result, int(Result.DIVERGED)), products)


def _finite(matrix: Tensor) -> Tensor:
    """What `eigh` can take: it raises on NaN, where a code is wanted."""
    return torch.nan_to_num(matrix, posinf=0.0, neginf=0.0)
