"""The front door for a model and data of the user's own."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast

from torch import nn

from hcdc._progress import bar
from hcdc._typing import Config
from hcdc.bilevel import SGD, Adam, Recipe, Solver
from hcdc.condense import HCDC, NEIGHBOURS, STRONG, Bank, Budget, Callback, Choice, Condenser, Pilot, Task, condense, fitted, recipes_of, staged
from hcdc.data import Intake, Real, Source, Splits, fingerprint, kind_of, read_graph
from hcdc.doctor import Checkup, check
from hcdc.errors import InputError
from hcdc.evaluate import Evaluation, Guard, Guarded, Judge, Probe, check_space, verdict
from hcdc.models import ModuleProblem, UserLoss, batch_of
from hcdc.run import FEW, method_named
from hcdc.search import ALGORITHMS, Objective, Trial, ranked
from hcdc.spaces import Space
from hcdc.store import Card, Checkpoint, Condensed, DataCard, Ledger, PilotCard, TriedCard, load_condensed, locked

KEPT = "hcdc-checkpoint"
"""The folder in `checkpoint` that a run makes and removes."""


class Settings(TypedDict, total=False):
    """What may be left out; see `own`."""

    loss: UserLoss
    val_loss: UserLoss
    criterion: Literal["loss", "soft-accuracy"]
    target: str
    val_size: int
    seed: int
    name: str
    method: Condenser | str
    steps: int
    small: Solver
    full: Solver
    pilot: int
    progress: bool
    checkpoint: str | Path | None


@dataclass(frozen=True)
class Own:
    """A model, data and space made ready: `check` it, or `condense` it."""

    task: Task
    method: Condenser
    card: DataCard
    problem: ModuleProblem
    intake: Intake | None
    test: Any
    pilot: Pilot | None
    progress: bool = False
    checkpoint: Path | None = None

    def check(self, *, timed: bool = True) -> Checkup:
        """What would break, and what the run will cost."""
        return check(self.task, self.method, timed=timed, pilot=self.pilot)

    def condense(self, *, callbacks: Sequence[Callback] = ()) -> Calibrated:
        """Checked first: raises `InputError` for what would break before any long work, or the `ModelError` of the user's own
        code, and warns of what costs quality. Then piloted, if it is to be. What a killed run left in `checkpoint` is gone on
        with; raises `RunExistsError` while another process works there, `HcdcError` where it is of another run."""
        began = time.perf_counter()
        checkup = self.check(timed=False)
        checkup.demand()
        for finding in checkup.findings:
            if finding.level == "warns":
                warnings.warn(finding.line(), stacklevel=3)
        checking = time.perf_counter() - began
        if self.checkpoint is None:
            return self._calibrated(checking, callbacks)
        with locked(self.checkpoint):
            found = self._calibrated(checking, callbacks)
            Checkpoint(self.checkpoint / KEPT).remove()
        with contextlib.suppress(OSError):  # what else is in the folder stays
            self.checkpoint.rmdir()
        return found

    def _calibrated(self, checking: float, callbacks: Sequence[Callback]) -> Calibrated:
        """Piloted and condensed; `checking` seconds are on the bill too."""
        if self.pilot is None or not isinstance(self.method, HCDC):
            return Calibrated(_dearer(self._condensed(callbacks), checking), self)
        kept = Ledger(None if self.checkpoint is None else self.checkpoint / KEPT / "pilot" / self.card.sha256)
        with bar(f"trying {self.pilot.configs} configurations on the full data", shown=self.progress):
            chosen = self.pilot(self.task, self.method, kept)
        made = replace(self, task=chosen.task, method=chosen.method)
        condensed = made._condensed(callbacks)
        return Calibrated(_dearer(condensed, checking + chosen.seconds, pilot=_pilot_card(self.pilot, chosen)), made)

    def load(self, folder: str | Path) -> Calibrated:
        """The set that was condensed for this model and data and saved in `folder`, to be ranked, searched and judged again.

        A configuration is trained as its card says. Raises `InputError` where it was made from other data, for another model
        or for a narrower space, `FormatError` for a folder that is not whole.
        """
        condensed = load_condensed(folder)
        if condensed.card.data.sha256 != self.card.sha256:
            rule = f"was condensed from other data ({condensed.card.data.name}) than what is given"
            raise InputError("folder", str(folder), rule, "give the training and validation data of then")
        check_space(condensed.space, self.task.space)
        recipes = recipes_of(condensed, self.problem)
        task = replace(self.task, condensed=recipes["condensed"], full=recipes["full"], budget=Budget(**condensed.card.sizes))
        return Calibrated(condensed, replace(self, task=task))

    def _condensed(self, callbacks: Sequence[Callback]) -> Condensed:
        method = fitted(self.method, self.task)
        label = f"condensing with {method.name}"
        checkpoint = None if self.checkpoint is None else Checkpoint(self.checkpoint / KEPT)
        with bar(label, shown=self.progress) as told:
            return condense(method, self.task, self.card, checkpoint=checkpoint, callbacks=[*callbacks, staged(method, told, label)])


@dataclass(frozen=True)
class Calibrated:
    """A condensed set of the user's own, with the model that it was made for."""

    condensed: Condensed
    made: Own

    def __repr__(self) -> str:
        return f"Calibrated({self.condensed!r})"

    @property
    def train(self) -> Any:
        return self.condensed.train

    @property
    def val(self) -> Any:
        return self.condensed.val

    def save(self, folder: str | Path) -> Card:
        """Tensors and a card, without the model; refuses a folder that already holds an artefact."""
        return self.condensed.save(folder)

    @property
    def objective(self) -> Objective:
        """For any searcher: the condensed set, and how a configuration is trained on it."""
        return Objective(self.made.task.condensed, self.made.task.space, self.train, self.val)

    def rank(self, configs: Sequence[Config], *, seed: int = 0) -> tuple[Trial, ...]:
        """The configurations trained on the condensed set, best first."""
        if not configs or isinstance(cast("object", configs), Mapping):
            raise InputError("configs", configs, "must hold one configuration or more", "give a list of them, as space.configs(20, seed=0) does")
        return tuple(ranked(self.objective.trials(configs, seed)))

    def search(self, algorithm: str = "random", *, trials: int = 40, seed: int = 0) -> tuple[Trial, ...]:
        """`trials` trainings on the condensed set as `algorithm` chooses them, best first."""
        if algorithm not in ALGORITHMS:
            rule = f"must be one of {', '.join(ALGORITHMS)}"
            remedy = "choose one of these; for Optuna's, give hcdc.integrations.optuna.objective(found.objective) to a study"
            raise InputError("algorithm", algorithm, rule, remedy)
        return tuple(ranked(ALGORITHMS[algorithm].run(self.objective, trials=trials, seed=seed)))

    def guard(self, trials: Sequence[Trial], keep: int = 5, *, seeds: int = 3) -> Guarded:
        """The `keep` best of a search trained on the full data, and judged on the real validation data (see `Guard`): its
        `recommended` configuration is the one to take."""
        with bar("training", prefix="training on ", shown=self.made.progress) as told:
            return Guard(keep, seeds)(self.condensed, self._source(None), trials, progress=told, problem=self.made.problem)

    def _source(self, test: Any) -> Source:
        real = self.made.task.real
        return Source(self.made.card.name, Splits(real.train, real.val, test), fingerprint(real))

    def probe(self, *, configs: int = 12, seeds: int = 2) -> Calibrated:
        """The same with what `Probe` says in the card; test data is not looked at, and none is needed."""
        with bar("training", prefix="training on ", shown=self.made.progress) as told:
            return replace(self, condensed=Probe(configs, seeds)(self.condensed, self._source(None), told, self.made.problem))

    def evaluate(self, test: Any = None, *, configs: int = 24, seeds: int = 2, config_seed: int = 123) -> Evaluation:
        """What `hcdc evaluate` measures, on configurations that condensing did not see; its `facts` hold the verdict too.

        `test` comes in the form of the training data; a graph and `Splits` have their own.
        """
        held, intake, like = self.made.test, self.made.intake, type(self.made.task.real.val)
        if held is not None and test is not None:
            raise InputError("test", type(test).__name__, "came with the training data", "leave it out")
        if intake is not None and test is not None:
            held = intake.read(test, "test")
        elif test is not None:
            if not isinstance(test, like):
                raise InputError("test", type(test).__name__, f"must be a {like.__name__}, as the validation data is", "give test data in that form")
            held = test
        if held is None:
            raise InputError("test", None, "is what the picked configuration is judged on", "give test data in the form of the training data")
        with bar("training", prefix="training on ", shown=self.made.progress) as told:
            found = Judge(configs, seeds, config_seed)(self.condensed, self._source(held), told, self.made.problem)
        judged = verdict(found.facts)
        return replace(found, facts=found.facts | {"verdict": judged.light, "sentence": judged.sentence})


