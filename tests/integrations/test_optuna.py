"""Optuna: spaces there and back, the objective in a study of one's own, searchers, and processes that share a study."""

from __future__ import annotations

import dataclasses
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from hcdc.condense import condense
from hcdc.errors import FormatError, InputError, MissingExtraError, SpaceError
from hcdc.evaluate import objective_for
from hcdc.integrations import optuna_storage, optuna_workers
from hcdc.integrations.optuna import ALGORITHMS, OptunaSearch, from_distributions, objective, to_distributions
from hcdc.search import Objective
from hcdc.spaces import Choice, Int, Real, Space
from hcdc.store import DataCard, StorageError, locked
from tests import small

MIXED = Space({"a.0": Real(-1, 1), "a.1": Real(-1, 0.5), "n": Int(1, 5), "op": Choice(("x", "y"))})
NAME = "hcdc-tpe-0"


def goal(splits=None) -> Objective:
    task = small.task(splits)
    return Objective(task.condensed, task.space, task.real.train, task.real.val)


def artefact(method: str = "random"):
    return condense(small.METHODS[method], small.task(), DataCard(name="small", sha256="0" * 64, kind="graph", num_classes=3))


def bits(found):
    return [(trial.config, trial.score, trial.pruned) for trial in found]


# Spaces --------------------------------------------------------------------------------------------------------------


def test_a_space_there_and_back_is_the_same():
    there = to_distributions(MIXED)
    assert there == {
        "a.0": FloatDistribution(-1, 1), "a.1": FloatDistribution(-1, 0.5),
        "n": IntDistribution(1, 5), "op": CategoricalDistribution(("x", "y")),
    }  # fmt: skip
    assert from_distributions(there) == MIXED


@pytest.mark.parametrize("distribution", [
    FloatDistribution(0.1, 1, log=True), FloatDistribution(0, 1, step=0.25), FloatDistribution(0, 10, step=1), FloatDistribution(1, 1),
    IntDistribution(1, 8, log=True),
    IntDistribution(0, 8, step=2), IntDistribution(3, 3), CategoricalDistribution((1, 2)), CategoricalDistribution(("x", None)),
    CategoricalDistribution(("x",)),
], ids=str)  # fmt: skip
def test_a_distribution_without_counterpart_is_refused_by_name(distribution):
    with pytest.raises(SpaceError, match="`b` = "):
        from_distributions({"a": FloatDistribution(0, 1), "b": distribution})


# The objective -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rungs", [1, 3, 20])
@pytest.mark.parametrize("splits", [small.graph, small.images])
def test_the_value_is_that_of_a_training_in_one_go(splits, rungs):
    """To the bit, whatever was reported on the way; on original data as it is."""
    target, study = goal(splits()), optuna.create_study()
    study.optimize(objective(target, seed=4, rungs=rungs), n_trials=2)
    for trial in study.trials:
        assert trial.value == target.trials([trial.params], 4)[0].score
        assert len(trial.intermediate_values) == rungs - 1


def test_a_folder_and_an_artefact_are_searched_alike(tmp_path):
    condensed = artefact()
    condensed.save(tmp_path)
    values = []
    for target in (condensed, tmp_path, str(tmp_path), objective_for(condensed)):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        study.optimize(objective(target), n_trials=1)
        values.append(study.best_value)
    assert len(set(values)) == 1


class Always(optuna.pruners.BasePruner):
    def prune(self, study, trial):
        return trial.number > 0


def test_pruning_ends_the_training():
    """After one rung of ten: a tenth of the steps is taken, and no more."""
    target = goal()
    steps, problem = [], target.recipe.problem

    class Counted:
        init, outer = problem.init, problem.outer

        def inner(self, params, hyper, data):
            steps.append(1)
            return problem.inner(params, hyper, data)

    counted = dataclasses.replace(target, recipe=target.recipe._replace(problem=Counted()))
    study = optuna.create_study(pruner=Always())
    study.optimize(objective(counted, rungs=10), n_trials=1)
    assert len(steps) == 20
    study.optimize(objective(counted, rungs=10), n_trials=1)
    assert len(steps) == 22
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert list(study.trials[1].intermediate_values) == [1]


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_ends_in_nan_is_the_worst_and_no_failure():
    target = goal()
    broken = dataclasses.replace(target, val=target.val.replace(x=torch.full_like(target.val.x, float("nan"))))
    study = optuna.create_study()
    study.optimize(objective(broken, rungs=2), n_trials=1)
    assert study.best_value == pytest.approx(1e30)


