"""What the folder of an artefact holds, read for the commands: the set, its card, its searches and its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hcdc.cli.answers import Answer, few
from hcdc.errors import DataError, FormatError, InputError

if TYPE_CHECKING:
    from hcdc.data import Source
    from hcdc.evaluate import Verdict
    from hcdc.search import Trial
    from hcdc.store import Card, Condensed

OWN = "module"
"""The family of a model of the user's own, whose code is not saved."""


def opened(folder: Path) -> Condensed:
    """The artefact in `folder`, for a command that trains on it: `InputError` where its model is the user's own."""
    from hcdc.store import load_condensed

    condensed = load_condensed(folder)
    if _family(condensed.card, folder) == OWN:
        remedy = "judge and search it in Python: from hcdc.own import own; own(MODEL, train, val, space=..., size=...).load(DIR).evaluate(test)"
        raise InputError("DIR", str(folder), "was condensed for a model of your own, whose code is not saved", remedy)
    return condensed


def data_of(card: Card, given: str | None, root: Path | None) -> Source:
    """What an artefact was made from: where its card says, or where it is now."""
    from hcdc.data import load

    try:
        return load(given or card.data.name, root)
    except DataError as error:
        if given:
            raise
        rule = f"is what the set was made from, and cannot be read from here ({error})"
        raise InputError("data", card.data.name, rule, "say where it is: --data") from error


class Searched(NamedTuple):
    """What was kept of a search: `flags` of its command and the configuration that its guard recommends, where there are."""

    algorithm: str
    trials: tuple[Trial, ...]
    flags: str | None
    recommended: dict[str, Any] | None


def searches_of(folder: Path, artefact: str) -> list[Searched]:
    """The searches in `folder` that were made on the set with the hash `artefact`."""
    from hcdc.search import Trial
    from hcdc.store import read_json

    found: list[Searched] = []
    for path in sorted(folder.glob("search-*.json")):
        try:
            facts: Any = read_json(path)
            if not is_of(facts, artefact):
                continue
            trials = tuple(
                Trial(dict(trial["config"]), float(trial["score"]), float(trial["seconds"]), bool(trial.get("pruned", False)))
                for trial in facts["all"]
            )
            recommended = dict(facts["recommended_config"]) if "guard" in facts else None
            found.append(Searched(path.stem.removeprefix("search-"), trials, facts.get("flags"), recommended))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"{path} lacks or misspells {error}; remove it and search again") from error
    return found


def show(folder: Path, as_readme: bool = False) -> Answer:
    """The card, and the verdict where there is one; `as_readme` writes them for the Hugging Face Hub."""
    from hcdc.store import load_card, read_json

    card = load_card(folder)
    facts: dict[str, Any] = {"folder": str(folder), **card.model_dump()}
    unit, classes = card.data.unit, f"{card.data.num_classes} classes" if card.data.num_classes else "a regression"
    family = _family(card, folder)
    lines = [
        f"{folder}: {card.data.name} condensed by {card.method}, seed {card.seed}, in {card.seconds:.1f} s ({card.hardware})",
        f"  {card.sizes['train']} {unit} to train, {card.sizes['val']} to validate, {classes}",
        f"  space: {few(card.space)}; family: {family}",
    ]
    lines += [f"  {line}" for line in axes_of(card)]
    if card.pilot is not None:
        lines.append(f"  S_train and the steps on it were chosen by {card.pilot.configs} trainings on the full data, in {card.pilot.seconds:.1f} s")
    path = folder / "evaluation.json"
    if path.is_file():
        judged: Any = read_json(path)
        if is_of(judged, card.tensors_sha256):
            facts["evaluation"] = judged
        else:
            lines.append(f"  {path} judged another set, and is left aside")
    judged = facts.get("evaluation")
    try:
        if as_readme:
            from hcdc.integrations.huggingface import dataset_card

            facts["readme"] = dataset_card(card, judged)
        else:
            lines += [*_looked_at(card), *_unlooked(folder, card, family)] if judged is None else _judged(folder, judged)
    except (ArithmeticError, AttributeError, KeyError, StopIteration, TypeError, ValueError) as error:
        raise FormatError(f"{path} lacks or misspells {error}; remove it and judge again: hcdc evaluate {folder}") from error
    return Answer(facts, tuple(facts["readme"].splitlines()) if as_readme else tuple(lines))


def verify(folder: Path) -> Answer:
    """Load everything; whatever is wrong raises `FormatError`."""
    from hcdc.condense import recipes_of
    from hcdc.store import load_condensed

    condensed = load_condensed(folder)
    if condensed.card.recipes["condensed"]["problem"].get("family") != OWN:
        recipes_of(condensed)
    facts = {"folder": str(folder), "whole": True, "format": condensed.card.format, "tensors_sha256": condensed.card.tensors_sha256}
    return Answer(facts, (f"{folder} is whole: card and tensors fit each other, format {condensed.card.format}",))


def axes_of(card: Card) -> list[str]:
    """Whose decay each numbered axis of a logistic regression is."""
    if card.recipes["condensed"]["problem"].get("family") != "logistic" or card.data.columns is None:
        return []
    return [f"log10_decay.N is of column N: {few([f'{at} {column.name}' for at, column in enumerate(card.data.columns[:-1])])}"]


def _looked_at(card: Card) -> list[str]:
    from hcdc.evaluate import first_look

    found = first_look(card)
    return [] if found is None else _told(found)


def _judged(folder: Path, facts: dict[str, Any]) -> list[str]:
    from hcdc.evaluate import verdict

    report = folder / "report.html"
    return [*_told(verdict(facts)), *([f"  Report: {report}"] if report.is_file() else [])]


def _told(found: Verdict) -> list[str]:
    return [f"  {found.light}: {found.sentence}", *(f"  {line}" for line in found.lines)]


def _unlooked(folder: Path, card: Card, family: str) -> list[str]:
    """What may be done with an artefact that is not judged yet."""
    if family == OWN:
        return ["  of a model of your own: judge and search it in Python, where the model is (docs/own.md, What is saved)"]
    unprobed = [f"  not probed yet: hcdc probe {folder}"] if card.probe is None else []
    return [*unprobed, f"  not judged yet: hcdc evaluate {folder}"]


def _family(card: Card, folder: Path) -> str:
    try:
        return card.recipes["condensed"]["problem"]["family"]
    except (KeyError, TypeError) as error:
        raise FormatError(f"{folder / 'card.json'}: field `recipes` lacks or misspells {error}") from error


def is_of(facts: Any, artefact: str) -> bool:
    """Whether what was kept beside a set is of the set with the hash `artefact`; what does not say counts as its own."""
    return not isinstance(facts, dict) or facts.get("artefact", artefact) == artefact
