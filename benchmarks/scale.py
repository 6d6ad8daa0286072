"""Cost of condensing large graphs: seconds and peak memory against the nodes of T, the points of the bank and the nodes of S.

    python benchmarks/scale.py                    # 10,000 to 169,343 nodes, the shape of ogbn-arxiv
    python benchmarks/scale.py --shape reddit     # 25,000 to 233,000 nodes of Reddit's degree, ten neighbours sampled
    python benchmarks/scale.py --along points     # 128 to 1,024 points, 10,000 nodes condensed to 100
    python benchmarks/scale.py --along size       # to 50 to 400 nodes

Block models of fixed mean degree (13.8 with 128 features and 40 classes; 489 with 128 features and 41), condensed by
hcdc at its defaults to as many nodes as the largest graph gets at its ratio (0.25 %, 0.1 %). Every run is a process of
its own, so that its peak is its own. Prints a Markdown table and the fitted exponents.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SHAPES: dict[str, dict[str, Any]] = {
    "arxiv": {
        "n": (10_000, 40_000, 169_343),
        "size": 423,
        "neighbours": None,
        "options": "classes=40,degree=13.8,homophily=0.65",
    },
    "reddit": {"n": (25_000, 75_000, 233_000), "size": 233, "neighbours": 10, "options": "classes=41,degree=489,homophily=0.75"},
}


ALONG = {"nodes": (), "points": (128, 256, 512, 1024), "size": (50, 100, 200, 400)}
"""What is varied, and its values; those of the nodes are the shape's."""
FEW = 100
"""Nodes of S where the points of the bank are varied."""


class Run(NamedTuple):
    """The graph, how many nodes it is condensed to, how many neighbours are read (None: all), how many points a bank has
    (None: the default)."""

    name: str
    size: int
    neighbours: int | None
    points: int | None

    def measured(self) -> dict[str, float]:
        """Load and condense in this process; seconds of either and the peak memory of all."""
        from hcdc.condense import HCDC, Bank
        from hcdc.data import load
        from hcdc.run import condense_source, method_named, task_for

        began = time.perf_counter()
        source = load(self.name)
        loaded = time.perf_counter() - began
        method = method_named("hcdc", neighbours=self.neighbours)
        if self.points is not None:
            assert isinstance(method, HCDC)
            method = replace(method, driver=Bank(starts=self.points // Bank.stages))
        condensed = condense_source(source, task_for(source, size=self.size), method)
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"load": loaded, "condense": condensed.card.seconds, "peak": peak}


def runs(along: str, shape: dict[str, Any], values: Sequence[int]) -> dict[int, Run]:
    """By the value of what is varied."""

    def one(n: int, size: int, points: int | None = None) -> Run:
        return Run(f"synthetic:sbm,n={n},{shape['options']},labelled={n // 100}", size, shape["neighbours"], points)

    smallest = shape["n"][0]
    if along == "points":
        return {value: one(smallest, FEW, value) for value in values}
    return {value: one(value, shape["size"]) if along == "nodes" else one(smallest, value) for value in values}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="arxiv")
    parser.add_argument("--along", choices=ALONG, default="nodes")
    parser.add_argument("--n", "--values", dest="values", type=int, nargs="+", help="of what is varied")
    parser.add_argument("--run", help="of one process: what it does and the file of the answer, as JSON")
    arguments = parser.parse_args()
    if arguments.run:
        path, *asked = json.loads(arguments.run)
        Path(path).write_text(json.dumps(Run(*asked).measured()))
        return
    from hcdc.store import hardware

    shape, along = SHAPES[arguments.shape], arguments.along
    print(f"{hardware()}; shape of {arguments.shape}, neighbours {shape['neighbours'] or 'all'}\n")
    print(f"| {along} | load, s | condense, s | peak, GiB |\n|---|---|---|---|", flush=True)
    rows: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for value, each in runs(along, shape, arguments.values or ALONG[along] or shape["n"]).items():
            path = Path(scratch) / "answer.json"
            subprocess.run([sys.executable, __file__, "--run", json.dumps([str(path), *each])], check=True)
            answer = json.loads(path.read_text())
            rows.append((value, answer["condense"], answer["peak"]))
            print(f"| {value} | {answer['load']:.0f} | {answer['condense']:.0f} | {answer['peak'] / 2**30:.1f} |", flush=True)
    if len(rows) > 1:
        values, seconds, peaks = np.log(np.array(rows)).T
        print(f"\nseconds grow as {along}^{np.polyfit(values, seconds, 1)[0]:.2f}, memory as {along}^{np.polyfit(values, peaks, 1)[0]:.2f}")


if __name__ == "__main__":
    main()
