"""Processes that share a study: who runs which trial, and whose trials nobody will finish."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

TOKEN = uuid.uuid4().hex
"""This process; its number alone could be that of one that died."""

PATIENCE = 3600.0
"""Seconds after which a running trial is given up though its process may live, as on another machine nobody can tell."""

POLL = 0.1
"""Seconds between two looks at the trials of others."""


def complete(study: optuna.Study, train: Callable[[optuna.Trial], float], trials: int) -> None:
    """Run trials until `trials` are finished in all, those of other processes included; wait for theirs, take over from the dead."""
    while True:
        running = 0
        for trial in study.get_trials(deepcopy=False):
            if trial.state.name == "RUNNING":
                alive = not _stale(trial)
                running += alive
                if not alive:
                    fail(study, trial.number)
        missing = trials - len(finished(study))
        if missing <= 0:
            return
        if running < missing:
            _run_one(study, train, trials)
        else:
            time.sleep(POLL)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials, in the order of their numbers."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in ("COMPLETE", "PRUNED")]


def fail(study: optuna.Study, number: int) -> None:
    """Count a trial as failed; the starting point that it was to try is put back into the queue."""
    from optuna.trial import TrialState

    try:
        told = study.tell(number, state=TrialState.FAIL)
    except ValueError:
        return  # another process was quicker
    start = told.system_attrs.get("fixed_params")
    if start is not None:
        study.enqueue_trial(start)


def _run_one(study: optuna.Study, train: Callable[[optuna.Trial], float], trials: int) -> None:
    import optuna
    from optuna.trial import TrialState

    trial = study.ask()
    trial.set_user_attr("worker", _owner())
    before = [found for found in study.get_trials(deepcopy=False) if found.number < trial.number]
    if sum(found.state.name in ("COMPLETE", "PRUNED", "RUNNING") for found in before) >= trials:
        study.tell(trial, state=TrialState.FAIL)  # two processes took the last place: the later one gives way
        return
    try:
        value = train(trial)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    except BaseException:
        fail(study, trial.number)
        raise
    else:
        study.tell(trial, value, skip_if_finished=True)


def _owner() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "token": TOKEN, "since": time.time()}


def _stale(trial: FrozenTrial) -> bool:
    """Whether the process that runs `trial` is dead, as far as can be seen from here."""
    owner = trial.user_attrs.get("worker")
    if owner is None:
        # Taken a moment ago, before its owner could sign; or its owner died at that moment.
        return trial.datetime_start is not None and time.time() - trial.datetime_start.timestamp() > 10
    if owner["host"] == socket.gethostname():
        return owner["token"] != TOKEN and not _alive(owner["pid"])
    return time.time() - owner["since"] > PATIENCE


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
