"""The mathematics: problem, inner solver, adjoint and linear solver, four parts that compose."""

from hcdc.bilevel.adjoint import (
    Implicit,
    Solution,
    Unrolled,
    check_dependence,
    hypergradient,
    hypergradients,
    sensitivities,
)
from hcdc.bilevel.inner import SGD, Adam, Recipe, Solver, descend, fit, initialise
from hcdc.bilevel.linear import (
    CG,
    Direct,
    LinearSolution,
    LinearSolver,
    Neumann,
    Nystrom,
    Result,
    largest_eigenvalue,
)
from hcdc.bilevel.problem import (
    MEMORY,
    WORST,
    Bilevel,
    Decayed,
    Scored,
    Spanned,
    Sparing,
    Stochastic,
    Weighed,
    bounded,
    judged,
    readings,
    together,
    values,
    within,
)
from hcdc.bilevel.second_order import Gradients, SecondOrder, gradients, gradients_of
from hcdc.bilevel.step import stepped

__all__ = [
    "CG", "MEMORY", "SGD", "WORST", "Adam", "Bilevel", "Decayed", "Direct", "Gradients", "Implicit", "LinearSolution", "LinearSolver", "Neumann",
    "Nystrom", "Recipe", "Result", "Scored", "SecondOrder", "Solution", "Solver", "Spanned", "Sparing", "Stochastic", "Unrolled", "Weighed",
    "bounded", "check_dependence", "descend", "fit", "gradients", "gradients_of", "hypergradient", "hypergradients", "initialise", "judged",
    "largest_eigenvalue", "readings", "sensitivities", "stepped", "together", "values", "within",
]  # fmt: skip
