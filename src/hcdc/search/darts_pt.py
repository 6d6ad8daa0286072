"""DARTS-PT (Wang et al. 2021): of every choice the option whose removal from the trained supernet costs most."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hcdc._tensors import generator_for
from hcdc._typing import Config, Hyper
from hcdc.bilevel import Scored
from hcdc.data import GraphData
from hcdc.errors import InputError
from hcdc.search.base import Objective, Trial
from hcdc.search.supernet import Architect, Edge, Supernet, edges_of, searched
from hcdc.store import Groups


@dataclass(frozen=True)
class DartsPT:
    """A supernet is trained as DARTS does; then, choice by choice in random order, each option is removed (its weight set to
    0), the one whose removal leaves the lowest validation accuracy is kept, and the supernet goes on for `tuning` epochs at
    `tuning_rate` times the rate it began with. Equal accuracies are told apart by the criterion, which alone decides where a
    problem has no accuracy.

    Each of `trials` is such a search with a seed of its own and the training of what it found; numeric axes are as in
    `Darts`. Validation data of more than `judge_batch` examples are judged in batches of as many, unless they are a graph's or
    the nets are trained without batches.
    The published budget is an `Architect` of `SGD.lasting(100, size)`, with 5 epochs of tuning.
    """

    architect: Architect = field(default_factory=Architect)
    tuning: int = 5
    tuning_rate: float = 0.1
    judge_batch: int = 500

    def __post_init__(self) -> None:
        if self.tuning < 0 or self.judge_batch < 1 or not self.tuning_rate > 0:
            given = (self.tuning, self.tuning_rate, self.judge_batch)
            raise InputError("tuning, tuning_rate, judge_batch", given, "must not be negative, must be positive", "use 5, 0.1 and 500")

    def run(self, objective: Objective, *, trials: int, seed: int, checkpoint: Path | None = None) -> tuple[Trial, ...]:
        edges_of(objective.space, "DARTS-PT")
        return searched(self, self.architect, objective, trials, seed, checkpoint)

    def __call__(self, net: Supernet, drive: Callable[[Callable[[Groups, int], Groups], int], Groups]) -> Config:
        trained, epoch = net.solver.steps, self.epoch(net)
        edges = edges_of(net.objective.space, "DARTS-PT")
        order = [edges[at] for at in torch.randperm(len(edges), generator=generator_for(net.seed, 5)).tolist()]
        length = self.tuning * epoch + 1

        def step(state: Groups, number: int) -> Groups:
            if number < trained:
                return net.step(state, number)
            place, within = divmod(number - trained, length)
            if within == 0:
                return self.decided(net, state, order[place])
            return net.step(state, number, self.tuning_rate * net.solver.rate(0))

        # What would follow the last choice is not trained.
        return net.config(drive(step, trained + (len(order) - 1) * length + 1))

    def epoch(self, net: Supernet) -> int:
        """Steps of one pass through the training data."""
        train = net.objective.train
        return math.ceil(train.size / net.share(train))

    def decided(self, net: Supernet, state: Groups, edge: Edge) -> Groups:
        """`state` with the choice at `edge` made."""
        hyper = net.hyper(state)
        options = hyper[edge.group].shape[-1]
        harm: list[tuple[float, float]] = []
        for option in range(options):
            weights = hyper[edge.group].clone()
            weights[edge.row, option] = 0.0
            accuracy, criterion = self.judged(net, state, hyper | {edge.group: weights})
            harm.append((-accuracy, criterion))
        made = {key: value.clone() for key, value in state["made"].items()}
        made[edge.group][edge.row] = max(range(options), key=lambda option: harm[option])
        return state | {"made": made}

    @torch.no_grad()
    def judged(self, net: Supernet, state: Groups, hyper: Hyper) -> tuple[float, float]:
        """(accuracy, criterion) on the validation data, the mean over batches of nearly one size."""
        problem, total = net.objective.recipe.problem, torch.zeros(2, dtype=torch.float64)
        parts = self.parts(net)
        for part in parts:
            criterion = problem.outer(state["weights"], hyper, part)
            accuracy = problem.metrics(state["weights"], hyper, part)["accuracy"] if isinstance(problem, Scored) else torch.zeros(())
            total += torch.stack([accuracy.double(), criterion.double()]) / len(parts)
        return float(total[0]), float(total[1].nan_to_num(nan=math.inf))

    def parts(self, net: Supernet) -> list[Any]:
        val = net.objective.val
        if isinstance(val, GraphData) or net.solver.batch_size is None or val.size <= self.judge_batch:
            return [val]
        return [val.take(index) for index in torch.arange(val.size).tensor_split(-(-val.size // self.judge_batch))]
