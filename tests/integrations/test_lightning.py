"""An artefact under a Lightning `Trainer`, and batch by batch."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch.nn import functional

pytest.importorskip("lightning")
import lightning

from hcdc.errors import InputError, MissingExtraError
from hcdc.integrations.lightning import CondensedDataModule
from hcdc.run import condense_source, task_for
from hcdc.store import Condensed
from tests import small

SPLITS = {"graph": small.graph, "images": small.images, "table": small.table}


def made(kind: str) -> Condensed:
    source = small.source(SPLITS[kind]())
    return condense_source(source, task_for(source, size=9, val_size=6), "random")


@pytest.mark.parametrize("kind", ["images", "table"])
def test_batches_are_the_set_shuffled_alike_for_a_seed(kind: str, tmp_path: Any) -> None:
    condensed = made(kind)
    condensed.save(tmp_path)
    module = CondensedDataModule(tmp_path, batch_size=4)
    batches = list(module.train_dataloader())
    assert [len(y) for _, y in batches] == [4, 4, 1]
    x, y = (torch.cat(part) for part in zip(*batches, strict=True))
    assert not torch.equal(y, condensed.train.y)
    assert sorted(map(tuple, x.flatten(1).tolist())) == sorted(map(tuple, condensed.train.x.flatten(1).tolist()))
    again, other = (torch.cat([y for _, y in CondensedDataModule(condensed, 4, seed=seed).train_dataloader()]) for seed in (0, 1))
    assert torch.equal(again, y)
    assert not torch.equal(other, y)
    (x, y), *more = module.val_dataloader()
    assert torch.equal(torch.cat([y, *(y for _, y in more)]), condensed.val.y)


def test_a_graph_is_one_batch() -> None:
    pytest.importorskip("torch_geometric")
    condensed = made("graph")
    (batch,) = CondensedDataModule(condensed).val_dataloader()
    assert torch.equal(batch.x, condensed.val.x)
    assert torch.equal(batch.mask, condensed.val.mask)
    with pytest.raises(InputError, match="`batch_size` = 4"):
        CondensedDataModule(condensed, batch_size=4)


def test_no_batch_is_refused() -> None:
    with pytest.raises(InputError, match="`batch_size` = 0"):
        CondensedDataModule(made("table"), batch_size=0)


class Linear(lightning.LightningModule):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.head, self.losses = torch.nn.Linear(features, 3), []

    def training_step(self, batch: Any, _: int) -> Any:
        self.losses.append(functional.cross_entropy(self.head(batch[0]), batch[1]))
        return self.losses[-1]

    def validation_step(self, batch: Any, _: int) -> None:
        self.log("val", functional.cross_entropy(self.head(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.5)


@pytest.mark.filterwarnings("ignore:.*num_workers.*", "ignore:.*isinstance.treespec.*", "ignore::DeprecationWarning:lightning.*")
def test_a_trainer_learns_from_it(tmp_path: Any) -> None:
    model = Linear(made("table").train.num_features)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=5, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(model, datamodule=CondensedDataModule(made("table")))
    assert model.losses[-1] < model.losses[0]
    assert len(model.losses) == 5
    assert trainer.callback_metrics["val"] > 0


def test_without_the_extra_the_pip_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hcdc.integrations.lightning")
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(MissingExtraError, match=r"\.\[lightning\]"):
        __import__("hcdc.integrations.lightning")
