"""Differentiable families: a model and its losses as one `Bilevel` problem."""

from hcdc.models.appnp import Appnp
from hcdc.models.augment import OPERATIONS, Draw, augment, draw
from hcdc.models.classifier import Classifier, Criterion
from hcdc.models.convmix import ConvMix
from hcdc.models.convnet import ConvNet
from hcdc.models.families import (
    FAMILIES,
    problem_for,
    problem_from_card,
    problem_to_card,
)
from hcdc.models.graphnet import GraphNet
from hcdc.models.nasbench201 import CellNetwork, NasBench201
from hcdc.models.polyfilter import GraphFilter, Heat, PolyFilter, Ppr
from hcdc.models.sign import Sign

__all__ = [
    "FAMILIES",
    "OPERATIONS",
    "Appnp",
    "CellNetwork",
    "Classifier",
    "ConvMix",
    "ConvNet",
    "Criterion",
    "Draw",
    "GraphFilter",
    "GraphNet",
    "Heat",
    "NasBench201",
    "PolyFilter",
    "Ppr",
    "Sign",
    "augment",
    "draw",
    "problem_for",
    "problem_from_card",
    "problem_to_card",
]