def own(model: Callable[[], nn.Module] | nn.Module, train: Any, val: Any = None, *, space: Space, size: int, **settings: Unpack[Settings]) -> Own:
    """A model and data of the user's own, read and checked, to be condensed to `size` training examples.

    `model` is a module or a function that makes one, `space` the hyperparameters (see `ModuleProblem`); `train` and `val`
    are (X, y), frames, torch datasets or loaders, Hugging Face datasets; of a `torch_geometric` graph with masks and of
    `Splits`, `train` is all. `settings`: `loss` and `val_loss` (module, hyper, batch) -> scalar; `criterion` (default:
    "soft-accuracy" where there are classes and no `val_loss`); `target`, the label column;
    `val_size` (default: `size`); `seed`; `name` for the card; `method` and its `steps`; `small` and `full`, the `Adam` or `SGD`
    that trains a configuration on the condensed and on the full data; `pilot` (16), how many configurations are trained
    on the full data to choose S_train and the number of steps on it, as far as `method` and `small` leave them open
    (see `Pilot`), or 0; `progress`, to show bars on stderr; `checkpoint`, a folder in which the run is kept as it goes, so that
    the same call goes on with one that was killed; it is emptied of that when the run is done. Raises `DataError`, `SpaceError`,
    `InputError` for what does not fit, `ModelError` for what the model raises.
    """
    unknown = sorted(set(settings) - set(Settings.__annotations__))
    if unknown:
        raise InputError("settings", unknown, f"must be of {', '.join(Settings.__annotations__)}", "check the spelling")
    if not isinstance(cast("object", space), Space):
        raise InputError("space", type(space).__name__, "must be a hcdc.Space", "write Space({'name': Real(low, high)})")
    _check_types({"size": size, **settings})
    real, intake, test = _read(train, val, settings.get("target"))
    losses = settings.get("loss"), settings.get("val_loss")
    classes, usual = real.train.num_classes, "loss" if losses[1] or not real.train.num_classes else "soft-accuracy"
    criterion = settings.get("criterion", usual)
    if losses[1] is not None and criterion != "loss":
        raise InputError("criterion", criterion, "is not what S is read by under a `val_loss`", "leave one of the two out")
    problem = ModuleProblem(model, space, classes, *losses, criterion)
    kind = kind_of(real.train)
    small, full = settings.get("small", Adam(150, 0.01)), settings.get("full", Adam(300, 0.01, None if kind == "graph" else 128))
    budget = Budget(size, settings.get("val_size", size))
    task = Task(Recipe(problem, small), Recipe(problem, full), real, space, budget, settings.get("seed", 0))
    card = DataCard.of(settings.get("name", "own data"), fingerprint(real), kind, real.train)
    folder = settings.get("checkpoint")
    checkpoint = None if folder is None else Path(folder)
    return Own(task, _method(settings, kind, problem), card, problem, intake, test, _pilot(settings), settings.get("progress", False), checkpoint)


