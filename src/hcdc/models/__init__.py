"""Differentiable families: a model and its losses as one `Bilevel` problem."""

from hcdc.models.classifier import Classifier, Criterion
from hcdc.models.convmix import ConvMix
from hcdc.models.families import (
    FAMILIES,
    problem_for,
    problem_from_card,
    problem_to_card,
)
from hcdc.models.polyfilter import PolyFilter

__all__ = ["FAMILIES", "Classifier", "ConvMix", "Criterion", "PolyFilter", "problem_for", "problem_from_card", "problem_to_card"]
