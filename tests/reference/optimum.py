"""Training to rounding error, and derivatives of what was trained by finite differences."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.reference.second_order import Tensors, flatten, hessian_and_mixed, unflatten


def slope(problem: Any, params: Tensors, hyper: Tensors, data: Any) -> Tensor:
    theta = flatten(params)
    return torch.autograd.functional.jacobian(lambda t: problem.inner(unflatten(t, params), hyper, data), theta)


def minimise(problem: Any, params: Tensors, hyper: Tensors, data: Any) -> Tensors:
    """A minimum of inner near `params`: L-BFGS, then Newton until nothing changes; checked to be one."""
    theta = flatten(params).requires_grad_()
    search = torch.optim.LBFGS([theta], max_iter=500, tolerance_grad=1e-7, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        search.zero_grad()
        loss = problem.inner(unflatten(theta, params), hyper, data)
        loss.backward()
        return loss

    search.step(closure)
    found = unflatten(theta.detach(), params)
    for _ in range(4):
        hessian, _ = hessian_and_mixed(problem, found, hyper, data)
        step = torch.linalg.solve(hessian, slope(problem, found, hyper, data))
        found = unflatten(flatten(found) - step, params)
    assert slope(problem, found, hyper, data).norm() < 1e-12, "not stationary"
    assert torch.linalg.eigvalsh(hessian)[0] > 1e-6, "not a minimum"
    return found


def central_differences(problem: Any, optimum: Tensors, hyper: Tensors, train: Any, val: Any, step: float = 1e-4) -> tuple[Tensor, Tensor]:
    """(d outer / d lambda [k], d theta* / d lambda [k, P]), retraining at lambda +- step e_j."""
    values, thetas = [], []
    for j in range(flatten(hyper).numel()):
        ends = []
        for sign in (1, -1):
            moved = flatten(hyper).clone()
            moved[j] += sign * step
            point = unflatten(moved, hyper)
            found = minimise(problem, optimum, point, train)
            ends.append((problem.outer(found, point, val), flatten(found)))
        values.append((ends[0][0] - ends[1][0]) / (2 * step))
        thetas.append((ends[0][1] - ends[1][1]) / (2 * step))
    return torch.stack(values), torch.stack(thetas)


def ridge(x: Tensor, y: Tensor, log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """(w*, d w* / d log_decay) in closed form: w* = (x^T x / n + e^l I)^-1 x^T y / n."""
    decay = log_decay.exp()
    normal = x.T @ x / len(x) + decay * torch.eye(x.shape[1], dtype=x.dtype)
    weights = torch.linalg.solve(normal, x.T @ y / len(x))
    return weights, -torch.linalg.solve(normal, decay * weights)
