"""Optuna on condensed sets: spaces both ways, an objective for any study, and samplers as searchers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from hcdc._typing import Config
from hcdc.bilevel import WORST, bounded
from hcdc.errors import FormatError, InputError, SpaceError
from hcdc.evaluate import STARTS, objective_for
from hcdc.integrations.optuna_storage import one_at_a_time, open_storage, require_optuna, storage_errors
from hcdc.integrations.optuna_workers import complete, finished
from hcdc.search import Objective, Trial, check_trials
from hcdc.spaces import Axis, Choice, Int, Real, Space
from hcdc.store import Condensed, StorageError

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Algorithm = Literal["tpe", "cmaes", "hyperband"]
RUNGS = 9
"""Times that a training under Hyperband can be judged: 3 x 3, so that its brackets end at rungs 1, 3 and 9."""


def to_distributions(space: Space) -> dict[str, BaseDistribution]:
    """The axes of `space` in Optuna's terms; `from_distributions` is the inverse."""
    require_optuna()
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def one(axis: Axis) -> BaseDistribution:
        if isinstance(axis, Choice):
            return CategoricalDistribution(axis.options)
        return IntDistribution(axis.low, axis.high) if isinstance(axis, Int) else FloatDistribution(axis.low, axis.high)

    return {name: one(axis) for name, axis in space.axes.items()}


def from_distributions(distributions: Mapping[str, BaseDistribution]) -> Space:
    """The space that Optuna's `distributions` span.

    Raises `SpaceError` naming the first that has no counterpart: a logarithmic or stepped number, a range of one value,
    options that are not two or more strings.
    """
    return Space({name: _axis(name, distribution) for name, distribution in distributions.items()})


def _axis(name: str, found: BaseDistribution) -> Axis:
    require_optuna()
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(found, CategoricalDistribution):
        options = tuple(option for option in found.choices if isinstance(option, str))
        if len(options) < max(2, len(found.choices)):
            raise SpaceError(name, found, "must have two or more options, all of them strings", "name the options")
        return Choice(options)
    step = 1 if isinstance(found, IntDistribution) else None
    remedy = "give the values to be tried as a choice of strings, or all of the range"
    if getattr(found, "log", False):
        remedy = f"search its logarithm: log10_{name} from log10(low) to log10(high), of which the model takes 10 to the power"
    if not isinstance(found, (FloatDistribution, IntDistribution)) or found.log or found.step != step or found.single():
        raise SpaceError(name, found, "must be a range of two values or more, without log or step", remedy)
    return Int(found.low, found.high) if isinstance(found, IntDistribution) else Real(found.low, found.high)


def suggest(trial: optuna.Trial, space: Space) -> dict[str, float | int | str]:
    """A configuration of `space` by the sampler of the study of `trial`."""
    config: dict[str, float | int | str] = {}
    for name, axis in space.axes.items():
        if isinstance(axis, Choice):
            config[name] = trial.suggest_categorical(name, axis.options)
        elif isinstance(axis, Int):
            config[name] = trial.suggest_int(name, axis.low, axis.high)
        else:
            config[name] = trial.suggest_float(name, axis.low, axis.high)
    return config


def objective(target: Objective | Condensed | str | Path, *, seed: int = 0, rungs: int = RUNGS) -> Callable[[optuna.Trial], float]:
    """A function for `study.optimize`: train the configuration of a trial on `target`, return the validation criterion.

    `target` is the folder of an artefact, an artefact, or an `Objective` on data of any origin. The criterion on the
    way is reported at `rungs` - 1 points, evenly spread over the training, and `TrialPruned` ends the training there
    where the pruner of the study says so. The value is that of `Objective.trials` for this one configuration and `seed`,
    to the bit; lower is better.
    """
    require_optuna()
    if rungs < 1:
        raise InputError("rungs", rungs, "must be at least 1", "1 reports nothing and prunes nothing")
    return _trainer(target if isinstance(target, Objective) else objective_for(target), seed, rungs)


