"""What every command shares: where it works, and what it answers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

from hcdc.engine import Engine, local
from hcdc.errors import InputError

ENGINES = ("local", "ray")
DEVICES = ("cpu", "cuda", "auto")
NAMED = 8
"""Axes of a space that are listed for a person."""


class Answer(NamedTuple):
    """`facts` for --json, `lines` for a person; `good` is False where the command ends with exit code 2."""

    facts: dict[str, Any]
    lines: tuple[str, ...]
    good: bool = True


@dataclass(frozen=True)
class Where:
    """The arguments that say where the work is done."""

    engine: str = "local"
    address: str | None = None
    workers: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError("engine", self.engine, f"must be one of {', '.join(ENGINES)}", "choose one of these")
        for name in ("address", "workers"):
            if self.engine == "local" and getattr(self, name) is not None:
                raise InputError(name, getattr(self, name), "is for the ray engine", "add --engine ray, or leave it out")
        if self.device.partition(":")[0] not in DEVICES:
            raise InputError("device", self.device, f"must be one of {', '.join(DEVICES)}", "choose one of these")
        if self.engine != "local" and self.device != "cpu":
            raise InputError("device", self.device, f"is for the local engine; {self.engine} works on CPUs", "leave one of the two out")

    def need(self, spreads: bool, argument: str, value: str, remedy: str) -> None:
        """Refuse another engine than the local one for what has nothing to spread."""
        if self.engine != "local" and not spreads:
            raise InputError(argument, value, f"has no pieces that engine {self.engine} could spread", remedy)

    def doing(self, work: Callable[[], Answer]) -> Callable[[], Answer]:
        """`work` on the device."""

        def done() -> Answer:
            from hcdc._device import on

            with on(self.device):
                return work()

        return done

    @contextlib.contextmanager
    def opened(self) -> Generator[Engine]:
        """The engine, for as long as the context lasts; what Ray has to say of lost workers goes to stderr."""
        if self.engine == "local":
            yield local
            return
        from hcdc.integrations.ray import Ray

        with contextlib.redirect_stdout(sys.stderr), Ray(self.address, self.workers) as engine:
            yield engine


def few(names: Collection[str], between: str = ", ") -> str:
    """No more of the `names` than a line holds."""
    listed = list(names)
    return between.join(listed if len(listed) <= NAMED else [*listed[: NAMED - 1], f"and {len(listed) - NAMED + 1} more"])
