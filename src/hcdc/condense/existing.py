"""A training set that is there already, as a condenser of no steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hcdc.condense.task import Task
from hcdc.errors import InputError
from hcdc.store import Condensed, Groups


@dataclass(frozen=True)
class Existing:
    """The training set of an artefact, whatever method made it; a card names that method and the hash of its tensors."""

    method: str
    fingerprint: str
    data: Any = field(repr=False, compare=False, metadata={"card": False})

    @classmethod
    def of(cls, condensed: Condensed) -> Existing:
        return cls(condensed.card.method, condensed.fingerprint(), condensed.train)

    @property
    def name(self) -> str:
        return self.method

    def length(self) -> int:
        return 0

    def init(self, task: Task) -> Groups:
        if type(self.data) is not type(task.real.train) or self.data.x.shape[1:] != task.real.train.x.shape[1:]:
            shapes = f"{list(self.data.x.shape[1:])} an example, the data has {list(task.real.train.x.shape[1:])}"
            raise InputError("train-from", self.method, f"must be made of the same data: it has {shapes}", "choose an artefact of this data")
        if self.data.size != task.budget.train:
            raise InputError("size", task.budget.train, f"the artefact to train on has {self.data.size} examples", "ask for as many")
        return {"train": self.data.tensors()}

    def step(self, task: Task, state: Groups, number: int) -> tuple[Groups, dict[str, float]]:
        return state, {}

    def extract(self, task: Task, state: Groups) -> tuple[Any, Any]:
        """S_train of the artefact, and the whole real validation part, which whoever wants one replaces."""
        return task.real.train.replace(**state["train"]), task.real.val