def condense_model(
    model: Callable[[], nn.Module] | nn.Module, train: Any, val: Any = None, *, space: Space, size: int, **settings: Unpack[Settings]
) -> Calibrated:
    """A calibrated condensed set of a model and data of the user's own; the arguments are those of `own`."""
    return own(model, train, val, space=space, size=size, **settings).condense()


def _read(train: Any, val: Any, target: str | None) -> tuple[Real[Any], Intake | None, Any]:
    """What condensing may see; how validation and test data are to be read, or, where they came with `train`, the test part."""
    if isinstance(train, Splits) or hasattr(train, "edge_index"):
        if val is not None:
            raise InputError("val", type(val).__name__, "came with the training data", "leave `val` out")
        splits: Any = train if isinstance(train, Splits) else read_graph(train)
        for part in splits:
            if part is not None:
                batch_of(part)  # outside of any transform, so that it is kept
        return Real(splits[0], splits[1]), None, splits[2]
    if val is None:
        raise InputError("val", None, "is what configurations are ranked on", "give validation data in the form of the training data")
    intake, data = Intake.of(train, target)
    return Real(data, intake.read(val, "val")), intake, None


def _check_types(given: Mapping[str, Any]) -> None:
    for name in ("size", "val_size", "seed", "steps", "pilot"):
        value = given.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise InputError(name, value, "must be a whole number", "write it without quotes and without a point")
    if not isinstance(given.get("progress", False), bool):
        raise InputError("progress", given["progress"], "must be True or False", "write one of them")
    if not isinstance(given.get("checkpoint"), str | Path | None):
        raise InputError("checkpoint", given["checkpoint"], "must be a folder", "write its path")
    for name in ("small", "full"):
        if name in given and not isinstance(given[name], Adam | SGD):
            raise InputError(name, given[name], "must say how a configuration is trained", "write hcdc.Adam(150, 0.01), steps and rate")


