"""Differentiable families: a model and its losses as one `Bilevel` problem."""

from hcdc.models.appnp import Appnp
from hcdc.models.augment import OPERATIONS, Draw, augment, draw
from hcdc.models.classifier import Classifier
from hcdc.models.convmix import ConvMix
from hcdc.models.convnet import ConvNet
from hcdc.models.families import (
    FAMILIES,
    problem_for,
    problem_from_card,
    problem_to_card,
)
from hcdc.models.graphnas import GraphNasNet
from hcdc.models.graphnet import GraphNet
from hcdc.models.misfit import CRITERIA, Criterion, check_criterion, criterion_of, metrics_of, misfit
from hcdc.models.module import Batch, GraphBatch, ModuleProblem, UserLoss, batch_of, sample
from hcdc.models.nasbench201 import CellNetwork, NasBench201
from hcdc.models.polyfilter import GraphFilter, Heat, PolyFilter, Ppr
from hcdc.models.sign import Sign
from hcdc.models.tabular import Logistic, Mlp, Tabular

__all__ = [
    "CRITERIA", "FAMILIES", "OPERATIONS", "Appnp", "Batch", "CellNetwork", "Classifier", "ConvMix", "ConvNet", "Criterion", "Draw",
    "GraphBatch", "GraphFilter", "GraphNasNet", "GraphNet", "Heat", "Logistic", "Mlp", "ModuleProblem", "NasBench201", "PolyFilter", "Ppr", "Sign",
    "Tabular", "UserLoss", "augment", "batch_of", "check_criterion", "criterion_of", "draw", "metrics_of", "misfit", "problem_for",
    "problem_from_card", "problem_to_card", "sample",
]  # fmt: skip
