"""Where independent pieces of work are done: here, one after the other, or wherever another engine sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

R = TypeVar("R")


class Engine(Protocol):
    """Yields work(**shared, **item) for every item, in the order of the items.

    `work` is a pure function of a module, so that a piece may be done anywhere, and twice where its first worker was
    lost. `shared` is what all pieces need, sent to a worker once. The pieces are the same whatever the engine is, so that
    its choice changes no bit of the answer.
    """

    def __call__(self, work: Callable[..., R], shared: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Iterator[R]: ...


def local(work: Callable[..., R], shared: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> Iterator[R]:
    """The plain loop: each piece is done when its answer is asked for."""
    return (work(**shared, **item) for item in items)
