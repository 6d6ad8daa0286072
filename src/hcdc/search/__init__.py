"""Searchers: each runs unchanged on condensed and on original data."""

from hcdc.search.base import Objective, Searcher, Trial, check_trials, ranked
from hcdc.search.darts import Darts
from hcdc.search.darts_pt import DartsPT
from hcdc.search.graphnas import GraphNAS
from hcdc.search.grid import Grid
from hcdc.search.hypergradient import HypergradientDescent
from hcdc.search.random import Random
from hcdc.search.reinforce import Reinforce
from hcdc.search.supernet import Architect

ALGORITHMS: dict[str, Searcher] = {
    "grid": Grid(), "random": Random(), "hypergradient": HypergradientDescent(), "darts": Darts(), "darts-pt": DartsPT(),
    "reinforce": Reinforce(), "graphnas": GraphNAS(),
}  # fmt: skip

__all__ = [
    "ALGORITHMS", "Architect", "Darts", "DartsPT", "GraphNAS", "Grid", "HypergradientDescent", "Objective", "Random", "Reinforce", "Searcher",
    "Trial", "check_trials", "ranked",
]  # fmt: skip
