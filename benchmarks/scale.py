"""Cost of condensing large graphs: seconds and peak memory against the number of nodes.

    python benchmarks/scale.py                    # 10,000 to 169,343 nodes, the shape of ogbn-arxiv
    python benchmarks/scale.py --shape reddit     # 25,000 to 233,000 nodes of Reddit's degree, ten neighbours sampled

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
from pathlib import Path
from typing import Any

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


def run(name: str, size: int, neighbours: int | None) -> dict[str, float]:
    """Load and condense in this process; seconds of either and the peak memory of all."""
    from hcdc.data import load
    from hcdc.run import condense_source, method_named, task_for

    began = time.perf_counter()
    source = load(name)
    loaded = time.perf_counter() - began
    condensed = condense_source(source, task_for(source, size=size), method_named("hcdc", neighbours=neighbours))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"load": loaded, "condense": condensed.card.seconds, "peak": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="arxiv")
    parser.add_argument("--n", type=int, nargs="+")
    parser.add_argument("--run", help="of one process: name, size, neighbours and the file of the answer, as JSON")
    arguments = parser.parse_args()
    if arguments.run:
        name, size, neighbours, path = json.loads(arguments.run)
        Path(path).write_text(json.dumps(run(name, size, neighbours)))
        return
    from hcdc.store import hardware

    shape = SHAPES[arguments.shape]
    print(f"{hardware()}; {shape['size']} nodes to train and to validate, neighbours {shape['neighbours'] or 'all'}\n")
    print("| nodes | load, s | condense, s | peak, GiB |\n|---|---|---|---|", flush=True)
    rows: list[tuple[int, float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for n in arguments.n or shape["n"]:
            name, path = f"synthetic:sbm,n={n},{shape['options']},labelled={n // 100}", Path(scratch) / "answer.json"
            request = json.dumps([name, shape["size"], shape["neighbours"], str(path)])
            subprocess.run([sys.executable, __file__, "--run", request], check=True)
            answer = json.loads(path.read_text())
            rows.append((n, answer["condense"], answer["peak"]))
            print(f"| {n} | {answer['load']:.0f} | {answer['condense']:.0f} | {answer['peak'] / 2**30:.1f} |", flush=True)
    if len(rows) > 1:
        nodes, seconds, peaks = np.log(np.array(rows)).T
        print(f"\nseconds grow as n^{np.polyfit(nodes, seconds, 1)[0]:.2f}, memory as n^{np.polyfit(nodes, peaks, 1)[0]:.2f}")


if __name__ == "__main__":
    main()
