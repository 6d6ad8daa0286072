"""Tables with scikit-learn's conventions: its own checks, its cross-validation, its pipelines, its copies."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pandas
import pytest
import torch

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import hcdc.run
from hcdc import on
from hcdc.bilevel import Adam, Recipe
from hcdc.condense import HCDC, Bank, default_recipes
from hcdc.errors import DataError, InputError, MissingExtraError
from hcdc.integrations.sklearn import CondensedSearch, TableClassifier, TableRegressor
from hcdc.search import HypergradientDescent
from tests import small

METHOD = HCDC(driver=Bank(starts=2, stages=1, chunk=2, steps=2, batch=2))
SMALL = {"size": 6, "method": METHOD, "trials": 3}
DATA, LABELS = small.columns()
FRAME, TOWNS = pandas.DataFrame(DATA), np.asarray(["Aix", "Bern", "Cork"])[LABELS]
NUMBERS = FRAME[["a", "b"]].to_numpy()


@pytest.fixture(autouse=True)
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 steps, larger ones, which the small tables need no more than."""

    def short(data: Any, family: str) -> tuple[Recipe, Recipe]:
        found, _ = default_recipes(data, family)
        return found._replace(solver=Adam(20, 0.1)), found._replace(solver=Adam(40, 0.2))

    monkeypatch.setattr("hcdc.integrations.sklearn.default_recipes", short)


CHECKED = [TableClassifier(), TableRegressor(), CondensedSearch(TableClassifier(), 4, method="random", trials=2, validation_fraction=0.5)]


@parametrize_with_checks(CHECKED)
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_classifier_of_text_and_numbers_finds_its_configuration() -> None:
    search = CondensedSearch(TableClassifier("mlp"), **SMALL).fit(FRAME, TOWNS)
    assert set(search.best_params_["config"]) == {"activation", "width", "log10_decay"}
    assert search.best_estimator_.config == search.best_params_["config"]
    assert (search.condensed_.train.size, search.condensed_.card.method) == (6, METHOD.name)
    assert [column.name for column in search.condensed_.card.data.columns] == ["a", "b", "town", "y"]
    assert list(search.classes_) == ["Aix", "Bern", "Cork"]
    assert search.score(FRAME, TOWNS) > 0.7
    assert search.predict_proba(FRAME[:4]).sum(1) == pytest.approx(1)
    assert list(search.predict(FRAME[:4])) == list(search.classes_[search.predict_proba(FRAME[:4]).argmax(1)])
    results = pandas.DataFrame(search.cv_results_)
    assert results["mean_test_score"].is_monotonic_decreasing
    assert search.best_score_ == results["mean_test_score"].max()
    assert len(results) == 3


def test_a_regression_is_in_the_units_of_its_target() -> None:
    y = 1000 + 50 * NUMBERS @ np.asarray([2.0, -1.0])
    weak = TableRegressor(config={"log10_decay.0": -4.0, "log10_decay.1": -4.0})
    assert weak.fit(NUMBERS, y).score(NUMBERS, y) > 0.9
    assert weak.predict(NUMBERS).mean() == pytest.approx(y.mean(), rel=0.01)
    assert weak.predict(NUMBERS).std() == pytest.approx(y.std(), rel=0.1)
    assert CondensedSearch(TableRegressor(), **SMALL).fit(NUMBERS, y).score(NUMBERS, y) > 0.5


def test_the_same_seed_finds_the_same_and_condenses_the_same_bits() -> None:
    first, second, other = (CondensedSearch(TableClassifier(), **SMALL, random_state=seed).fit(NUMBERS, TOWNS) for seed in (1, 1, 2))
    assert first.condensed_.fingerprint() == second.condensed_.fingerprint() != other.condensed_.fingerprint()
    assert np.array_equal(first.predict_proba(NUMBERS), second.predict_proba(NUMBERS))
    assert first.best_params_ == second.best_params_


def test_cross_validation_pipelines_grids_copies_and_pickles() -> None:
    search = CondensedSearch(TableClassifier(), **SMALL)
    assert cross_val_score(make_pipeline(StandardScaler(), search), NUMBERS, TOWNS, cv=2).mean() > 0.6
    copy = clone(search.set_params(estimator__family="mlp", trials=2))
    assert (copy.estimator.family, copy.trials, copy.method) == ("mlp", 2, METHOD)
    fitted = pickle.loads(pickle.dumps(copy.fit(NUMBERS, TOWNS)))
    assert np.array_equal(fitted.predict(NUMBERS), copy.predict(NUMBERS))
    grid = GridSearchCV(TableClassifier("mlp"), {"config": [params["config"] for params in copy.cv_results_["params"]]}, cv=2)
    assert grid.fit(NUMBERS, TOWNS).best_params_["config"] in [params["config"] for params in copy.cv_results_["params"]]


def test_a_searcher_of_ones_own() -> None:
    search = CondensedSearch(TableClassifier(), **SMALL, algorithm=HypergradientDescent(starts=1)).fit(NUMBERS, TOWNS)
    assert len(search.cv_results_["params"]) == 3


def test_the_front_door_of_methods_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is a condenser at its defaults for tables."""
    monkeypatch.setattr(hcdc.run, "Bank", lambda **_: METHOD.driver)
    search = CondensedSearch(TableClassifier(), 6, trials=2).fit(NUMBERS, TOWNS)
    assert search.condensed_.card.settings["start"]["label"] == "images"


REFUSED = {
    "an algorithm": ({"algorithm": "magic"}, FRAME, InputError, "`algorithm` = 'magic'"),
    "a method": ({"method": "magic"}, FRAME, InputError, "`method` = 'magic'"),
    "a size": ({"size": 2}, FRAME, InputError, "`size` = 2: must lie between 3"),
    "a size beyond the rows held out": ({"size": 40}, FRAME, InputError, "`size` = 40: must be at most 23"),
    "another estimator": ({"estimator": StandardScaler()}, FRAME, InputError, "`estimator` = 'StandardScaler'"),
    "a family": ({"estimator": TableClassifier("cube")}, FRAME, InputError, "`space` = 'cube'"),
    "missing values": ({}, FRAME.assign(a=np.nan), ValueError, "NaN"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str) -> None:
    changed, frame, kind, said = REFUSED[case]
    with pytest.raises(kind, match=said):
        CondensedSearch(**{"estimator": TableClassifier()} | SMALL | changed).fit(frame, TOWNS)


def test_a_category_that_training_rows_lack_is_refused() -> None:
    model = TableClassifier().fit(FRAME, TOWNS)
    with pytest.raises(DataError, match=r"`town` = \['east'\]"):
        model.predict(FRAME.assign(town="east"))


def test_the_global_generators_are_left_alone() -> None:
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    CondensedSearch(TableClassifier(), **SMALL).fit(NUMBERS, TOWNS)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_without_the_extra_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hcdc.integrations.sklearn")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(MissingExtraError, match=r"\.\[tables\]"):
        __import__("hcdc.integrations.sklearn")


def test_inside_of_a_device_it_computes_on_the_cpu():
    alone = TableClassifier().fit(FRAME, LABELS)
    with on("meta"):
        inside = TableClassifier().fit(FRAME, LABELS)
        assert (inside.predict(FRAME) == alone.predict(FRAME)).all()
