"""Hypergradients side by side with betty-ml, TorchOpt and higher: seconds, memory, error against the dense float64 answer.

    OMP_NUM_THREADS=1 python -m benchmarks.hypergradients --points 32 --repeats 9

Every library differentiates the same losses at the same trained parameters with the same linear solver and the same
number of terms. One hypergradient, then `--points` of them: by `hcdc` in one call, by the others one after the other.
A library that fails on a problem has a row that says how, and is not timed there.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import Contender, Terms, contenders, ours
from benchmarks.measure import Action, in_turns, keep, peak_bytes
from benchmarks.problems import PROBLEMS, Case
from hcdc._tensors import ravel
from hcdc.bilevel import Direct, Implicit, SecondOrder, hypergradients, largest_eigenvalue

COMMAND = "OMP_NUM_THREADS=1 python -m benchmarks.hypergradients"


def step_size(case: Case) -> float:
    """1 / (1.05 lambda_max) over all points: the step at which a Neumann series converges for each of them."""
    second = SecondOrder.at(case.problem, case.params, case.hyper, case.train)
    return float(1 / (1.05 * largest_eigenvalue(second.hessian, ravel(case.params), 20).max()))


def dense_answer(case: Case) -> Tensor:
    """The hypergradient of the first point by the whole Hessian in float64, flat."""
    return ravel(hypergradients(*case.one(0).double(), adjoint=Implicit(Direct()), throw=False)[0]).flatten()


def one_by_one(actions: list[Action]) -> None:
    for action in actions:
        action()


def failure(action: Action) -> str:
    """How `action` fails, in one line; empty where it does not."""
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def working(known: dict[str, Contender], case: Case, terms: Terms) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those of `known` that answer at every point of `case`, and how the others fail."""
    points = [case.one(i) for i in range(len(next(iter(case.hyper.values()))))]
    failed: dict[str, str] = {}
    for library, prepare in known.items():
        reason = next(filter(None, (failure(prepare(point, terms)) for point in points)), "")
        if reason:
            failed[library] = reason
    return {library: prepare for library, prepare in known.items() if library not in failed}, failed


def rows(name: str, case: Case, terms: Terms, truth: Tensor, repeats: int) -> list[dict[str, Any]]:
    """A row a library."""
    points = len(next(iter(case.hyper.values())))
    known, failed = working(contenders(terms.method), case, terms)
    single = {library: prepare(case.one(0), terms) for library, prepare in known.items()}
    every = range(points)
    many: dict[str, Action] = {library: partial(one_by_one, [prepare(case.one(i), terms) for i in every]) for library, prepare in known.items()}
    many["hcdc"] = ours(case, terms)
    one, all_of_them = in_turns(single, repeats), in_turns(many, max(3, repeats // 3))
    out = []
    for library, action in single.items():
        error = float((action().flatten().double() - truth).norm() / truth.norm())
        out.append(
            {
                "problem": name, "solver": f"{terms.method} {terms.count}", "library": library,
                "one: clock, ms": 1e3 * one[library].wall, "one: processor, ms": 1e3 * one[library].busy,
                "one: peak, MiB": peak_bytes(action) / 2**20, "relative error": error,
                f"{points}: processor, ms": 1e3 * all_of_them[library].busy,
            }
        )  # fmt: skip
    for library, reason in failed.items():
        out.append(dict.fromkeys(out[0], "–") | {"problem": name, "solver": out[0]["solver"], "library": library, "one: clock, ms": reason})
    return out


def against_best(found: list[dict[str, Any]], column: str) -> float:
    """How many times as long as `hcdc` the best of the others takes, of those whose error is no more than 1.5 times ours."""
    finished = [row for row in found[1:] if row["relative error"] != "–"]
    equal = [row[column] for row in finished if row["relative error"] <= 1.5 * found[0]["relative error"] + 1e-5]
    return min(equal, default=float("inf")) / found[0][column]


def flatness(case: Case, scale: float, counts: tuple[int, ...] = (10, 100, 1000)) -> dict[int, int]:
    """Most bytes alive by the number of Neumann terms."""
    return {count: peak_bytes(ours(case, Terms("neumann", count, scale))) for count in counts}


def compare(name: str, points: int, repeats: int) -> None:
    """All libraries on one problem, into a file of its own."""
    case = PROBLEMS[name](points)
    scale, truth = step_size(case), dense_answer(case)
    found: list[dict[str, Any]] = []
    ratios: dict[str, float] = {}
    for terms in (Terms("neumann", 20, scale), Terms("cg", 10)):
        some = rows(name, case, terms, truth, repeats)
        found += some
        if len(some) > 1:
            ratios[f"{terms.method}, one point"] = against_best(some, "one: processor, ms")
            ratios[f"{terms.method}, {points} points"] = against_best(some, f"{points}: processor, ms")
    memory = flatness(case.one(0), scale) if name == "GNN" else {}
    keep(f"hypergradients-{name}", COMMAND, found, points=points, best_other_over_hcdc=ratios, peak_bytes_by_terms=memory)
    for label, ratio in ratios.items():
        print(f"{name}, {label}: the best of the others takes {ratio:.2f} times as long")
    for count, most in memory.items():
        print(f"{count} Neumann terms: {most / 2**20:.2f} MiB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in given.problems:
        compare(name, given.points, given.repeats)


if __name__ == "__main__":
    main()
