"""A model and data of the user's own, from one call to a verdict."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import datasets
import pandas
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import hcdc
from hcdc.cli import main
from hcdc.condense import HCDC, NEIGHBOURS, Bank
from hcdc.errors import InputError, RunExistsError
from hcdc.own import condense_model, own
from hcdc.spaces import Real, Space
from hcdc.store import locked
from tests import small

SPACE = Space({"gate": Real(0.2, 1.0), "log10_decay": Real(-3, 0)})
METHOD = HCDC(driver=Bank(starts=4, stages=1, chunk=4, steps=3, batch=4))
SMALL = {"space": SPACE, "size": 6, "method": METHOD, "small": hcdc.Adam(10, 0.05), "full": hcdc.Adam(10, 0.05)}


class Net(nn.Module):
    def __init__(self, outputs=3):
        super().__init__()
        self.first, self.head = nn.Linear(4, 5), nn.Linear(5, outputs)

    def forward(self, x, gate):
        return self.head(self.first(x).tanh() * gate)


def arrays(classes=3):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randn(60, 4, generator=generator) + torch.eye(3, 4)[y] * 2
    return [(x[at : at + 20], y[at : at + 20] if classes else y[at : at + 20] * 0.7) for at in (0, 20, 40)]


def test_progress_is_shown_to_those_who_ask(capsys):
    train, val, test = arrays()
    settings = SMALL | {"method": replace(METHOD, driver=replace(METHOD.driver, steps=2))}
    for progress in (False, True):
        condense_model(Net, train, val, **settings, progress=progress).evaluate(test, configs=4, seeds=1)
        shown = capsys.readouterr().err
        assert ("learning S_val" in shown) == ("training on full data" in shown) == progress


def test_one_call_to_a_set_that_ranks_and_is_judged(tmp_path):
    train, val, test = arrays()
    before = torch.get_rng_state()
    found = condense_model(Net, train, val, **SMALL)
    assert torch.equal(before, torch.get_rng_state())
    assert (found.train.size, found.val.size) == (6, 6)
    scores = [trial.score for trial in found.rank(SPACE.configs(5, 0))]
    assert scores == sorted(scores)
    assert len(found.search("hypergradient", trials=3)) == 3
    facts = found.evaluate(test, configs=5, seeds=2).facts
    assert {"spearman_loss", "ceiling_loss", "floor_strong_loss", "regret_top1", "break_even_configs", "verdict"} <= set(facts)
    assert facts["examples"] == 6
    assert json.dumps(facts)
    probe = found.probe(configs=6).condensed.card.probe
    assert probe is not None
    assert probe.sentence.startswith("As far as 6 probes tell")
    found.save(tmp_path / "set")
    with pytest.raises(RunExistsError):
        found.save(tmp_path / "set")


def test_a_set_is_not_searched_beyond_what_it_was_made_for(tmp_path):
    train, val, _ = arrays()
    condense_model(Net, train, val, **SMALL).save(tmp_path / "set")
    wider, narrower = ({"gate": Real(0.2, 1.0), "log10_decay": Real(low, high)} for low, high in ((-4, 0), (-2, -1)))
    with pytest.raises(InputError, match=r"`space` = \['log10_decay'\]"):
        own(Net, train, val, **SMALL | {"space": Space(wider)}).load(tmp_path / "set")
    assert own(Net, train, val, **SMALL | {"space": Space(narrower)}).load(tmp_path / "set").train.size == 6


def test_the_best_of_a_search_are_guarded():
    """By trainings on the full data, and without test data."""
    train, val, _ = arrays()
    found = condense_model(Net, train, val, **SMALL)
    guarded = found.guard(found.search("random", trials=5), keep=2, seeds=2)
    assert [len(each.real) for each in guarded.candidates] == [2, 2]
    assert guarded.recommended == min(guarded.candidates, key=lambda each: each.mean).trial.config
    with pytest.raises(InputError, match=r"`algorithm` = 'tpe'.*found\.objective"):
        found.search("tpe")


def test_steps_belong_to_a_method_that_is_named():
    train, val, _ = arrays()
    with pytest.raises(InputError, match="`steps`"):
        own(Net, train, val, **SMALL, steps=5)


def test_splits_without_a_test_part_are_condensed_and_not_judged():
    train, val, _ = arrays()
    with_test = hcdc.own.own(Net, train, val, **SMALL)
    splits = hcdc.data.Splits(*with_test.task.real, None)
    found = condense_model(Net, splits, **SMALL)
    assert found.train.size == 6
    with pytest.raises(InputError, match="`test`"):
        found.evaluate()
    with pytest.raises(InputError, match=r"`test`.*must be a"):
        found.evaluate(arrays()[2])
    assert found.evaluate(splits.val, configs=4, seeds=1).facts["configs"] == 4


def test_a_pilot_is_told_in_the_card_and_on_the_bill(tmp_path, capsys):
    train, val, _ = arrays()
    made = own(Net, train, val, space=SPACE, size=6, steps=3, full=hcdc.Adam(10, 0.05), pilot=4)
    assert made.check().cost.parts["pilot"] > 0
    found = made.condense()
    pilot = found.condensed.card.pilot
    assert {each.train for each in pilot.tried} == {"centroids", "examples"}
    assert found.made.task.condensed.solver.steps in {each.steps for each in pilot.tried}
    assert found.condensed.card.recipes["condensed"]["solver"]["steps"] == found.made.task.condensed.solver.steps
    assert found.condensed.card.seconds > pilot.seconds > 0
    card = found.save(tmp_path)
    assert hcdc.load_condensed(tmp_path).card == card
    with contextlib.suppress(SystemExit):
        main(["show", str(tmp_path)])
    assert "chosen by 4 trainings on the full data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "pilot"),
    [
        ({}, hcdc.Pilot()),
        ({"pilot": 0}, None),
        ({"small": hcdc.Adam(10)}, hcdc.Pilot(lengths=False)),
        ({"method": METHOD, "pilot": 8}, hcdc.Pilot(8, ())),
        ({"method": METHOD, "small": hcdc.Adam(10)}, None),
        ({"method": "random"}, None),
    ],
)
def test_a_pilot_chooses_what_is_left_open(settings, pilot):
    assert own(Net, TRAIN, VAL, space=SPACE, size=6, **settings).pilot == pilot


def kill_at(step):
    def told(number, total, metrics):
        if number == step:
            raise small.Killed

    return told


@pytest.mark.parametrize("step", [1, 3])
def test_a_run_that_is_killed_goes_on(tmp_path, monkeypatch, step):
    monkeypatch.setattr(hcdc.Checkpoint, "due", lambda _: True)
    train, val, _ = arrays()
    folder = tmp_path / "kept"
    settings = {"space": SPACE, "size": 6, "method": METHOD, "full": hcdc.Adam(10, 0.05), "pilot": 4}
    whole = condense_model(Net, train, val, **settings)
    with pytest.raises(small.Killed):
        own(Net, train, val, **settings, checkpoint=folder).condense(callbacks=[kill_at(step)])
    done = []
    monkeypatch.setattr(hcdc.Pilot, "_measured", lambda *_: pytest.fail("piloted again"))
    found = own(Net, train, val, **settings, checkpoint=str(folder)).condense(callbacks=[lambda number, *_: done.append(number)])
    assert found.condensed.fingerprint() == whole.condensed.fingerprint()
    assert done == list(range(step, found.condensed.card.steps + 1))
    assert found.condensed.card.pilot.tried == whole.condensed.card.pilot.tried
    assert not folder.exists()


def test_a_checkpoint_is_of_one_run_and_of_one_process(tmp_path):
    train, val, _ = arrays()
    with locked(tmp_path), pytest.raises(RunExistsError, match="another process is writing there"):
        condense_model(Net, train, val, **SMALL, checkpoint=tmp_path)
    with pytest.raises(small.Killed):
        own(Net, train, val, **SMALL, checkpoint=tmp_path).condense(callbacks=[kill_at(2)])
    (tmp_path / "thesis.tex").touch()
    own(Net, train, val, **SMALL, checkpoint=tmp_path).condense()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="`checkpoint` = 3: must be a folder"):
        own(Net, train, val, **SMALL, checkpoint=3)


def test_a_pilot_is_kept_for_its_own_run_alone(tmp_path):
    train, val, _ = arrays()
    settings = {"size": 6, "method": METHOD, "full": hcdc.Adam(10, 0.05), "pilot": 4}
    with pytest.raises(small.Killed):
        own(Net, train, val, space=SPACE, **settings, checkpoint=tmp_path).condense(callbacks=[kill_at(1)])
    kept = [path for path in tmp_path.rglob("*.json") if path.name != "manifest.json"]
    other = own(Net, train, val, space=SPACE, **settings, seed=3, checkpoint=tmp_path)
    with pytest.raises(small.Killed):
        other.condense(callbacks=[kill_at(1)])
    assert len(kept) == 1 < len([path for path in tmp_path.rglob("*.json") if path.name != "manifest.json"])


def test_another_forward_is_another_run(monkeypatch):
    train, val, _ = arrays()
    made = own(Net, train, val, **SMALL)
    first, again = made.task.identity(), own(Net, train, val, **SMALL).task.identity()
    monkeypatch.setattr(Net, "forward", lambda self, x, gate: self.head(self.first(x).relu() * gate))
    other = own(Net, train, val, **SMALL).task.identity()
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {"behaviour"}


def far(module, hyper, batch):
    return -torch.nn.functional.cross_entropy(module(batch.x, hyper["gate"]), batch.y)


def test_a_loss_that_is_forgotten_is_missed(tmp_path):
    train, val, _ = arrays()
    condense_model(Net, train, val, **SMALL, val_loss=far).save(tmp_path / "far")
    condense_model(Net, train, val, **SMALL).save(tmp_path / "plain")
    assert own(Net, train, val, **SMALL, val_loss=far).load(tmp_path / "far").train.size == 6
    with pytest.raises(InputError, match=r"`val_loss`.*made with tests.test_own:far"):
        own(Net, train, val, **SMALL).load(tmp_path / "far")
    with pytest.raises(InputError, match=r"`val_loss`.*made without"):
        own(Net, train, val, **SMALL, val_loss=far).load(tmp_path / "plain")


def test_a_pilot_with_nothing_to_choose_is_refused():
    train, val, _ = arrays()
    with pytest.raises(InputError, match="`pilot` = 32: has nothing to choose"):
        own(Net, train, val, **SMALL, pilot=32)


def test_same_seed_same_bits():
    train, val, _ = arrays()
    first, second, other = (condense_model(Net, train, val, **SMALL, seed=seed) for seed in (1, 1, 2))
    assert first.condensed.fingerprint() == second.condensed.fingerprint() != other.condensed.fingerprint()


def test_an_artefact_asks_for_the_model_and_never_holds_it(tmp_path, capsys):
    train, val, _ = arrays()
    made = condense_model(Net, train, val, **SMALL)
    made.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.json", "data.safetensors"]
    loaded = hcdc.load_condensed(tmp_path)
    card = loaded.card.recipes["condensed"]["problem"]
    assert (card["family"], card["import"]) == ("module", "tests.test_own:Net")
    source = hcdc.Source("own data", hcdc.Splits(*made.made.task.real, made.made.task.real.val), loaded.card.data.sha256)
    judge = hcdc.Judge(configs=4, seeds=1)
    with pytest.raises(InputError, match=r"`problem` = None: .*tests\.test_own:Net"):
        judge(loaded, source)
    with pytest.raises(InputError, match="must be the model of the artefact"):
        judge(loaded, source, problem=hcdc.ModuleProblem(lambda: Net(4), SPACE, 3))
    assert judge(loaded, source, problem=hcdc.ModuleProblem(Net, SPACE, 3)).facts["configs"] == 4
    for command, code in (("search", 2), ("verify", 0), ("show", 0)):
        with pytest.raises(SystemExit) as stop:
            main([command, str(tmp_path)])
        assert (stop.value.code or 0) == code, command
    assert "own(MODEL, train, val, space=..., size=...).load(DIR)" in capsys.readouterr().err


def test_a_saved_set_is_loaded_where_its_model_and_data_are(tmp_path):
    train, val, test = arrays()
    found = condense_model(Net, train, val, **SMALL)
    found.save(tmp_path)
    # What the card says about training goes before what is asked for now.
    again = own(Net, train, val, **SMALL | {"small": hcdc.Adam(3)}).load(tmp_path)
    assert again.rank(SPACE.configs(4, 0))[0]._replace(seconds=0) == found.rank(SPACE.configs(4, 0))[0]._replace(seconds=0)
    first, second = (each.evaluate(test, configs=4, seeds=1).facts for each in (found, again))
    assert first["spearman_loss"] == second["spearman_loss"]
    assert again.probe(configs=6).condensed.card.probe is not None
    with pytest.raises(InputError, match="was condensed from other data"):
        own(Net, val, train, **SMALL).load(tmp_path)
    with pytest.raises(InputError, match="must be the model of the artefact"):
        own(lambda: Net(4), train, val, **SMALL).load(tmp_path)


def test_a_set_is_told_in_a_line():
    found = condense_model(Net, TRAIN, VAL, **SMALL | {"method": "random"})
    assert repr(found).startswith("Calibrated(Condensed(own data by random: 6 examples to train, 6 to validate, in ")
    told = repr(found.evaluate(TEST, configs=4, seeds=1))
    assert told.startswith("Evaluation(configs=4, seeds=1, spearman_loss=")
    assert "\n" not in told


def test_what_costs_quality_is_warned_of_before_the_run():
    class Normed(Net):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)

        def forward(self, x, gate):
            return self.head(self.norm(self.first(x)).tanh() * gate)

    with pytest.warns(UserWarning, match="BatchNorm1d `norm` is frozen"):
        condense_model(Normed, TRAIN, VAL, **SMALL | {"method": "random"})


def test_what_the_model_raises_at_once_is_its_own():
    class Broken(Net):
        def forward(self, x, gate):
            raise KeyError("not here")

    with pytest.raises(hcdc.ModelError, match=r"KeyError at test_own\.py") as caught:
        condense_model(Broken, TRAIN, VAL, **SMALL)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_regression_reports_r2():
    train, val, test = arrays(classes=0)
    facts = condense_model(lambda: Net(1), train, val, **SMALL).evaluate(test, configs=4, seeds=1).facts
    assert facts["score"] == "r2"
    assert "best_test_r2" in facts


class GraphNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 3)

    def forward(self, x, edge_index, gate, edge_weight):
        row, column = edge_index
        return self.head(x + gate * torch.zeros_like(x).index_add(0, row, edge_weight.unsqueeze(1) * x[column]))


def test_a_graph_whose_model_takes_weights_has_its_edges_learned():
    found = condense_model(GraphNet, small.graph(), **SMALL | {"size": 9})
    assert not torch.equal(found.val.adjacency, torch.zeros(9, 9))
    assert found.evaluate(configs=4, seeds=1).facts["nodes"] == 9


class Unweighted(GraphNet):
    def forward(self, x, edge_index, gate):
        return super().forward(x, edge_index, gate, torch.ones(edge_index.shape[1]))


def test_a_graph_whose_model_takes_no_weights_keeps_real_edges():
    made = own(Unweighted, small.graph(), space=SPACE, size=9)
    assert (made.method.start, made.method.structure, made.method.driver.starts) == (NEIGHBOURS, False, 48)
    found = condense_model(Unweighted, small.graph(), **SMALL | {"size": 9})
    start = NEIGHBOURS.select(small.graph().val, 9, found.made.task.generator(3))
    assert torch.equal(found.val.adjacency, start.adjacency)
    assert bool(found.val.adjacency.any())


TRAIN, VAL, TEST = arrays()
FORMS = {
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "a dataset": TensorDataset,
    "a loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7, shuffle=True),
    "hugging face": lambda x, y: datasets.Dataset.from_dict({"x": x.tolist(), "label": y.tolist()}),
    "a frame": lambda x, y: pandas.DataFrame(x.numpy()).assign(label=y.numpy()),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_condenses(form):
    train, val, _ = (FORMS[form](*part) for part in arrays())
    found = condense_model(Net, train, val, **SMALL | {"method": "random", "target": "label"})
    assert (found.train.size, found.train.num_classes) == (6, 3)
    assert (found.made.task.real.train.x.shape, found.condensed.card.data.kind) == ((20, 4), "table" if form == "a frame" else "examples")


def test_a_graph_of_torch_geometric_condenses():
    found = condense_model(GraphNet, hcdc.to_pyg(small.graph()), **SMALL | {"size": 9, "method": "random"})
    assert (found.train.size, found.condensed.card.data.kind) == (9, "graph")


WITH_RATE = Space({"lr": Real(0, 1), "gate": Real(0, 1)})
BAD = {
    "no validation data": (lambda: own(Net, TRAIN, **SMALL), "`val` = None"),
    "validation data twice": (lambda: own(Net, small.graph(), VAL, **SMALL), "came with the training data"),
    "a dictionary for a space": (lambda: own(Net, TRAIN, VAL, space={"gate": 1}, size=6), "must be a hcdc.Space"),
    "a setting misspelt": (lambda: own(Net, TRAIN, VAL, **SMALL, sead=1), r"`settings` = \['sead'\]"),
    "too many examples": (lambda: own(Net, TRAIN, VAL, **SMALL | {"size": 99}), "`size` = 99"),
    "progress that is no yes or no": (lambda: own(Net, TRAIN, VAL, **SMALL, progress="yes"), "`progress` = 'yes': must be True or False"),
    "a size in quotes": (lambda: own(Net, TRAIN, VAL, **SMALL | {"size": "6"}), "`size` = '6': must be a whole number"),
    "a number for a solver": (lambda: own(Net, TRAIN, VAL, **SMALL | {"small": 100}), "`small` = 100"),
    "a criterion beside a val_loss": (
        lambda: own(Net, TRAIN, VAL, **SMALL, val_loss=lambda module, hyper, batch: module(batch.x).mean(), criterion="soft-accuracy"),
        "`criterion` = 'soft-accuracy': is not what S is read by under a `val_loss`",
    ),
    "two decays that nobody reads": (
        lambda: own(Net, TRAIN, VAL, **SMALL | {"space": Space({"log10_decay.0": Real(-4, -1), "log10_decay.1": Real(-4, -1)})}),
        r"`space` = .'log10_decay.0', 'log10_decay.1'.: log10_decay is one weight decay",
    ),
    "a pilot of three": (lambda: own(Net, TRAIN, VAL, space=SPACE, size=6, pilot=3), "`pilot` = 3"),
    "a model that breaks": (
        lambda: condense_model(Net, TRAIN, VAL, **SMALL | {"space": Space({"lr": Real(0, 1), "gate": Real(0, 1)})}),
        "`lr` enters",
    ),
    "no configurations": (lambda: condense_model(Net, TRAIN, VAL, **SMALL).rank([]), "`configs`"),
    "one configuration for a list": (lambda: condense_model(Net, TRAIN, VAL, **SMALL).rank({"gate": 0.5}), "`configs`"),
    "validation targets that are one": (
        lambda: own(lambda: Net(1), arrays(classes=0)[0], (VAL[0], torch.ones(len(VAL[0]))), **SMALL),
        "`val` = .* equal",
    ),
    "test targets that are one": (
        lambda: condense_model(lambda: Net(1), *arrays(classes=0)[:2], **SMALL).evaluate((VAL[0], torch.ones(len(VAL[0]))), configs=4, seeds=1),
        "`test` = .* equal",
    ),
    "no test data": (lambda: condense_model(Net, TRAIN, VAL, **SMALL).evaluate(), "`test` = None"),
}


@pytest.mark.parametrize(("call", "said"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