@pytest.mark.parametrize("directions", [["maximize"], ["minimize", "minimize"]], ids=len)
def test_a_study_that_does_not_minimise_one_value_is_refused(directions):
    with pytest.raises(InputError, match=f"`direction` = '{', '.join(directions)}'"):
        optuna.create_study(directions=directions).optimize(objective(goal()), n_trials=1)


def test_no_rungs_are_refused():
    with pytest.raises(InputError, match="`rungs` = 0"):
        objective(goal(), rungs=0)


# Searchers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALGORITHMS)
def test_trials_are_spent_inside_the_space_and_the_seed_decides(name):
    first, again, other = (ALGORITHMS[name].run(goal(), trials=13, seed=seed) for seed in (0, 0, 1))
    assert len(first) == 13
    assert bits(first) == bits(again) != bits(other)
    for trial in first:
        goal().space.check(trial.config)
        assert trial.seconds > 0
    assert any(trial.pruned for trial in first) == (name == "hyperband")
    assert not min(first, key=lambda trial: trial.score).pruned or name == "hyperband"


@pytest.mark.parametrize("name", ["tpe", "hyperband"])
def test_choices_are_searched_too(name):
    found = ALGORITHMS[name].run(goal(small.images()), trials=3, seed=0)
    assert {trial.config["op.0"] for trial in found} <= {"conv3x3", "conv1x1", "pool3x3", "skip"}


def test_cmaes_wants_numbers():
    with pytest.raises(InputError, match="two or more numeric axes"):
        ALGORITHMS["cmaes"].run(goal(small.images()), trials=3, seed=0)


def test_an_unknown_algorithm_and_no_trials_are_refused():
    with pytest.raises(InputError, match="`algorithm` = 'magic'"):
        OptunaSearch("magic")
    with pytest.raises(InputError, match="`trials` = 0"):
        ALGORITHMS["tpe"].run(goal(), trials=0, seed=0)


def test_the_starting_points_come_first():
    target = goal()
    drawn = target.space.configs(10, 5)
    known = dataclasses.replace(target, starts=tuple(target.space.configs(2, 7)))
    mine = tuple(target.space.configs(3, 8))
    for searcher, searched, expected in (
        (OptunaSearch("tpe"), target, drawn[:4]),
        (OptunaSearch("tpe"), known, known.starts),
        (OptunaSearch("cmaes", starts=mine), known, mine),
    ):
        found = searcher.run(searched, trials=4, seed=5)
        assert [trial.config for trial in found][: len(expected)] == list(expected)
    with pytest.raises(SpaceError):
        OptunaSearch("tpe", starts=({"filter.0": 99.0},)).run(target, trials=1, seed=0)


@pytest.mark.parametrize("place", ["study.log", "study.sqlite3", "sqlite:///{}/url.db", None])
def test_a_study_goes_on_to_the_number_in_all(place, tmp_path):
    storage = place and (place.format(tmp_path) if "://" in place else str(tmp_path / place))
    searcher = OptunaSearch("tpe", storage)
    checkpoint = None if storage else tmp_path / "kept"
    first = searcher.run(goal(), trials=3, seed=0, checkpoint=checkpoint)
    more = searcher.run(goal(), trials=5, seed=0, checkpoint=checkpoint)
    assert len(more) == 5
    assert bits(more[:3]) == bits(first)
    assert bits(searcher.run(goal(), trials=4, seed=0, checkpoint=checkpoint)) == bits(more)
    assert storage or (tmp_path / "kept" / "study.sqlite3").is_file()


# Processes -----------------------------------------------------------------------------------------------------------

WORKER = """
import sys, time
from hcdc.integrations.optuna import OptunaSearch
from hcdc.search import Objective
from tests.integrations.test_optuna import goal
scores = Objective.judged
def slow(self, *rest):
    time.sleep(0.05)
    return scores(self, *rest)
Objective.judged = slow
OptunaSearch("tpe", sys.argv[1]).run(goal(), trials=int(sys.argv[2]), seed=0)
"""


def worker(place: Path, trials: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root / 'src'}:{root}"}
    return subprocess.Popen([sys.executable, "-c", WORKER, str(place), str(trials)], env=environment, stderr=subprocess.PIPE, text=True)


def study_at(place: Path) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name=NAME, storage=f"sqlite:///{place}")


def finished(place: Path) -> int:
    """Without opening the study, which would change it."""
    if not place.is_file():
        return 0
    try:
        with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def until(condition, running) -> None:
    while not condition() and running.poll() is None:
        time.sleep(0.02)


