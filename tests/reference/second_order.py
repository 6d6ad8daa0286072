"""The implicit function theorem with H and M as matrices."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


def flatten(tensors: Tensors) -> Tensor:
    return torch.cat([value.reshape(-1) for value in tensors.values()])


def unflatten(flat: Tensor, like: Tensors) -> Tensors:
    out, start = {}, 0
    for key, value in like.items():
        out[key] = flat[start : start + value.numel()].reshape(value.shape)
        start += value.numel()
    return out


def hessian_and_mixed(problem: Any, params: Tensors, hyper: Tensors, data: Any) -> tuple[Tensor, Tensor]:
    """H [P, P] = grad^2_theta inner and M [k, P] = grad_lambda grad_theta inner, blocks of one Hessian in (theta, lambda)."""
    size = flatten(params).numel()

    def loss(joint: Tensor) -> Tensor:
        return problem.inner(unflatten(joint[:size], params), unflatten(joint[size:], hyper), data)

    whole = torch.autograd.functional.hessian(loss, torch.cat([flatten(params), flatten(hyper)]))
    return whole[:size, :size], whole[size:, :size]


def outer_gradients(problem: Any, params: Tensors, hyper: Tensors, data: Any) -> tuple[Tensor, Tensor]:
    """(grad_theta outer [P], grad_lambda outer [k])."""

    def loss(theta: Tensor, point: Tensor) -> Tensor:
        return problem.outer(unflatten(theta, params), unflatten(point, hyper), data)

    return torch.autograd.functional.jacobian(loss, (flatten(params), flatten(hyper)))


def hypergradient(problem: Any, params: Tensors, hyper: Tensors, train: Any, val: Any, damping: float = 0.0, direct: bool = True) -> Tensor:
    """[k]: direct - M (H + damping I)^-1 grad_theta outer."""
    hessian, mixed = hessian_and_mixed(problem, params, hyper, train)
    partial, explicit = outer_gradients(problem, params, hyper, val)
    indirect = mixed @ torch.linalg.solve(hessian + damping * torch.eye(len(hessian), dtype=hessian.dtype), partial)
    return explicit * direct - indirect
