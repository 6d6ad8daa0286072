"""Where tensors are made: on the CPU, or inside `on` somewhere else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from hcdc.errors import InputError

FACTORIES: frozenset[Callable[..., Any]] = frozenset(
    (
        *(torch.arange, torch.as_tensor, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.tensor, torch.zeros),
        *(torch.rand, torch.randint, torch.randn, torch.randperm),
    )
)


class _Placed(TorchFunctionMode):
    """Factories make their tensors on `device`; what a generator of another device draws is moved there, but for a number."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func not in FACTORIES or given.get("device") is not None:
            return func(*args, **given)
        generator: torch.Generator | None = given.get("generator")
        if generator is None or generator.device == self.device:
            return func(*args, **given, device=self.device)
        drawn = func(*args, **given)
        return drawn.to(self.device) if drawn.ndim else drawn


@contextmanager
def on(device: str | torch.device) -> Generator[torch.device]:
    """Load, condense, train and judge on `device`; yields it.

    Data that are loaded, artefacts and checkpoints that are read and tensors that are made inside lie on
    `device`. Random numbers are drawn on the CPU, by generators of their own, and moved, so that a seed draws the same on
    every device; sums in another order round otherwise. "auto" is the GPU where there is one. Raises `InputError` for a
    device that is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = _known(device)
    current = torch.cuda.device(chosen) if chosen.type == "cuda" else nullcontext()  # whose streams are recorded
    with current, nullcontext() if chosen == here() else _Placed(chosen):
        yield chosen


def _known(device: str | torch.device) -> torch.device:
    """The device of that name, with its number; raises `InputError` where it holds no tensor."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        seen = f"{torch.cuda.device_count()} GPUs" if torch.cuda.is_available() else "no GPU"
        raise InputError("device", str(device), f"holds no tensors here; torch sees {seen}", "take cpu, cuda or auto") from error


def here() -> torch.device:
    """The device of `on`, the CPU outside."""
    return torch.empty(0).device
