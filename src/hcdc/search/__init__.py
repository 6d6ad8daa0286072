"""Searchers: each runs unchanged on condensed and on original data."""

from hcdc.search.base import Objective, Searcher, Trial, check_trials, ranked
from hcdc.search.grid import Grid
from hcdc.search.hypergradient import HypergradientDescent
from hcdc.search.random import Random

ALGORITHMS: dict[str, Searcher] = {"grid": Grid(), "random": Random(), "hypergradient": HypergradientDescent()}

__all__ = ["ALGORITHMS", "Grid", "HypergradientDescent", "Objective", "Random", "Searcher", "Trial", "check_trials", "ranked"]
