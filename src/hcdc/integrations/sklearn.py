"""Tables with the conventions of scikit-learn: families as estimators, and a search that condenses first."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from hcdc._device import on
from hcdc._typing import Config
from hcdc.bilevel import Recipe
from hcdc.condense import Budget, Condenser, Task, condense, default_recipes, fitted
from hcdc.data import Real, TableData, TableEncoder, fingerprint, read_columns
from hcdc.errors import InputError, MissingExtraError
from hcdc.run import method_named
from hcdc.search import ALGORITHMS, Objective, Searcher, Trial, ranked
from hcdc.spaces import Axis, Choice, Space
from hcdc.store import DataCard

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, get_tags
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingExtraError("scikit-learn", "tables") from error


class Table(BaseEstimator):
    """One configuration of a tabular `family`, trained as on full data: numbers standardised, text one-hot encoded."""

    def __init__(self, family: Literal["logistic", "mlp"] = "logistic", config: Config | None = None, random_state: Any = 0) -> None:
        self.family, self.config, self.random_state = family, config, random_state

    def fit(self, X: Any, y: Any) -> Self:
        with on("cpu"):
            data = self.read(X, y)
            self.recipe_: Recipe = default_recipes(data, self.family)[1]
            problem: Any = self.recipe_.problem
            space: Space = problem.space()
            self.config_ = dict(_centre(space) if self.config is None else self.config)
            self.hyper_ = space.relax_all([self.config_])
            self.params_ = self.recipe_.fit(self.hyper_, data, seed=_seed(self.random_state))
        return self

    def read(self, X: Any, y: Any) -> TableData:
        """X [n, columns] and y [n] encoded as these rows say, which is remembered."""
        checked: Any = validate_data(self, X, y, dtype=None, y_numeric=not get_tags(self).classifier_tags)
        columns, rows, target = self._columns(checked[0]), torch.arange(len(checked[0])), self._target(checked[1])
        self.encoder_ = TableEncoder.fitted(columns, target, rows)
        return self.encoder_(columns, target, rows)

    def outputs(self, X: Any) -> Tensor:
        """[n, outputs] in float64, logits or standardised predictions."""
        check_is_fitted(self, "params_")
        checked: Any = validate_data(self, X, dtype=None, reset=False)
        problem: Any = self.recipe_.problem
        with on("cpu"):
            x = self.encoder_.inputs(self._columns(checked)).double()
            classes = len(self.encoder_.target.categories)
            data = TableData(x, torch.zeros(len(x)), classes, self.encoder_.columns, self.encoder_.target)
            params, hyper = ({name: value[0].double() for name, value in part.items()} for part in (self.params_, self.hyper_))
            return problem.logits(params, hyper, data, {})

    def _columns(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """By name; of an array of objects, each column gets a type of its own."""
        names = getattr(self, "feature_names_in_", [f"x{at}" for at in range(X.shape[1])])
        return read_columns({name: X[:, at].tolist() if X.dtype.kind == "O" else X[:, at] for at, name in enumerate(names)})

    def _target(self, y: np.ndarray) -> np.ndarray:
        return y.astype(np.float64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags


class TableClassifier(ClassifierMixin, Table):
    """A classifier of rows: `family` "logistic" or "mlp" at `config`, a configuration of its space (None: its centre)."""

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.outputs(X).softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        codes = self.outputs(X).argmax(1).numpy()
        return self.classes_[codes]

    def _target(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        return codes


class TableRegressor(RegressorMixin, Table):
    """A regression on rows: `family` "logistic", which is linear here, or "mlp" at `config` (None: the centre of its space)."""

    def predict(self, X: Any) -> np.ndarray:
        standardised = self.outputs(X).squeeze(1).numpy()
        return standardised * self.encoder_.target.scale + self.encoder_.target.mean


def _where_estimator_has(name: str) -> Any:
    return available_if(lambda self: hasattr(self.estimator, name))


class CondensedSearch(MetaEstimatorMixin, BaseEstimator):
    """The best configuration of `estimator`, a `TableClassifier` or `TableRegressor`, found on a condensed set.

    `fit` holds out `validation_fraction` of the rows, condenses both parts to `size` rows by `method`, trains `trials`
    configurations on these as `algorithm` chooses them, and then the best of them on all rows. `method` and `algorithm`
    are names as of `hcdc condense` and `hcdc.search`, or a `Condenser` and a `Searcher`. Afterwards there are
    `best_estimator_`, which predicts; `best_params_`, which `estimator` takes; `best_score_`, minus the criterion on
    the condensed validation set (1 - soft accuracy, or of a regression the loss); `cv_results_`, best first; and the artefact `condensed_`.
    """

    def __init__(
        self,
        estimator: Any,
        size: int = 20,
        *,
        method: str | Condenser = "hcdc",
        algorithm: str | Searcher = "random",
        trials: int = 40,
        validation_fraction: float = 0.25,
        random_state: Any = 0,
    ) -> None:
        self.estimator, self.size, self.method, self.algorithm = estimator, size, method, algorithm
        self.trials, self.validation_fraction, self.random_state = trials, validation_fraction, random_state

    def fit(self, X: Any, y: Any) -> Self:
        if not isinstance(self.estimator, Table):
            raise InputError("estimator", type(self.estimator).__name__, "must be a TableClassifier or a TableRegressor", "give one of these")
        chosen: Any = clone(self.estimator)
        seed = _seed(self.random_state)
        objective = self._condensed(chosen.read(X, y), chosen.family, seed)
        trials = ranked(_searcher(self.algorithm).run(objective, trials=self.trials, seed=seed))
        self.cv_results_, self.best_index_ = _results(trials), 0
        self.best_params_, self.best_score_ = self.cv_results_["params"][0], float(self.cv_results_["mean_test_score"][0])
        self.best_estimator_ = chosen.set_params(**self.best_params_).fit(X, y)
        return self

    def _condensed(self, rows: TableData, family: str, seed: int) -> Objective:
        """Search on the condensed `rows`."""
        kept, held = train_test_split(
            np.arange(rows.size), test_size=self.validation_fraction, random_state=seed, stratify=rows.y.numpy() if rows.num_classes else None
        )
        if self.size > len(held):
            raise InputError("size", self.size, f"must be at most {len(held)}, the rows that are held out", "lower it, or raise validation_fraction")
        real = Real(*(rows.take(torch.from_numpy(part)) for part in (kept, held)))
        small, full = default_recipes(rows, family)
        problem: Any = small.problem
        task = Task(small, full, real, problem.space(), Budget(self.size, self.size), seed)
        method = fitted(method_named(self.method, "table"), task) if isinstance(self.method, str) else self.method
        self.condensed_ = condense(method, task, DataCard.of("X, y", fingerprint(real), "table", rows))
        return Objective(small, task.space, self.condensed_.train, self.condensed_.val)

    @_where_estimator_has("predict")
    def predict(self, X: Any) -> np.ndarray:
        return self._best.predict(X)

    @_where_estimator_has("predict_proba")
    def predict_proba(self, X: Any) -> np.ndarray:
        return self._best.predict_proba(X)

    def score(self, X: Any, y: Any) -> float:
        """Accuracy, or R^2 of a regression."""
        return self._best.score(X, y)

    @property
    def _best(self) -> Any:
        check_is_fitted(self, "best_estimator_")
        return self.best_estimator_

    @property
    def classes_(self) -> np.ndarray:
        return self._best.classes_

    @property
    def n_features_in_(self) -> int:
        return self._best.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        return self._best.feature_names_in_

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type, tags.classifier_tags, tags.regressor_tags = inner.estimator_type, inner.classifier_tags, inner.regressor_tags
        tags.input_tags, tags.target_tags = inner.input_tags, inner.target_tags
        return tags


def _results(trials: list[Trial]) -> dict[str, Any]:
    """In the words of `sklearn.model_selection.GridSearchCV`."""
    return {
        "params": [{"config": trial.config} for trial in trials],
        "mean_test_score": np.asarray([-trial.score for trial in trials]),
        "rank_test_score": np.arange(1, len(trials) + 1),
        "mean_fit_time": np.asarray([trial.seconds for trial in trials]),
    }


def _searcher(algorithm: str | Searcher) -> Searcher:
    if not isinstance(algorithm, str):
        return algorithm
    if algorithm not in ALGORITHMS:
        raise InputError("algorithm", algorithm, f"must be one of {', '.join(ALGORITHMS)}, or a Searcher", "choose one of these")
    return ALGORITHMS[algorithm]


def _centre(space: Space) -> dict[str, float | int | str]:
    """The middle of every range and the first of every choice."""

    def middle(axis: Axis) -> float | int | str:
        return axis.options[0] if isinstance(axis, Choice) else axis.round(torch.tensor([(axis.low + axis.high) / 2]))

    return {name: middle(axis) for name, axis in space.axes.items()}


def _seed(random_state: Any) -> int:
    return int(check_random_state(random_state).randint(2**31 - 1))
