"""The Ray engine: the same bits as the plain loop, a killed worker's share redone, what cannot travel refused."""

from __future__ import annotations

import dataclasses
import pickle
import socket
import sys
import time
from pathlib import Path

import pytest
import torch

from hcdc.bilevel import Adam, Recipe
from hcdc.condense import condense
from hcdc.engine import local
from hcdc.errors import HcdcError, InputError, MissingExtraError
from hcdc.evaluate import Judge
from hcdc.integrations.ray import Ray, packed
from hcdc.models import PolyFilter
from hcdc.search import Objective, Random
from hcdc.store import DataCard
from tests import small
from tests.integrations import deaths

CARD = DataCard(name="small", sha256=small.source().sha256, kind="graph", num_classes=3)


class Elsewhere:
    """Data of one's own."""


class Own(PolyFilter):
    """A family that no worker has code for."""


def artefact(engine=local, method="random"):
    return condense(small.METHODS[method], dataclasses.replace(small.task(), engine=engine), CARD)


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    with Ray(workers=2) as engine:
        yield engine


@pytest.fixture
def deadly(cluster, tmp_path):
    """The cluster, whose first piece kills its worker."""

    def engine(work, shared, items):
        return cluster(deaths.once, {"folder": str(tmp_path), "work": work, **shared}, items)

    return engine


def killed(folder: Path) -> bool:
    return (folder / "killed").read_text().isdecimal()


def test_an_evaluation_survives_a_killed_worker_with_the_same_bits(deadly, tmp_path):
    source, condensed = small.source(), artefact()
    here, there = (Judge(34, 2, 5, engine=engine)(condensed, source) for engine in (local, deadly))
    assert killed(tmp_path)
    for name in ("loss", "accuracy", "criterion"):
        for part in ("val", "test"):
            assert torch.equal(getattr(here.full, name)[part], getattr(there.full, name)[part])
        assert torch.equal(getattr(here.condensed, name)["val"], getattr(there.condensed, name)["val"])
    assert here.facts["ci95"] == there.facts["ci95"]


def test_a_bank_has_the_same_bits(cluster):
    here, there = (artefact(engine, "hcdc") for engine in (local, cluster))
    assert here.fingerprint() == there.fingerprint()
    assert here.card.history == there.card.history


def test_trials_have_the_same_bits(cluster):
    task = small.task()
    goal = Objective(task.condensed, task.space, task.real.train, task.real.val)
    here, there = (Random().run(dataclasses.replace(goal, engine=engine), trials=70, seed=1) for engine in (local, cluster))
    assert [trial[:2] for trial in here] == [trial[:2] for trial in there]


def test_what_is_shared_is_sent_once(cluster):
    shared = {"configs": [1, 2], "problem": small.task().condensed.problem}
    first, second, third = (cluster._put(deaths.always, given) for given in (shared, dict(shared), shared | {"configs": [1, 2]}))
    assert first == second != third


def test_a_share_that_kills_every_worker_is_given_up(cluster):
    with pytest.raises(HcdcError, match="worker lost each time"):
        list(cluster(deaths.always, {}, [{}]))


def test_an_error_of_a_worker_arrives_as_it_is(cluster):
    task = small.task()
    with pytest.raises(InputError, match="`trials` = 0"):
        list(cluster(Random.run, {"self": Random(), "objective": task, "seed": 0}, [{"trials": 0}]))


def test_a_second_cluster_is_refused(cluster):
    with pytest.raises(HcdcError, match="connected to a Ray cluster already"), Ray():
        pass


def test_a_closed_engine_is_refused():
    with pytest.raises(HcdcError, match="inside of `with"):
        Ray()(deaths.always, {}, [{}])


def test_problems_travel_as_cards_and_data_keep_what_they_share():
    task = small.task()
    content = packed(dataclasses.replace(task, engine=Ray()))
    assert b"problem_from_card" in content
    assert b"PolyFilter" not in content
    there = pickle.loads(content)
    assert (there.condensed, there.engine) == (task.condensed, local)
    assert there.real.train.adjacency is there.real.val.adjacency
    assert torch.equal(there.real.train.x, task.real.train.x)


def test_a_part_of_a_tensor_travels_alone():
    whole = torch.zeros(1000, 100)
    assert len(packed(whole[:10])) < 10_000
    assert pickle.loads(packed(whole.T[:, :10])).stride() == whole.T[:, :10].clone().stride()


@pytest.mark.parametrize("foreign", [Own(3, num_features=4), Recipe(Own(3, num_features=4), Adam(1)), Elsewhere()])
def test_a_class_from_elsewhere_does_not_travel(foreign):
    with pytest.raises(InputError, match="workers have no code"):
        packed(foreign)


def test_a_dead_address_is_an_error_within_seconds():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(InputError, match=f"`address` = '{address}': nothing answers there"), Ray(address):
        pass
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["auto", "localhost", "localhost:port", ":6379"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(InputError, match="must be HOST:PORT"), Ray(address):
        pass


@pytest.mark.parametrize(("arguments", "rule"), [((None, 0), "at least 1"), (("localhost:6379", 2), "size of a local cluster")])
def test_workers_are_of_a_local_cluster(arguments, rule):
    with pytest.raises(InputError, match=rule):
        Ray(*arguments)


def test_without_ray_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[ray\]'"), Ray():
        pass
