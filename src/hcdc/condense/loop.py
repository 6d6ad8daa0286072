"""The one outer loop that every condenser runs in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from pydantic import TypeAdapter

from hcdc.bilevel import SGD, Adam, Recipe, Solver
from hcdc.condense.optimise import not_finite
from hcdc.condense.task import Callback, Condenser, Task
from hcdc.errors import ConvergenceError, FormatError, HcdcError, InputError
from hcdc.models import Classifier, ModuleProblem, problem_from_card, problem_to_card
from hcdc.store import (
    Card,
    Checkpoint,
    Condensed,
    DataCard,
    hardware,
    library_versions,
    numerics,
    space_to_card,
)

RECORDS = 200
SOLVERS: dict[str, type[Solver]] = {"Adam": Adam, "SGD": SGD}


def condense(method: Condenser, task: Task, data: DataCard, *, checkpoint: Checkpoint | None = None, callbacks: Sequence[Callback] = ()) -> Condensed:
    """Run `method` on `task` to its end; resume from `checkpoint` where it holds a state.

    The result does not depend on whether, where and how often the run was interrupted. `seconds` in its card counts
    all of the time spent, that before an interruption included. A `KeyboardInterrupt` says how many steps are kept. Raises
    `HcdcError` for a checkpoint of another run.
    """
    total, identity = method.length(), {} if checkpoint is None else _identity(method, task, data)
    state, done, spent, history = None, 0, 0.0, list[dict[str, float]]()
    if checkpoint is not None and checkpoint.exists:
        done, state, facts = checkpoint.load()
        if facts.get("identity") != identity:
            known: dict[str, Any] = facts.get("identity") or {}
            differing = ", ".join(name for name, value in identity.items() if known.get(name) != value)
            raise HcdcError(f"{checkpoint.folder} belongs to a run with other arguments ({differing}); repeat them, or choose another folder")
        spent, history = float(facts["seconds"]), list(facts["history"])
    began, kept = time.perf_counter(), done
    state = method.init(task) if state is None else state
    try:
        for number in range(done, total):
            state, metrics = method.step(task, state, number)
            if metrics and (number % max(1, total // RECORDS) == 0 or number == total - 1):
                history.append({"step": float(number), **{key: value for key, value in metrics.items() if math.isfinite(value)}})
            for callback in callbacks:
                callback(number + 1, total, metrics)
            if checkpoint is not None and checkpoint.due():
                seconds = spent + time.perf_counter() - began
                checkpoint.save(number + 1, state, {"identity": identity, "seconds": seconds, "history": history})
                kept = number + 1
    except KeyboardInterrupt as interrupt:
        if checkpoint is not None:
            interrupt.args = (f"{kept} of {total} steps are kept",)
        raise
    train, val = method.extract(task, state)
    _check_finite(method, total, train=train, val=val)
    seconds = spent + time.perf_counter() - began
    return Condensed(train, val, _card(method, task, data, history, seconds, total))


def _check_finite(method: Condenser, total: int, **parts: Any) -> None:
    """What is not finite could be saved, but not loaded again."""
    broken = [f"{name}.{key}" for name, data in parts.items() for key in not_finite(data.learnable())]
    if broken:
        raise ConvergenceError(f"{method.name}: after step {total} {', '.join(broken)} holds values that are not finite; lower its learning rate")


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
            fields = {key: named(getattr(value, key)) for key, each in value.__dataclass_fields__.items() if each.metadata.get("card", True)}
            return {"type": type(value).__name__, **fields}
        return list(value) if isinstance(value, tuple) else value

    return named(method)


def _identity(method: Condenser, task: Task, data: DataCard) -> dict[str, Any]:
    """What makes two runs one, as JSON reads it back; the versions and the device that compute among it."""
    return {"method": json.loads(json.dumps(_settings(method))), **task.identity(), "data": data.sha256, "versions": numerics()}


def recipe_to_card(recipe: Recipe) -> dict[str, Any]:
    problem = recipe.problem
    if isinstance(problem, ModuleProblem):
        known = problem.card()
    else:
        known = problem_to_card(problem) if isinstance(problem, Classifier) else {"family": type(problem).__qualname__}
    kind = {} if isinstance(recipe.solver, Adam) else {"type": type(recipe.solver).__name__}
    return {"problem": known, "solver": {**kind, **asdict(recipe.solver)}}


def recipe_from_card(card: dict[str, Any], problem: ModuleProblem | None = None) -> Recipe:
    """Inverse of `recipe_to_card`; raises `FormatError` for a family that does not ship.

    An artefact never holds code: one that was made with a module of the user's own needs that again, as `problem`, which
    is read by the criterion of the card.
    Raises `InputError` without it, with another than the card describes, and with one where the family ships.
    """
    try:
        settings, known = dict(card["solver"]), dict(card["problem"])
        kind: Any = SOLVERS[settings.pop("type", "Adam")]
        unknown = sorted(set(settings) - {field.name for field in fields(kind)})
        if unknown:
            raise KeyError(*unknown)
        solver = TypeAdapter(kind).validate_python(settings)
        own = known.get("family") == "module"
        if not own and problem is None:
            return Recipe(problem_from_card(known), solver)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"field `recipes`: {error} is not known to this version") from error
    if not own:
        raise InputError("problem", problem, f"the artefact has a family of its own, {known.get('family')}", "leave `problem` out")
    name = known.get("import") or known.get("class")
    if problem is None:
        rule = f"the artefact was made with a model of the user's own ({name}), which it does not hold"
        raise InputError(
            "problem", None, rule, "load it where the model is: from hcdc.own import own; own(MODEL, train, val, space=..., size=...).load(DIR)"
        )
    given = problem.card()
    if any(given[field] != known.get(field) for field in ("num_classes", "parameters")):
        raise InputError("problem", problem, f"must be the model of the artefact ({name}), with its parameters", "make it as it was then")
    for field in ("loss", "val_loss"):
        if (field in given) != (field in known) or (given.get(field) and known.get(field) and given[field] != known[field]):
            then = f"was made with {known[field] or 'one of its own'}" if field in known else "was made without"
            raise InputError(field, given.get(field), f"the artefact {then}", "give the losses of then")
    criterion = known.get("criterion", problem.criterion)
    return Recipe(problem if problem.criterion == criterion else replace(problem, criterion=criterion), solver)


READ_OFF = {"graph": ("num_features", "num_features"), "images": ("shape", "shape"), "table": ("columns", "widths")}
"""By kind of data: the field of a family that ships, and the property of a container that it has to equal."""


def recipes_of(condensed: Condensed, problem: ModuleProblem | None = None) -> dict[str, Recipe]:
    """Both recipes of an artefact, "condensed" and "full"; `FormatError` where they do not fit its data and its space.

    `problem` as in `recipe_from_card`.
    """
    card = condensed.card
    for name in ("condensed", "full"):
        if name not in card.recipes:
            raise FormatError(f"field `recipes`: lacks {name!r}")
    recipes: dict[str, Recipe] = {name: recipe_from_card(found, problem) for name, found in card.recipes.items()}
    for name, recipe in recipes.items():
        _check_recipe(f"recipes.{name}", recipe.problem, condensed)
    return recipes


def _check_recipe(field: str, problem: Any, condensed: Condensed) -> None:
    card, unlike = condensed.card, problem.space().unlike(condensed.space)
    if problem.num_classes != card.data.num_classes:
        raise FormatError(f"field `{field}.problem.num_classes`: is {problem.num_classes}, the data has {card.data.num_classes}")
    if not isinstance(problem, ModuleProblem) and card.data.kind in READ_OFF:
        size, counterpart = READ_OFF[card.data.kind]
        for part in (condensed.train, condensed.val):
            if getattr(problem, size, None) != getattr(part, counterpart):
                raise FormatError(f"field `{field}.problem.{size}`: is {getattr(problem, size, None)}, the data has {getattr(part, counterpart)}")
    if unlike:
        raise FormatError(f"field `space`: {', '.join(unlike[:5])} is not as the problem of `{field}` reads it")
