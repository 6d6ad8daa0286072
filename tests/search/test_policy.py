"""REINFORCE and GraphNAS: what a policy learns, and its recurrent cell against torch's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from hcdc.bilevel import WORST
from hcdc.errors import InputError, SpaceError
from hcdc.search import GraphNAS, Reinforce, Trial
from hcdc.search.graphnas import lstm
from hcdc.search.policy import decide
from hcdc.spaces import Choice, Real, Space
from tests.cases import generator


@dataclass
class Counted:
    """Scores by a table instead of trainings: the share of axes that have the wrong value."""

    space: Space
    best: dict[str, Any]
    worst: bool = False
    seen: list[Any] = field(default_factory=list)

    def trials(self, configs, seed, kept):
        self.seen += configs
        wrong = [sum(config[name] != value for name, value in self.best.items()) / len(self.best) for config in configs]
        return tuple(Trial(config, WORST if self.worst else score, 1.0) for config, score in zip(configs, wrong, strict=True))


def goal(**settings: Any) -> Counted:
    space = Space({f"op.{edge}": Choice(("a", "b", "c")) for edge in range(3)} | {"rate": Real(0.0, 1.0)})
    return Counted(space, {"op.0": "b", "op.1": "c", "op.2": "a", "rate": 0.5}, **settings)


@pytest.mark.parametrize("searcher", [Reinforce(lr=0.2), GraphNAS(lr=0.02)], ids=["reinforce", "graphnas"])
def test_a_policy_comes_to_prefer_what_scores_well(searcher):
    found = searcher.run(goal(), trials=300, seed=0)
    first, last = ([trial.score for trial in part] for part in (found[:60], found[-60:]))
    assert sum(last) < 0.6 * sum(first)
    assert min(trial.score for trial in found) == 0


@pytest.mark.parametrize("searcher", [Reinforce(batch=4), GraphNAS(batch=4)], ids=["reinforce", "graphnas"])
def test_numbers_are_searched_on_a_grid_and_batches_are_cut_to_the_trials(searcher):
    one = goal()
    assert len(searcher.run(one, trials=10, seed=0)) == len(one.seen) == 10
    assert {config["rate"] for config in one.seen} <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_trainings_that_end_in_no_number_teach_nothing():
    """The next draws are those of a policy that never learned."""
    draws = [[trial.config for trial in Reinforce(lr=lr).run(goal(worst=True), trials=40, seed=0)] for lr in (0.5, 1e-9)]
    assert draws[0] == draws[1]


def test_the_gradient_of_a_decision_is_that_of_its_log_probability():
    logits = torch.tensor([0.5, -0.2, 0.1], requires_grad=True)
    choice, log_probability, entropy = decide(logits, generator(0))
    (slope,) = torch.autograd.grad(log_probability, logits)
    probabilities = logits.detach().softmax(0)
    torch.testing.assert_close(slope, torch.eye(3)[choice] - probabilities)
    torch.testing.assert_close(entropy.detach(), torch.distributions.Categorical(probabilities).entropy())


def test_the_recurrent_cell_is_that_of_torch():
    params = GraphNAS(hidden=5).init([3], generator(0))
    cell = torch.nn.LSTMCell(5, 5)
    with torch.no_grad():
        cell.weight_ih.copy_(params["input"])
        cell.weight_hh.copy_(params["recurrent"])
        cell.bias_ih.copy_(params["bias"])
        cell.bias_hh.zero_()
    token, hidden, memory = torch.randn(3, 5, generator=generator(1))
    torch.testing.assert_close(lstm(params, token, hidden, memory), cell(token, (hidden, memory)))


@pytest.mark.parametrize("searcher", [Reinforce(), GraphNAS()], ids=["reinforce", "graphnas"])
def test_a_seed_that_no_generator_takes_is_refused(searcher):
    with pytest.raises(SpaceError, match="`seed`"):
        searcher.run(goal(), trials=2, seed=2**70)


def test_settings_out_of_range():
    for settings in ({"lr": 0.0}, {"memory": 1.0}, {"entropy": -1.0}):
        with pytest.raises(InputError, match=r"^`lr, memory, entropy` = "):
            Reinforce(**settings)
    for settings in ({"points": 1}, {"batch": 0}):
        with pytest.raises(InputError, match=r"^`points, batch` = "):
            GraphNAS(**settings)
    with pytest.raises(InputError, match=r"^`hidden, temperature, bound` = "):
        GraphNAS(temperature=0.0)


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_known_is_not_billed_again(tmp_path, kept):
    found = Reinforce(lr=2.0).run(goal(), trials=30, seed=0, checkpoint=tmp_path if kept else None)
    first = {str(trial.config): number for number, trial in reversed(list(enumerate(found)))}
    for number, trial in enumerate(found):
        assert (trial.seconds >= 1) == (number == first[str(trial.config)])
    assert len(first) < 30


def test_what_was_drawn_before_is_not_trained_again():
    """Eight configurations in all, forty trials, and no folder to keep anything in."""
    space = Space({f"op.{edge}": Choice(("a", "b")) for edge in range(3)})
    one = Counted(space, {"op.0": "b"})
    found = Reinforce(batch=1).run(one, trials=40, seed=0)
    assert len(found) == 40
    assert len(one.seen) == len({str(config) for config in one.seen}) <= 8
    assert sum(trial.seconds for trial in found) < 10