def _trainer(goal: Objective, seed: int, rungs: int) -> Callable[[optuna.Trial], float]:
    import optuna

    steps = goal.recipe.solver.steps
    every = -(-steps // rungs)

    def trained(trial: optuna.Trial) -> float:
        directions = [each.name.lower() for each in trial.study.directions]
        if directions != ["minimize"]:
            raise InputError("direction", ", ".join(directions), "a score is the better the lower it is", "create a study that minimises")
        hyper = goal.space.relax_all([suggest(trial, goal.space)])
        score = WORST
        for rung, params in enumerate(goal.recipe.training(hyper, goal.train, seed=seed, every=every), 1):
            score = float(bounded(goal.judged(params, hyper)))
            if rung * every < steps:
                trial.report(score, rung)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return score

    return trained


@dataclass(frozen=True)
class OptunaSearch:
    """Optuna's TPE (Bergstra et al. 2011), CMA-ES (Hansen 2016) or Hyperband (Li et al. 2018, by TPE's proposals).

    The study is kept in `storage`, as `open_storage` reads it, else in study.sqlite3 below the `checkpoint` of `run`,
    else in memory. Its name is hcdc-ALGORITHM-SEED. A study that is there goes on: `trials` is the number of finished
    ones in all, pruned ones included, whoever ran them; several processes may share it. Trials whose process died count
    as failed, not as finished. A fresh study first tries `starts` (None: those of the objective, else as many drawn by
    the seed). One process alone gives the same trials for the same seed; interrupted, it keeps what was finished.
    """

    algorithm: Algorithm = "tpe"
    storage: str | None = None
    starts: tuple[Config, ...] | None = None

    def __post_init__(self) -> None:
        if self.algorithm not in get_args(Algorithm):
            raise InputError("algorithm", self.algorithm, f"must be one of {', '.join(get_args(Algorithm))}", "choose one of these")

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        """Raises `StorageError` for a storage that is locked, `FormatError` for one that is not a study of this objective."""
        check_trials(trials)
        require_optuna()
        self._check_space(objective.space)
        place = self.storage if self.storage or checkpoint is None else str(_made(checkpoint) / "study.sqlite3")
        with one_at_a_time(place), storage_errors(place):
            study = self._study(objective, place, seed, trials)
        rungs = RUNGS if self.algorithm == "hyperband" else 1
        with storage_errors(place):
            complete(study, _trainer(objective, seed, rungs), trials)
            return tuple(_trial(found, objective.space) for found in finished(study))

    def _study(self, goal: Objective, place: str | None, seed: int, trials: int) -> optuna.Study:
        """The study in `place`, made where there is none, and its starting points put in its queue."""
        import optuna

        name, identity = f"hcdc-{self.algorithm}-{seed}", goal.identity()
        with _quiet():
            study = optuna.create_study(storage=open_storage(place), study_name=name, direction="minimize", load_if_exists=True)
        known = study.get_trials(deepcopy=False)
        found = study.user_attrs.get("hcdc")
        if found is None and all(trial.state == optuna.trial.TrialState.WAITING for trial in known):
            starts = self.starts if self.starts is not None else goal.starts or goal.space.configs(STARTS, seed)
            for config in starts[:trials]:
                goal.space.check(config)
                study.enqueue_trial(dict(config), skip_if_exists=True)
            study.set_user_attr("hcdc", identity)
        elif found != identity:
            differing = [key for key, value in identity.items() if found and found.get(key) != value]
            what = f"is of another {', '.join(differing)}" if found else "was not made by hcdc"
            raise FormatError(f"{place}: the study {name!r} {what}; choose another storage or seed")
        study.sampler, study.pruner = self._sampler((seed + len(known)) % 2**32), self._pruner()
        return study

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import CmaEsSampler, TPESampler

        return CmaEsSampler(seed=seed, warn_independent_sampling=False) if self.algorithm == "cmaes" else TPESampler(seed=seed)

    def _pruner(self) -> optuna.pruners.BasePruner:
        from optuna.pruners import HyperbandPruner, NopPruner

        return HyperbandPruner(1, RUNGS, 3) if self.algorithm == "hyperband" else NopPruner()

    def _check_space(self, space: Space) -> None:
        numeric = [name for name, axis in space.axes.items() if not isinstance(axis, Choice)]
        if self.algorithm == "cmaes" and len(numeric) < 2:
            raise InputError("algorithm", "cmaes", f"needs two or more numeric axes; this space has {len(numeric)}", "choose tpe")


ALGORITHMS: dict[str, OptunaSearch] = {name: OptunaSearch(name) for name in get_args(Algorithm)}


def _trial(found: optuna.trial.FrozenTrial, space: Space) -> Trial:
    """A finished trial; its seconds are those from its being asked for to its being told, the sampler's included."""
    seconds = found.duration.total_seconds() if found.duration else 0.0
    pruned = found.state.name == "PRUNED"
    assert found.value is not None
    return Trial({name: found.params[name] for name in space.axes}, found.value, seconds, pruned)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}; nothing was changed") from error
    return folder


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Optuna announces every study that it opens; warnings stay."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
