"""The families by name, so that a card can rebuild the problem it was condensed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hcdc.data import GraphData, ImageData
from hcdc.errors import FormatError, HcdcError, InputError
from hcdc.models.classifier import Classifier
from hcdc.models.convmix import ConvMix
from hcdc.models.polyfilter import PolyFilter

FAMILIES: dict[str, type[PolyFilter] | type[ConvMix]] = {"polyfilter": PolyFilter, "convmix": ConvMix}


def problem_for(data: GraphData | ImageData, family: str | None = None, **settings: Any) -> PolyFilter | ConvMix:
    """The problem of `family` (default: polyfilter for graphs, convmix for images) fitted to the sizes of `data`."""
    name = family or ("polyfilter" if isinstance(data, GraphData) else "convmix")
    if name not in FAMILIES:
        raise InputError("space", name, f"must be one of {', '.join(FAMILIES)}", "choose one of these")
    if (name == "polyfilter") != isinstance(data, GraphData):
        raise InputError("space", name, "polyfilter is for graphs, convmix for images", "leave --space out to take the right one")
    if isinstance(data, GraphData):
        merged: dict[str, Any] = {"dropout": 0.5} | settings
        return PolyFilter(data.num_classes, num_features=data.num_features, **merged)
    return ConvMix(data.num_classes, shape=data.shape, **settings)


def problem_to_card(problem: Classifier) -> dict[str, Any]:
    names = {family: name for name, family in FAMILIES.items()}
    return {"family": names[type(problem)], **asdict(problem)}  # pyright: ignore[reportArgumentType]


def problem_from_card(card: Mapping[str, Any]) -> PolyFilter | ConvMix:
    """Inverse of `problem_to_card`; raises `FormatError` for a family or a field that is not known."""
    fields = dict(card)
    try:
        return FAMILIES[fields.pop("family")](**fields)
    except (KeyError, TypeError, HcdcError) as error:
        raise FormatError(f"field `problem`: {error} is not known to this version") from error
