"""What every condenser and every searcher owes: one call each, for the tests of a new one.

A check raises `AssertionError` with the rule that is broken. Run it on a task of a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hcdc.condense import Callback, Condenser, Task, condense
from hcdc.data import kind_of
from hcdc.errors import InputError
from hcdc.search import Objective, Searcher
from hcdc.store import Checkpoint, Condensed, DataCard, Groups, load_condensed


class Stop(Exception):
    """An interruption at a chosen step."""


def stopping(at: int) -> Callback:
    """A callback that raises `Stop` when `at` steps are done."""

    def callback(done: int, total: int, metrics: dict[str, float]) -> None:
        if done == at:
            raise Stop

    return callback


def check_condenser(method: Condenser, task: Task, folder: Path, *, draws: bool = True) -> Condensed:
    """Same seed, same bits; another seed, another set (where the method `draws` at all); steps that leave their argument as
    it was; resumption from a checkpoint to the same bits; a valid artefact of the size asked for, equal after loading.

    `folder` takes checkpoints and the artefact, which is returned.
    """
    card = DataCard.of("conformance", "0" * 64, kind_of(task.real.train), task.real.train)
    first, second = condense(method, task, card), condense(method, task, card)
    assert first.fingerprint() == second.fingerprint(), "the same seed must give the same bits"
    other = condense(method, replace(task, seed=task.seed + 1), card)
    assert (first.fingerprint() == other.fingerprint()) != draws, "another seed must give another set if, and only if, the method draws"
    _check_purity(method, task)
    length = method.length()
    for at in sorted({2, length // 2, length - 1} & set(range(2, length))):
        _check_resumption(lambda **more: condense(method, task, card, **more), first, folder / f"stopped-at-{at}", at)
    first.save(folder / "artefact")
    loaded = load_condensed(folder / "artefact")
    assert loaded.fingerprint() == first.fingerprint(), "an artefact must be what was saved"
    assert (loaded.train.size, loaded.val.size) == tuple(task.budget), "the sizes asked for must be the sizes made"
    return loaded


def _check_purity(method: Condenser, task: Task) -> None:
    state = method.init(task)
    for number in range(min(3, method.length())):
        before = {name: {key: value.clone() for key, value in group.items()} for name, group in state.items()}
        after, _ = method.step(task, state, number)
        again, _ = method.step(task, state, number)
        assert _equal(before, state), f"step {number} changed the state that it was given"
        assert _equal(after, again), f"step {number} gave two results for one state: draw from `task.generator(number)` only"
        state = after


def _check_resumption(run: Callable[..., Condensed], whole: Condensed, folder: Path, at: int) -> None:
    try:
        run(checkpoint=Checkpoint(folder, interval=0.0), callbacks=[stopping(at)])
    except Stop:
        resumed = run(checkpoint=Checkpoint(folder))
        assert resumed.fingerprint() == whole.fingerprint(), f"stopped at {at}, a run must end in the same bits"


def _equal(one: Groups, other: Groups) -> bool:
    return one.keys() == other.keys() and all(
        one[name].keys() == other[name].keys() and all(torch.equal(one[name][key], other[name][key]) for key in one[name]) for name in one
    )


def check_searcher(searcher: Searcher, objective: Objective, *, trials: int = 6) -> None:
    """No more trials than asked for, each of the space with a finite score and its seconds; the same seed, the same trials; a
    number below one refused."""
    found, again = (searcher.run(objective, trials=trials, seed=0) for _ in range(2))
    assert 1 <= len(found) <= trials, f"{trials} trials were asked for and {len(found)} made"
    for trial in found:
        objective.space.check(trial.config)
        assert math.isfinite(trial.score), f"{trial} needs a finite score"
        assert trial.seconds >= 0, f"{trial} needs the seconds that it took"
    assert [trial[:2] for trial in found] == [trial[:2] for trial in again], "the same seed must give the same trials"
    try:
        searcher.run(objective, trials=0, seed=0)
    except InputError:
        return
    raise AssertionError("no trials at all must be refused with an `InputError`")
