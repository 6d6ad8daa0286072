"""Hyperparameter-calibrated dataset condensation.

Public names are loaded when first used, so that `hcdc --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOMS = {
    "hcdc._device": ("on",),
    "hcdc.bilevel": ("CG", "Adam", "Bilevel", "Direct", "Implicit", "Neumann", "Nystrom", "Recipe", "SGD", "Unrolled",
                     "hypergradient", "hypergradients"),
    "hcdc.condense": ("HCDC", "Algorithm1", "Bank", "Budget", "Coreset", "GCond", "Pilot", "Task", "default_recipes"),
    "hcdc.data": ("Examples", "GraphData", "ImageData", "NasBench201Table", "Source", "Splits", "TableData", "from_pyg", "load", "table_splits",
                  "to_pyg"),
    "hcdc.doctor": ("Checkup", "Finding", "check"),
    "hcdc.errors": (
        "ConvergenceError", "DataError", "FormatError", "HcdcError", "InputError", "MissingExtraError", "ModelError", "RunExistsError", "SpaceError",
    ),
    "hcdc.evaluate": ("CellTrainer", "Evaluation", "Guard", "Judge", "Probe", "align", "first_look", "objective_for", "verdict", "write_report"),
    "hcdc.integrations.ray": ("Ray",),
    "hcdc.models": ("ConvMix", "Logistic", "Mlp", "ModuleProblem", "NasBench201", "PolyFilter", "problem_for"),
    "hcdc.own": ("Calibrated", "Own", "condense_model"),
    "hcdc.run": ("condense_source", "method_named", "task_for"),
    "hcdc.search": (
        "Architect", "Darts", "DartsPT", "GraphNAS", "Grid", "HypergradientDescent", "Objective", "Random", "Reinforce", "Trial",
    ),
    "hcdc.spaces": ("Cell", "Choice", "Int", "Real", "Space"),
    "hcdc.store": ("Checkpoint", "Condensed", "load_condensed"),
}  # fmt: skip
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hcdc' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
