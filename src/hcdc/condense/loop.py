"""The one outer loop that every condenser runs in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from hcdc.bilevel import Adam, Recipe
from hcdc.condense.task import Condenser, Task
from hcdc.errors import FormatError, HcdcError
from hcdc.models import Classifier, problem_from_card, problem_to_card
from hcdc.store import (
    Card,
    Checkpoint,
    Condensed,
    DataCard,
    hardware,
    library_versions,
    space_to_card,
)

Callback = Callable[[int, int, dict[str, float]], None]
"""Called after each step with (steps done, steps in all, metrics)."""

RECORDS = 200


def condense(method: Condenser, task: Task, data: DataCard, *, checkpoint: Checkpoint | None = None, callbacks: Sequence[Callback] = ()) -> Condensed:
    """Run `method` on `task` to its end; resume from `checkpoint` where it holds a state.

    The result does not depend on whether, where and how often the run was interrupted. `seconds` in its card counts
    all of the time spent, that before an interruption included. Raises `HcdcError` for a checkpoint of another run.
    """
    total, identity = method.length(), _identity(method, task, data)
    state, done, spent, history = None, 0, 0.0, list[dict[str, float]]()
    if checkpoint is not None and checkpoint.exists:
        done, state, facts = checkpoint.load()
        if facts.get("identity") != identity:
            raise HcdcError(f"{checkpoint.folder} belongs to a run with other arguments; repeat them, or choose another --out")
        spent, history = float(facts["seconds"]), list(facts["history"])
    began = time.perf_counter()
    state = method.init(task) if state is None else state
    for number in range(done, total):
        state, metrics = method.step(task, state, number)
        if metrics and (number % max(1, total // RECORDS) == 0 or number == total - 1):
            history.append({"step": float(number), **{key: value for key, value in metrics.items() if math.isfinite(value)}})
        for callback in callbacks:
            callback(number + 1, total, metrics)
        if checkpoint is not None and checkpoint.due():
            seconds = spent + time.perf_counter() - began
            checkpoint.save(number + 1, state, {"identity": identity, "seconds": seconds, "history": history})
    train, val = method.extract(task, state)
    seconds = spent + time.perf_counter() - began
    return Condensed(train, val, _card(method, task, data, history, seconds, total))


def _card(method: Condenser, task: Task, data: DataCard, history: list[dict[str, float]], seconds: float, total: int) -> Card:
    return Card(
        method=method.name,
        settings=_settings(method),
        seed=task.seed,
        steps=total,
        data=data,
        recipes={"condensed": recipe_to_card(task.condensed), "full": recipe_to_card(task.full)},
        space=space_to_card(task.space),
        sizes=task.budget._asdict(),
        history=history,
        seconds=seconds,
        versions=library_versions(),
        hardware=hardware(),
    )


def _settings(method: Any) -> dict[str, Any]:
    """The dataclass as nested dictionaries, each with the name of its type, so that a card tells one driver from another."""

    def named(value: Any) -> Any:
        if hasattr(value, "__dataclass_fields__"):
            fields = {key: named(getattr(value, key)) for key in value.__dataclass_fields__}
            return {"type": type(value).__name__, **fields}
        return list(value) if isinstance(value, tuple) else value

    return named(method)


def _identity(method: Condenser, task: Task, data: DataCard) -> dict[str, Any]:
    """What a checkpoint must agree in, as JSON gives it back: lists for tuples."""
    facts = {"method": _settings(method), "budget": list(task.budget), "seed": task.seed, "space": space_to_card(task.space),
             "recipes": [repr(task.condensed), repr(task.full)], "data": data.sha256}  # fmt: skip
    return json.loads(json.dumps(facts))


def recipe_to_card(recipe: Recipe) -> dict[str, Any]:
    problem = recipe.problem
    known = problem_to_card(problem) if isinstance(problem, Classifier) else {"family": type(problem).__qualname__}
    return {"problem": known, "solver": asdict(recipe.solver)}


def recipe_from_card(card: dict[str, Any]) -> Recipe:
    """Inverse of `recipe_to_card` for the families that ship; raises `FormatError` for another."""
    try:
        return Recipe(problem_from_card(card["problem"]), Adam(**card["solver"]))
    except (KeyError, TypeError) as error:
        raise FormatError(f"field `recipes`: {error} is not known to this version") from error