def test_two_processes_share_a_study(tmp_path):
    """Both work, no start is tried twice, and the number of finished trials is exact."""
    place = tmp_path / "study.sqlite3"
    with worker(place, 14) as other:
        until(lambda: finished(place) > 0, other)
        found = OptunaSearch("tpe", str(place)).run(goal(), trials=14, seed=0)
        _, error = other.communicate(timeout=60)
    assert other.returncode == 0, error
    trials = study_at(place).trials
    assert len(found) == 14 == sum(trial.state == TrialState.COMPLETE for trial in trials)
    assert len({trial.user_attrs["worker"]["pid"] for trial in trials if trial.state == TrialState.COMPLETE}) == 2
    assert len({str(trial.config) for trial in found}) == 14


def test_a_study_survives_a_kill(tmp_path):
    """What was finished is kept, what was running is failed and its start tried again, the number is completed."""
    place = tmp_path / "study.sqlite3"
    with worker(place, 1000) as killed:
        until(lambda: finished(place) >= 2, killed)
        killed.kill()
    before = study_at(place).trials
    kept = [trial.params for trial in before if trial.state == TrialState.COMPLETE]
    lost = [trial.number for trial in before if trial.state == TrialState.RUNNING]
    assert 2 <= len(kept) < 10
    found = OptunaSearch("tpe", str(place)).run(goal(), trials=11, seed=0)
    after = study_at(place).trials
    assert len(found) == 11
    assert [trial.config for trial in found][: len(kept)] == kept
    assert [after[number].state for number in lost] == [TrialState.FAIL] * len(lost)
    assert all(start in [trial.config for trial in found] for start in goal().space.configs(10, 0))


def test_whose_trials_are_given_up():
    """Those of dead processes of this machine and those that nobody can tell of after an hour; no one else's."""
    now, here = time.time(), socket.gethostname()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    owners = {
        "dead": {"host": here, "pid": gone.pid, "token": "x", "since": now},
        "alive": {"host": here, "pid": os.getppid(), "token": "x", "since": now},
        "alive, long ago": {"host": here, "pid": os.getppid(), "token": "x", "since": now - 4000},
        "my number, another process": {"host": here, "pid": os.getpid(), "token": "x", "since": now},
        "mine": {"host": here, "pid": os.getpid(), "token": optuna_workers.TOKEN, "since": now},
        "elsewhere": {"host": "elsewhere", "pid": gone.pid, "token": "x", "since": now},
        "elsewhere, long ago": {"host": "elsewhere", "pid": 1, "token": "x", "since": now - 4000},
    }
    study = optuna.create_study()
    for owner in owners.values():
        study.ask().set_user_attr("worker", owner)
    stale = [name for name, trial in zip(owners, study.trials, strict=True) if optuna_workers._stale(trial)]
    assert stale == ["dead", "my number, another process", "elsewhere, long ago"]


def test_the_last_place_is_given_to_one():
    """A trial that finds as many before it as are wanted gives way."""
    study = optuna.create_study()
    other = study.ask()
    optuna_workers._run_one(study, lambda trial: 1.0, 1)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING, TrialState.FAIL]
    study.tell(other, 0.5)
    optuna_workers._run_one(study, lambda trial: 1.0, 2)
    assert study.trials[-1].state == TrialState.COMPLETE


def test_a_trial_that_raises_is_failed_and_its_start_put_back():
    study = optuna.create_study()
    study.enqueue_trial({"a": 0.25})

    def interrupted(trial):
        trial.suggest_float("a", 0, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optuna_workers.complete(study, interrupted, 1)
    assert study.trials[0].state == TrialState.FAIL
    optuna_workers.complete(study, lambda trial: trial.suggest_float("a", 0, 1), 1)
    assert study.best_value == 0.25


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "content"), [("study.db", b"no database at all, but as long as a header of one" * 9), ("study.log", b"{]\n")])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        OptunaSearch("tpe", str(tmp_path / name)).run(goal(), trials=1, seed=0)
    assert (tmp_path / name).read_bytes() == content


