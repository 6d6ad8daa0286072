"""The figures of an evaluation in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from hcdc.errors import InputError
from hcdc.evaluate.scores import DIVERGED
from hcdc.store import UNITS, Card

Light = Literal["green", "amber", "red"]


FEWEST = 10
"""Configurations below which resampling them says nothing of how sure a correlation is: four in order are so in every sample."""

MARGIN = 0.01
"""How far above the strong floor a correlation must be to count as better than it."""


BEHIND = 0.03
"""By how much test accuracy the pick may be behind the best of all configurations, which noise alone puts ahead by a point."""


class Verdict(NamedTuple):
    """A traffic light, one sentence that says what it means, and five lines with the figures behind it; `str` is all of them."""

    light: Light
    sentence: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((f"{self.light.upper()}: {self.sentence}", *self.lines))


def verdict(facts: Mapping[str, Any]) -> Verdict:
    """The verdict on the facts of an `Evaluation`. Raises `InputError` for one that never looked at test data, which a `Probe`
    makes (`first_look`)."""
    if "floor_random_loss" not in facts:
        raise InputError("facts", "no random floor", "must be those of a thorough `Judge`", "judge with thorough=True")
    light, sentence = light_of(facts)
    return Verdict(light, sentence, _lines(facts, light))


def light_of(facts: Mapping[str, Any]) -> tuple[Light, str]:
    """Green: the ranking holds, beats what costs nothing, and pays. Amber: useful, or undecided, with a caveat. Red: do not
    search on it."""
    rho, floor = facts["spearman_loss"], facts["floor_strong_loss"]
    low, high = facts["ci95"]
    unknown = low is not None and low < 0 and high >= 0.5
    if rho is None or low is None or (rho < 0.5 and not unknown):
        return "red", "Do not search on this set: its ranking of configurations is not that of the full data."
    if low < 0.5 or facts["configs"] < FEWEST:
        return "amber", (
            "Undecided: so few configurations leave it open whether the ranking holds; "
            "judge more of them before searching on this set, or, where the space has no more, train all of them on the full data."
        )
    if floor is not None and floor >= rho - MARGIN:
        return "amber", "The ranking holds, but real examples at no cost rank as well: condensing gained nothing here."
    if rho < 0.85 or (facts["spearman_top_half_loss"] or 0) < 0.5:
        return "amber", "Good for telling bad configurations from good ones; retrain the best few on the full data before choosing."
    behind = facts.get("regret_top1")
    if behind is not None and "picked_test_accuracy" in facts and behind > BEHIND:
        return (
            "amber",
            f"It ranks configurations as the full data does, but its first is {percent(behind)} points behind the best: train the best few.",
        )
    if facts["break_even_configs"] is None:
        return "amber", "It ranks configurations as the full data does, and never pays for itself: search on the full data, which is as quick here."
    return "green", "Search on this set: it ranks configurations as the full data does."


def first_look(card: Card) -> Verdict | None:
    """What the probes of an artefact said, in four lines; None where it has none."""
    probe = card.probe
    if probe is None:
        return None
    facts = probe.model_dump() | {"seconds_condense": card.seconds}
    low, high = probe.ci95
    lines = (
        f"Ranking of {probe.configs} probes by loss, {card.sizes['train']} {card.data.unit} against the full data: "
        f"Spearman {show(probe.spearman_loss)} (95 % interval {show(low)} to {show(high)}, wide since probes are few).",
        f"Possible at best (full data, another seed): {show(probe.ceiling_loss)}; for nothing (real examples chosen with care): "
        f"{show(probe.floor_strong_loss)}.",
        _bill(facts, probe.light),
        f"The probes took {show(probe.seconds_probe, 1)} s. A thorough judgement, with test data: hcdc evaluate.",
    )
    return Verdict(probe.light, probe.sentence, lines)


def score_of(facts: Mapping[str, Any]) -> tuple[str, str]:
    """What a model is judged by beside its loss: its name in the keys of `facts`, and in words."""
    name = facts.get("score", "accuracy")
    return name, {"accuracy": "accuracy", "r2": "R²"}[name]


def _lines(facts: Mapping[str, Any], light: Light) -> tuple[str, ...]:
    unit = next(unit for unit in UNITS.values() if unit in facts)
    score, word = score_of(facts)
    low, high = facts["ci95"]
    return (
        f"Ranking of {facts['configs']} configurations by loss, {facts[unit]} {unit} against the full data: "
        f"Spearman {show(facts['spearman_loss'])} (95 % interval {show(low)} to {show(high)}).",
        f"In the better half, where the choice is made: {show(facts['spearman_top_half_loss'])}; "
        f"against {word} {show(facts[f'spearman_{score}'])} over all, {show(facts[f'spearman_top_half_{score}'])} in the better half.",
        f"Possible at best (full data, another seed): {_ceiling(facts)}; for nothing (real examples): "
        f"{show(facts['floor_strong_loss'])} chosen with care, {show(facts['floor_random_loss'])} at random.",
        _picked(facts),
        _bill(facts, light),
    )


def _ceiling(facts: Mapping[str, Any]) -> str:
    return "not known from one training of each" if facts.get("seeds") == 1 else show(facts["ceiling_loss"])


def _bill(facts: Mapping[str, Any], light: Light) -> str:
    gain = facts["break_even_configs"]
    if light == "red":
        paid = "in vain, as the ranking does not hold"
    elif gain is None:
        paid = "never pays for itself here: the full data is as quick"
    else:
        paid = f"pays for itself {even_from(gain, facts['seeds'])}"
    return (
        f"Condensing took {show(facts['seconds_condense'], 1)} s, the search {show(facts['seconds_search_condensed'], 1)} s "
        f"instead of {show(facts['seconds_search_full'], 1)} s: {paid}."
    )


def even_from(configs: int, seeds: int) -> str:
    """From how many configurations on condensing has paid for itself, and how often each of them is trained."""
    often = {1: "once", 2: "twice"}.get(seeds, f"{seeds} times")
    return f"from {configs} configuration{'' if configs == 1 else 's'} on, {'' if configs == 1 else 'each '}trained {often}"


def _picked(facts: Mapping[str, Any]) -> str:
    score, word = score_of(facts)
    picked, best, behind = facts[f"picked_test_{score}"], facts[f"best_test_{score}"], facts["regret_top5"]
    if score == "accuracy":
        return (
            f"The configuration picked has test accuracy {percent(picked)} %, the best of all "
            f"{percent(best)} %; best of the top five: {percent(behind)} points behind."
        )
    return (
        f"The configuration picked has test {word} {show(picked, 3)}, the best of all {show(best, 3)}; "
        f"best of the top five: {show(behind, 3)} behind."
        + (" None predicts better than the mean of the target." if best is not None and best <= 0 else "")
    )


def show(value: float | None, digits: int = 2) -> str:
    """`digits` decimals, a dash for what could not be measured, "diverged" for what did."""
    if value is not None and abs(value) >= DIVERGED:
        return "diverged"
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
