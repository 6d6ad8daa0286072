"""Algebra on dictionaries of tensors: the few operations that `torch` lacks.

A *batched* dictionary has one more leading dimension in every tensor, the same size B in all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

TensorDict = dict[str, Tensor]
V = TypeVar("V")


def stack(items: Sequence[Mapping[str, Tensor]]) -> TensorDict:
    """B dictionaries of the same keys -> one batched dictionary."""
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def concatenate(items: Sequence[Mapping[str, Tensor]]) -> TensorDict:
    """Batched dictionaries -> one, their batches one after the other."""
    return {key: torch.cat([item[key] for item in items]) for key in items[0]}


def take(batch: Mapping[str, Tensor], index: int | slice | Tensor) -> TensorDict:
    """The members `index` of a batched dictionary; a tensor holds their numbers."""
    if isinstance(index, Tensor):  # whole members are copied, in half the time of value[index]
        return {key: value.index_select(0, index) for key, value in batch.items()}
    return {key: value[index] for key, value in batch.items()}


def expand(item: Mapping[str, Tensor], size: int) -> TensorDict:
    """One dictionary -> a batch of `size` copies of its own memory."""
    return {key: value.unsqueeze(0).repeat(size, *[1] * value.ndim) for key, value in item.items()}


def as_leaves(tensors: Mapping[str, Tensor]) -> TensorDict:
    """The same memory, as leaves by which can be differentiated."""
    return {name: value.detach().requires_grad_() for name, value in tensors.items()}


def batch_size(batch: Mapping[str, Tensor]) -> int:
    """B of a batched dictionary."""
    return next(iter(batch.values())).shape[0]


def ravel(batch: Mapping[str, Tensor]) -> Tensor:
    """Batched dictionary -> [B, P], keys in their own order."""
    size = batch_size(batch)
    return torch.cat([value.reshape(size, -1) for value in batch.values()], 1)


def unravel(flat: Tensor, like: Mapping[str, Tensor]) -> TensorDict:
    """[B, P] -> the batched dictionary whose keys and shapes are those of `like`; inverse of `ravel`."""
    parts = flat.split([value[0].numel() for value in like.values()], 1)
    return {key: part.reshape(value.shape) for (key, value), part in zip(like.items(), parts, strict=True)}


def simplex(value: Tensor) -> Tensor:
    """Euclidean projection of the last dimension onto the probability simplex (Duchi et al. 2008, Figure 1).

    Taken relative to the largest entry, which changes nothing but rounding; NaN stays NaN.
    """
    value = value - value.amax(-1, keepdim=True)
    ordered = value.sort(-1, descending=True).values
    excess = (ordered.cumsum(-1) - 1) / torch.arange(1, value.shape[-1] + 1, device=value.device)
    active = ((ordered > excess).sum(-1, keepdim=True) - 1).clamp_min(0)
    return (value - excess.gather(-1, active)).clamp_min(0)


def largest(value: Tensor) -> float:
    """The largest magnitude, 0 of nothing, NaN where there is one; without a copy, which matters where there are gigabytes."""
    return max(abs(float(end)) for end in value.aminmax()) if value.numel() else 0.0


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes: the identity of data on disk and in memory."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda pair: pair[0]):
        value = tensor.detach().cpu().contiguous()
        total.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        total.update(value.numpy().data)
    return total.hexdigest()


def has_memory(value: Tensor) -> bool:
    """False for what `torch.func` hands around inside of a transform: it must not outlive it, and its numbers are not known."""
    try:
        return bool(value.data_ptr())
    except RuntimeError:
        return False


def generator_for(seed: int, *salts: int) -> torch.Generator:
    """A generator that depends on `seed` and `salts` alone, so that a resumed run draws what it would have drawn."""
    mixed = 0x9E3779B97F4A7C15
    for salt in (seed, *salts):
        mixed = ((mixed ^ (salt + 0x7F4A7C15)) * 0xBF58476D1CE4E5B9) % 2**63
    return torch.Generator().manual_seed(mixed)


def under(tensors: Mapping[str, V], prefix: str) -> dict[str, V]:
    """What is named `prefix` and something, by that something."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
