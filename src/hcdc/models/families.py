"""The families by name, so that a card can rebuild the problem it was condensed for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hcdc.data import GraphData, ImageData, TableData
from hcdc.errors import FormatError, InputError
from hcdc.models.appnp import Appnp
from hcdc.models.classifier import Classifier
from hcdc.models.convmix import ConvMix
from hcdc.models.convnet import ConvNet
from hcdc.models.graphnas import GraphNasNet
from hcdc.models.graphnet import GraphNet
from hcdc.models.nasbench201 import NasBench201
from hcdc.models.polyfilter import Heat, PolyFilter, Ppr
from hcdc.models.sign import Sign
from hcdc.models.tabular import Logistic, Mlp, Tabular

GRAPH_FAMILIES: dict[str, type[GraphNet]] = {
    "polyfilter": PolyFilter, "ppr": Ppr, "heat": Heat, "sign": Sign, "appnp": Appnp, "graphnas": GraphNasNet,
}  # fmt: skip
IMAGE_FAMILIES: dict[str, type[ConvMix] | type[ConvNet] | type[NasBench201]] = {
    "convmix": ConvMix, "convnet": ConvNet, "nasbench201": NasBench201,
}  # fmt: skip
TABLE_FAMILIES: dict[str, type[Tabular]] = {"logistic": Logistic, "mlp": Mlp}
Problem = GraphNet | ConvMix | ConvNet | NasBench201 | Tabular
FAMILIES: dict[str, type[Problem]] = {**GRAPH_FAMILIES, **IMAGE_FAMILIES, **TABLE_FAMILIES}
SIZES = {"num_classes", "num_features", "shape", "columns"}
"""Fields that are read off the data."""
DECAYING = {"convmix", "logistic", "mlp"}
"""Families whose decay is searched, so that a fixed one would enter nothing."""


def problem_for(data: GraphData | ImageData | TableData, family: str | None = None, **settings: Any) -> Problem:
    """The problem of `family` (default: polyfilter for graphs, convmix for images, logistic for tables) fitted to the
    sizes of `data`."""
    of_data = _families_of(data)
    name = family or next(iter(of_data))
    if name not in FAMILIES:
        raise InputError("space", name, f"must be one of {', '.join(FAMILIES)}", "choose one of these")
    if name not in of_data:
        kinds = f"{', '.join(GRAPH_FAMILIES)} are for graphs, {', '.join(IMAGE_FAMILIES)} for images, {', '.join(TABLE_FAMILIES)} for tables"
        raise InputError("space", name, kinds, "leave --space out to take the right one")
    _check_settings(name, settings)
    if isinstance(data, GraphData):
        merged: dict[str, Any] = {"dropout": 0.5} | settings
        return GRAPH_FAMILIES[name](data.num_classes, num_features=data.num_features, **merged)
    if isinstance(data, TableData):
        return TABLE_FAMILIES[name](data.num_classes, columns=data.widths, **settings)
    if not data.num_classes:
        raise InputError("data", "floating labels", f"{name} needs classes", "give a model of your own to `condense_model`")
    return IMAGE_FAMILIES[name](data.num_classes, shape=data.shape, **settings)


def _families_of(data: Any) -> Mapping[str, Any]:
    """The families that read `data`, the default first."""
    if isinstance(data, GraphData):
        return GRAPH_FAMILIES
    if isinstance(data, TableData):
        return TABLE_FAMILIES
    if isinstance(data, ImageData):
        return IMAGE_FAMILIES
    raise InputError("data", type(data).__name__, "has no family that ships", "give a model of your own to `condense_model`")


def _check_settings(name: str, settings: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(FAMILIES[name]) if field.name not in SIZES]
    for setting, value in settings.items():
        if setting not in known:
            raise InputError(setting, value, f"is no setting of {name}, which has {', '.join(known)}", "leave it out or choose another space")
    if "weight_decay" in settings and name in DECAYING:
        raise InputError("weight_decay", settings["weight_decay"], f"enters no loss of {name}, which searches its decay", "leave it out")


def problem_to_card(problem: Classifier) -> dict[str, Any]:
    """Family and settings; `regularisers` only where there are any, so that cards without them stay what they were."""
    names = {family: name for name, family in FAMILIES.items()}
    settings = asdict(problem)
    if not settings.get("regularisers"):
        settings.pop("regularisers", None)
    return {"family": names[type(problem)], **settings}  # pyright: ignore[reportArgumentType]


def problem_from_card(card: Mapping[str, Any]) -> Problem:
    """Inverse of `problem_to_card`; raises `FormatError` for a family or a field that is not known or of another type."""
    try:
        settings = dict(card)
        family: Any = FAMILIES[settings.pop("family")]
        unknown = sorted(set(settings) - {field.name for field in fields(family)})
        if unknown:
            raise KeyError(*unknown)
        return TypeAdapter(family).validate_python(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise FormatError(f"field `{'.'.join(map(str, ('problem', *first['loc'])))}`: {first['msg']}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"field `problem`: {error} is not known to this version") from error