def _pilot(settings: Settings) -> Pilot | None:
    """What chooses what is left open; None where nothing is."""
    configs, named = settings.get("pilot", Pilot.configs), settings.get("method", "hcdc") == "hcdc"
    if configs == 0 or not (named or ("small" not in settings and isinstance(settings.get("method"), HCDC))):
        if settings.get("pilot"):
            raise InputError("pilot", configs, "has nothing to choose: `method` and `small` leave nothing open", "leave it out")
        return None
    return Pilot(configs, Pilot.trains if named else (), "small" not in settings)


def _dearer(condensed: Condensed, seconds: float, **more: Any) -> Condensed:
    """`condensed` with `seconds` more on its bill, and `more` in its card."""
    return replace(condensed, card=condensed.card.model_copy(update={"seconds": condensed.card.seconds + seconds, **more}))


def _pilot_card(pilot: Pilot, chosen: Choice) -> PilotCard:
    tried = [TriedCard(**each._asdict()) for each in chosen.tried]
    return PilotCard(configs=pilot.configs, tried=tried, seconds=chosen.seconds)


def _method(settings: Settings, kind: str, problem: ModuleProblem) -> Condenser:
    chosen = settings.get("method", "hcdc")
    if "steps" in settings and not isinstance(chosen, str):
        raise InputError("steps", settings["steps"], "is for a method that is named", "say it where the condenser is made")
    method = method_named(chosen, kind, steps=settings.get("steps")) if isinstance(chosen, str) else chosen
    if not isinstance(method, HCDC):
        return method
    if isinstance(chosen, str) and kind == "graph":  # a bank of hundreds of points is for families whose propagation is kept
        method = replace(method, driver=Bank(**FEW | ({"steps": settings["steps"]} if "steps" in settings else {})))
    if problem.weighted:
        return method
    return replace(method, structure=False, start=NEIGHBOURS if kind == "graph" and method.start == STRONG else method.start)
