"""The promise on real images: unseen architectures rank on fifty condensed digits as on all of them."""

from __future__ import annotations

from dataclasses import replace

from hcdc.data import load
from hcdc.evaluate import retrain, spearman
from hcdc.run import condense_source, method_named, task_for
from hcdc.spaces import Space

BLOCKS, COUNT = 3, 30


def architectures(space: Space) -> list[dict[str, float | int | str]]:
    """`COUNT` different ones of the 64, at one weight decay."""
    found: dict[tuple[float | int | str, ...], dict[str, float | int | str]] = {}
    for config in space.configs(400, 2026):
        found.setdefault(tuple(config[f"op.{block}"] for block in range(BLOCKS)), config | {"log10_decay": -3.0})
    return list(found.values())[:COUNT]


def test_hcdc_ranks_unseen_architectures_by_loss() -> None:
    """No condensation looks at a single architecture: its points are mixtures of all operations."""
    source = load("digits")
    task = task_for(source, size=50, blocks=BLOCKS)
    bank = method_named("hcdc", "images")
    method = replace(bank, driver=replace(bank.driver, starts=24, chunk=24, steps=60))
    condensed = condense_source(source, task, method)
    hyper = task.space.relax_all(architectures(task.space))
    small = retrain(task.condensed, hyper, condensed.train, {"val": condensed.val}, seed=0)
    whole = retrain(task.full, hyper, source.splits.train, {"val": source.splits.val}, seed=0)
    assert spearman(small.loss["val"][0], whole.loss["val"][0]) >= 0.85
