"""Error of real hypergradients on sampled neighbourhoods against those on the whole graph, and what sampling saves.

    python benchmarks/sampling.py --data synthetic:sbm,n=20000,degree=100,classes=10

Trains --points filters on centroids, takes the total derivative of the real validation loss with all neighbours and with a
few drawn anew --draws times, and prints the cosine of each draw with the truth, the cosine of the mean of all draws, and
seconds by ratio.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.nn.functional import cosine_similarity

from hcdc.bilevel import CG, Implicit, sensitivities
from hcdc.condense import CENTROIDS, total_derivative
from hcdc.data import load
from hcdc.run import task_for
from hcdc.store import hardware


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="synthetic:sbm,n=20000,degree=100,classes=10")
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[2, 5, 10, 25, 50])
    parser.add_argument("--size", type=int, default=60)
    arguments = parser.parse_args()
    source = load(arguments.data)
    task = task_for(source, size=arguments.size)
    problem, val = task.condensed.problem, task.real.val
    train = CENTROIDS.select(task.real.train, arguments.size, task.generator(1))
    hyper = task.space.relax_all(task.space.configs(arguments.points, 0))
    params = task.condensed.fit(hyper, train, seed=0)
    slopes, _ = sensitivities(problem, params, hyper, train, Implicit(CG(1e-2, 15), damping=1e-3))
    began = time.perf_counter()
    truth, _ = total_derivative(problem, params, hyper, slopes, val)
    whole = time.perf_counter() - began
    print(f"{hardware()}; {arguments.data}, {arguments.points} points; with all neighbours {whole:.1f} s\n")
    print("| neighbours | cosine, median | cosine, worst tenth | cosine of the mean of the draws | relative error, median | time, of all |")
    print("|---|---|---|---|---|---|")
    for neighbours in arguments.neighbours:
        began = time.perf_counter()
        found = []
        for draw in range(arguments.draws):
            thinned = val.thinned(neighbours, torch.Generator().manual_seed(draw))
            found.append(total_derivative(problem, params, hyper, slopes, thinned)[0].detach())
        seconds = (time.perf_counter() - began) / arguments.draws
        draws = torch.stack(found)
        cosines = cosine_similarity(draws, truth, dim=-1)
        mean = cosine_similarity(draws.mean(0), truth, dim=-1).median()
        error = ((draws - truth).norm(dim=-1) / truth.norm(dim=-1)).median()
        figures = f"{cosines.median():.3f} | {cosines.quantile(0.1):.3f} | {mean:.3f} | {error:.3f} | {seconds / whole:.2f}"
        print(f"| {neighbours} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
