"""One machine to many: an engine that spreads pieces of work over the processes of a Ray cluster."""

from __future__ import annotations

import functools
import importlib
import io
import logging
import os
import pickle
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from hcdc.engine import Engine, local
from hcdc.errors import HcdcError, InputError, MissingExtraError
from hcdc.models import FAMILIES, Classifier, problem_from_card, problem_to_card
from hcdc.store import numerics

R = TypeVar("R")

RETRIES = 3
"""How often a piece is begun anew whose worker was lost."""

PATIENCE = 3.0
"""Seconds that a cluster may take to answer its address."""

PLAIN = {"hcdc", "torch", "numpy"} | sys.stdlib_module_names
"""Packages whose objects travel: every worker has them."""


@dataclass
class Ray:
    """An `Engine` that is open inside of `with`: a local cluster of `workers` processes, or the cluster at `address`.

    `workers` defaults to as many as the machine's cores hold at this process's number of torch threads. Every worker
    computes with that number of threads, since it decides the order of sums. A piece whose worker is lost is begun anew,
    `RETRIES` times at most, then `HcdcError` is raised. Problems travel as their cards and are rebuilt by
    `problem_from_card`; data, solvers and spaces as the tensors and numbers that they hold; a problem or a container of a
    class from elsewhere is refused with `InputError`, since a worker has no code for it.
    """

    address: str | None = None
    workers: int | None = None
    _sent: tuple[tuple[Any, ...], Any] | None = field(default=None, init=False, repr=False)
    _piece: Any = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise InputError("workers", self.workers, "must be at least 1", "leave it out to use the machine's cores")
        if self.workers is not None and self.address is not None:
            raise InputError("workers", self.workers, "is the size of a local cluster; the one at `address` has its own", "leave one of them out")

    def __enter__(self) -> Self:
        ray, threads = _ray(), torch.get_num_threads()
        if self.address is not None:
            _check_address(self.address)
        if ray.is_initialized():
            raise HcdcError("this process is connected to a Ray cluster already; leave it with ray.shutdown() first")
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            workers = self.workers or max(1, (os.cpu_count() or 1) // threads)
            ray.init("local", num_cpus=workers * threads, include_dashboard=False, **quiet)
        else:
            try:
                ray.init(self.address, **quiet)
            except (OSError, RuntimeError, ValueError) as error:
                raise InputError(
                    "address",
                    self.address,
                    f"is no Ray cluster that can be joined ({_line(error)})",
                    "look at `ray status`, and set RAY_AUTH_MODE and RAY_AUTH_TOKEN as there",
                ) from error
            self._check_size(ray, threads)
        self._piece = ray.remote(_piece).options(num_cpus=threads, max_retries=RETRIES)
        return self

    def __exit__(self, *error: object) -> None:
        self._sent, self._piece = None, None
        _ray().shutdown()

    def __reduce__(self) -> tuple[Callable[[], Engine], tuple[()]]:
        """An engine that travels inside of what it sends arrives as the plain loop."""
        return _arrived, ()

    def __call__(self, work: Callable[..., R], shared: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Iterator[R]:
        if self._piece is None:
            raise HcdcError("the engine is closed; use it inside of `with Ray(...) as engine:`")
        # In a list the reference is handed on as it is, so that a worker fetches what it points to once, not with every piece.
        pieces = [self._piece.remote([self._put(work, shared)], packed(dict(item))) for item in items]
        return (_answer(reference) for reference in pieces)

    def _put(self, work: Callable[..., Any], shared: Mapping[str, Any]) -> Any:
        """A reference to `work` and `shared` in the object store; what was sent last, the same objects, is not sent again."""
        parts = (work, *shared, *shared.values())
        if self._sent is None or len(parts) != len(self._sent[0]) or any(a is not b for a, b in zip(parts, self._sent[0], strict=True)):
            content = np.frombuffer(packed((work, dict(shared))), np.uint8)
            self._sent = parts, _ray().put((numerics(), torch.get_num_threads(), content))
        return self._sent[1]

    def _check_size(self, ray: Any, threads: int) -> None:
        largest = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=0)
        if largest < threads:
            ray.shutdown()
            rule = f"has no machine with the {threads} cores that a piece computes with here (at most {largest:.0f})"
            raise InputError("address", self.address, rule, f"set OMP_NUM_THREADS={max(1, int(largest))} or less")


def packed(value: Any) -> bytes:
    """`value` for another process: tensors and plain values, problems as their cards. `InputError` for a foreign class."""
    buffer = io.BytesIO()
    _Packer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


class _Packer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if isinstance(obj, Classifier) and kind in FAMILIES.values():
            return problem_from_card, (problem_to_card(obj),)
        if not isinstance(obj, type) and kind.__module__.partition(".")[0] not in PLAIN:
            rule = "is of a class that workers have no code for"
            raise InputError("engine", f"{kind.__module__}.{kind.__qualname__}", rule, "use a family that ships, or the local engine")
        if isinstance(obj, Tensor) and obj.layout == torch.strided and obj.untyped_storage().nbytes() > obj.nbytes:
            return obj.detach().clone().__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # a part of a tensor, without the rest of its memory
        return NotImplemented


def _piece(shared: list[Any], item: bytes) -> bytes:
    """What a worker does."""
    work, common = _opened(shared[0])
    return packed(work(**common, **pickle.loads(item)))


@functools.lru_cache(maxsize=1)
def _opened(reference: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """`work` and `shared`, fetched and rebuilt once in a worker."""
    versions, threads, content = _ray().get(reference)
    if versions != numerics():
        raise HcdcError(f"a worker on {platform.node()} has {numerics()}, this process {versions}; install the same on every machine")
    torch.set_num_threads(threads)
    return pickle.loads(content)


def _answer(reference: Any) -> Any:
    ray = _ray()
    try:
        return pickle.loads(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, HcdcError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        raise HcdcError(f"a piece was begun {RETRIES + 1} times and its worker lost each time ({type(error).__name__}): out of memory?") from error


def _check_address(address: str) -> None:
    """Raise `InputError` unless something answers at `address`, which Ray itself would wait for much longer."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError("address", address, "must be HOST:PORT, or ray://HOST:PORT from outside of the cluster", "see the last lines of `ray start`")
    try:
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError("address", address, f"nothing answers there ({_line(error)})", "start a cluster with `ray start --head`") from error


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _arrived() -> Engine:
    return local


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
