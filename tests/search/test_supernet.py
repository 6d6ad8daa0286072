"""DARTS and DARTS-PT: the gradient of alpha, the step of the network, what is removed, and kills in the middle of a supernet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from hcdc.bilevel import CG, SGD, Adam, Implicit, Recipe, fit, hypergradient
from hcdc.errors import InputError
from hcdc.run import task_for
from hcdc.search import Architect, Darts, DartsPT, Objective
from hcdc.search.supernet import OPEN, Edge, Supernet, weighed
from hcdc.spaces import Choice, Space
from hcdc.store import Checkpoint
from tests import small


def objective(steps: int = 6, **solver: Any) -> Objective:
    task = small.task(small.images())
    return Objective(task.condensed._replace(solver=Adam(steps, 0.05, **solver)), task.space, *task.real)


def net(goal: Objective, **settings: Any) -> Supernet:
    return Supernet(goal, Architect(**settings), 0)


def test_alpha_follows_the_gradient_of_the_validation_criterion():
    """Of first order: differences of the criterion at fixed weights."""
    goal = objective()
    one = net(goal)
    state = one.start()
    found = one.slopes(state, goal.train, goal.val)["op"][0]
    expected = []
    for option in range(4):
        ends = []
        for sign in (1, -1):
            alpha = state["alpha"]["op"].clone()
            alpha[0, option] += sign * 1e-2
            ends.append(goal.recipe.problem.outer(state["weights"], one.hyper(state | {"alpha": {"op": alpha}}), goal.val))
        expected.append((ends[0] - ends[1]) / 2e-2)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-2, atol=1e-5)


def test_the_implicit_gradient_of_alpha_is_the_hypergradient_through_the_softmax():
    goal = replace(objective(), adjoint=Implicit(CG(1e-4, 50), damping=1e-2))
    one = net(goal, order="implicit")
    state = one.start()
    hyper = one.hyper(state)
    slope, _ = hypergradient(goal.recipe.problem, state["weights"], hyper, goal.train, goal.val, adjoint=goal.adjoint, throw=False)
    weights = hyper["op"][0]
    jacobian = torch.diag(weights) - torch.outer(weights, weights)
    torch.testing.assert_close(one.slopes(state, goal.train, goal.val)["op"][0], jacobian @ slope["op"][0])
    assert not torch.allclose(one.slopes(state, goal.train, goal.val)["op"], net(goal).slopes(state, goal.train, goal.val)["op"])


def test_a_graph_is_one_batch():
    goal = small.source()
    task = task_for(goal, size=9, family="appnp")
    one = net(Objective(task.full, task.space, *task.real), solver=SGD(6, 0.1, batch_size=8))
    assert one.batch(task.real.train, 3, 2) is task.real.train
    assert DartsPT(judge_batch=10).parts(one) == [task.real.val]
    assert DartsPT().epoch(one) == 1


@pytest.mark.parametrize("solver", [Adam(5, 0.05), SGD(5, 0.05, batch_size=None, limit=0.1)], ids=["adam", "sgd"])
def test_with_alpha_at_rest_the_network_is_trained_as_by_fit(solver):
    """As `fit` trains one model from the same start, moments, clipping and rate included."""
    goal = replace(objective(), recipe=Recipe(small.task(small.images()).condensed.problem, solver))
    one = net(goal, lr=1e-30, decay=0.0)
    state = one.start()
    start, hyper = {key: value.clone() for key, value in state["weights"].items()}, one.hyper(state)
    for number in range(solver.steps):
        state = one.step(state, number)
    batched = [{key: value.unsqueeze(0) for key, value in each.items()} for each in (hyper, start)]
    expected = fit(goal.recipe.problem, batched[0], goal.train, solver, seed=0, params=batched[1])
    for key, value in state["weights"].items():
        torch.testing.assert_close(value, expected[key][0], rtol=1e-4, atol=1e-5)


def test_a_choice_that_is_made_is_one_hot():
    hyper = weighed({"op": torch.tensor([[0.0, 1.0], [0.0, 1.0]])}, {"op": torch.tensor([OPEN, 0])})
    torch.testing.assert_close(hyper["op"], torch.tensor([[0.2689, 0.7311], [1.0, 0.0]]), rtol=0, atol=1e-4)


def test_mini_batches_show_every_example_once_an_epoch():
    one = net(objective(batch_size=10))
    seen = torch.cat([one.batch(one.objective.train, number, 2).x for number in range(3)])
    assert len({tuple(image.flatten().tolist()) for image in seen}) == one.objective.train.size == 30
    assert torch.equal(one.batch(one.objective.train, 7, 2).x, one.batch(one.objective.train, 7, 2).x)


@pytest.mark.parametrize("removed", range(4))
def test_the_option_whose_removal_costs_most_is_kept(monkeypatch, removed):
    goal = objective()
    one, method = net(goal), DartsPT()

    def judged(self, net, state, hyper):
        lost = float(hyper["op"][0, removed] == 0)
        return 0.9 - 0.5 * lost, 1.0

    monkeypatch.setattr(DartsPT, "judged", judged)
    state = method.decided(one, one.start(), Edge("op", 0))
    assert state["made"]["op"].tolist() == [removed]


def test_equal_accuracies_are_told_apart_by_the_criterion(monkeypatch):
    one = net(objective())
    monkeypatch.setattr(DartsPT, "judged", lambda self, net, state, hyper: (0.5, float(hyper["op"][0, 2] == 0)))
    assert DartsPT().decided(one, one.start(), Edge("op", 0))["made"]["op"].tolist() == [2]


@pytest.mark.parametrize("searcher", [Darts(), DartsPT(tuning=2)], ids=["darts", "darts-pt"])
@pytest.mark.parametrize("stop", [1, 5])
def test_a_supernet_killed_on_its_way_goes_on_to_the_same_bits(searcher, stop, tmp_path, monkeypatch):
    task = small.task(small.images())
    problem = replace(task.condensed.problem, blocks=2)
    goal = Objective(Recipe(problem, Adam(4, 0.05, batch_size=10)), problem.space(), *task.real)
    whole = [(trial.config, trial.score) for trial in searcher.run(goal, trials=2, seed=0)]
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    save, saved = Checkpoint.save, []

    def counted(self, step, groups, facts):
        save(self, step, groups, facts)
        saved.append(step)
        if len(saved) == stop:
            raise small.Killed

    monkeypatch.setattr(Checkpoint, "save", counted)
    with pytest.raises(small.Killed):
        searcher.run(goal, trials=2, seed=0, checkpoint=tmp_path)
    found = searcher.run(goal, trials=2, seed=0, checkpoint=tmp_path)
    assert [(trial.config, trial.score) for trial in found] == whole
    steps = saved[: saved.index(1, 1)] if 1 in saved[1:] else saved
    assert steps == sorted(set(steps))
    assert not (tmp_path / "supernet").exists()


@dataclass(frozen=True)
class Priced:
    """Weights that are trained to 1, and a criterion that is the price of the options, whatever the weights are."""

    prices: tuple[tuple[float, ...], ...]

    def init(self, hyper, generator):
        return {"w": torch.zeros(2)}

    def inner(self, params, hyper, data):
        return (params["w"] - 1).square().sum() + 0 * hyper["op"].sum()

    def outer(self, params, hyper, data):
        return (hyper["op"] * torch.tensor(self.prices)).sum() + 0 * params["w"].sum()


@pytest.mark.parametrize(
    ("searcher", "found"), [(Darts(Architect(lr=0.1)), ("b", "c")), (DartsPT(Architect(lr=0.1)), ("b", "c"))], ids=["darts", "pt"]
)
def test_the_options_with_the_lowest_criterion_are_found(searcher, found):
    """The removal of the option that lowers the criterion costs most."""
    space = Space({f"op.{edge}": Choice(("a", "b", "c")) for edge in range(2)})
    problem = Priced(((0.5, -1.0, 1.0), (2.0, 1.0, -0.5)))
    goal = Objective(Recipe(problem, Adam(20, 0.05)), space, *small.images().real)
    best = searcher.run(goal, trials=1, seed=0)[0]
    assert tuple(best.config.values()) == ("b", "c")
    assert best.score == pytest.approx(-1.5)


def test_a_search_by_another_adjoint_is_another_search(tmp_path):
    goal = objective()
    other = replace(goal, adjoint=Implicit(CG(1e-4, 50), damping=1.0))
    searcher = Darts(Architect(order="implicit"))
    for each in (goal, other):
        searcher.run(each, trials=1, seed=0, checkpoint=tmp_path)
        kept = len(list(tmp_path.glob("*.json")))
    assert kept == 3, "two searches, and the training of the cell that both found, or of two"


def test_settings_out_of_range():
    for settings in ({"lr": 0.0}, {"decay": -1.0}, {"order": "second"}):
        with pytest.raises(InputError, match=r"^`(lr, decay|order)` = .*; (use|choose)"):
            Architect(**settings)
    for settings in ({"tuning": -1}, {"judge_batch": 0}, {"tuning_rate": 0.0}):
        with pytest.raises(InputError, match=r"^`tuning, tuning_rate, judge_batch` = .*; use"):
            DartsPT(**settings)