def test_a_journal_that_was_damaged_is_refused(tmp_path):
    place = tmp_path / "study.log"
    OptunaSearch("tpe", str(place)).run(goal(), trials=1, seed=0)
    lines = place.read_bytes().splitlines(keepends=True)
    place.write_bytes(b"".join([*lines[:3], b"{]\n", *lines[3:]]))
    with pytest.raises(FormatError, match="damaged"):
        OptunaSearch("tpe", str(place)).run(goal(), trials=2, seed=0)


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path):
    place = tmp_path / "other.db"
    with sqlite3.connect(place) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    content = place.read_bytes()
    with pytest.raises(FormatError, match="it has the tables recipes"):
        OptunaSearch("tpe", f"sqlite:///{place}").run(goal(), trials=1, seed=0)
    assert place.read_bytes() == content


@pytest.mark.parametrize("how", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_database_is_waited_for_and_then_refused(tmp_path, monkeypatch, how):
    monkeypatch.setattr(optuna_storage, "TIMEOUT", 0.2)
    place = tmp_path / "study.db"
    OptunaSearch("tpe", str(place)).run(goal(), trials=1, seed=0)
    connection = sqlite3.connect(place)
    connection.execute(f"BEGIN {how}")
    try:
        with pytest.raises(StorageError, match="locked by another process"):
            OptunaSearch("tpe", str(place)).run(goal(), trials=2, seed=0)
    finally:
        connection.close()
    assert len(OptunaSearch("tpe", str(place)).run(goal(), trials=2, seed=0)) == 2


def test_a_study_of_another_space_data_or_maker_is_refused(tmp_path):
    place, target = str(tmp_path / "study.db"), goal()
    OptunaSearch("tpe", place).run(target, trials=1, seed=0)
    narrow = dataclasses.replace(target, space=Space({name: Real(0, 1) for name in target.space.axes}))
    for other, differing in ((narrow, "space"), (dataclasses.replace(target, val=target.train), "data")):
        with pytest.raises(FormatError, match=f"the study 'hcdc-tpe-0' is of another {differing};"):
            OptunaSearch("tpe", place).run(other, trials=2, seed=0)
    study = optuna.create_study(study_name="hcdc-tpe-7", storage=f"sqlite:///{place}")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(FormatError, match="was not made by hcdc"):
        OptunaSearch("tpe", place).run(target, trials=2, seed=7)


@pytest.mark.parametrize(("place", "error", "rule"), [
    ("magic://x", InputError, "`storage` = 'magic://x'"),
    ("://", InputError, "`storage` = '://'"),
    ("{}/absent/study.db", StorageError, "unable to open"),
    ("{}/absent/study.log", StorageError, "No such file"),
])  # fmt: skip
def test_a_place_that_cannot_be_is_refused(tmp_path, place, error, rule):
    with pytest.raises(error, match=rule):
        OptunaSearch("tpe", place.format(tmp_path)).run(goal(), trials=1, seed=0)


@pytest.mark.parametrize("module", ["optuna", "cmaes"])
def test_without_the_extra_the_pip_line_is_given(monkeypatch, module):
    monkeypatch.setattr(optuna_storage, "find_spec", lambda name: None if name == module else object())
    for use in (lambda: ALGORITHMS["tpe"].run(goal(), trials=1, seed=0), lambda: objective(goal()), lambda: to_distributions(MIXED)):
        with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[optuna\]'"):
            use()


def test_the_module_waits_with_its_library():
    code = "import sys, hcdc.integrations.optuna; sys.exit('optuna' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


HALF_WRITTEN = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE half_written (content BLOB)")
for _ in range(50):
    connection.execute("INSERT INTO half_written VALUES (zeroblob(100000))")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_database_that_a_kill_left_half_written_is_undone(tmp_path):
    place = tmp_path / "study.sqlite3"
    run = dataclasses.replace(ALGORITHMS["tpe"], storage=str(place)).run
    before = run(goal(), trials=2, seed=0)
    assert subprocess.run([sys.executable, "-c", HALF_WRITTEN, str(place)], check=False).returncode == -9
    assert place.with_name("study.sqlite3-journal").exists(), "the kill came too late to leave anything half-written"
    assert run(goal(), trials=2, seed=0) == before


def test_who_opens_a_study_takes_turns_with_its_like_alone(tmp_path):
    place = str(tmp_path / "study.sqlite3")
    with locked(tmp_path), optuna_storage.one_at_a_time(place):
        code = f"from hcdc.integrations.optuna_storage import one_at_a_time\nwith one_at_a_time({place!r}): print('in')"
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(3)
    assert other.communicate()[0] == "in\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_said_to_be():
    with pytest.raises(StorageError, match="/proc cannot be written to"), optuna_storage.one_at_a_time("/proc/study.sqlite3"):
        raise AssertionError
