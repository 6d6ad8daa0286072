"""Scores without training, against formulas written out and against the table."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from hcdc.data import ImageData, NasBench201Table, load
from hcdc.evaluate import flops, jacov, naswot, parameters, spearman, synflow
from hcdc.models import CellNetwork, NasBench201
from hcdc.spaces import Cell, sample_cells
from tests.cases import generator, needs_data, normal

CELL = Cell.parse("|skip_connect~0|+|nor_conv_3x3~0|none~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|")
NOTHING = Cell(("none",) * 6)
SMALL = NasBench201(3, shape=(3, 8, 8), channels=2)
CIFAR = os.environ.get("HCDC_CIFAR10", os.environ.get("HCDC_DATA", ""))


def images(n: int = 5) -> ImageData:
    return ImageData(normal(n, 3, 8, 8, seed=1).float(), torch.arange(n) % 3, 3)


@needs_data
def test_parameters_and_flops_are_the_tables() -> None:
    """Five cells a stage and 16 channels, to the last digit, in every hundredth row and at every number of either convolution."""
    family, table = NasBench201(10, cells=5), NasBench201Table.load()
    for text in table.scored()[::100]:
        cell = Cell.parse(text)
        assert parameters(family, cell) == round(1e6 * float(table.score([text], "params")))
        assert flops(family, cell) == round(1e6 * float(table.score([text], "flops")))


def test_parameters_and_flops_by_hand() -> None:
    """The network of nothing at one cell a stage; then what one operation adds in each stage."""
    family = NasBench201(10)
    blocks = sum(9 * c * c // 2 + 2 * c + 9 * c * c + 2 * c + c * c // 2 for c in (32, 64))
    assert parameters(family, NOTHING) == 27 * 16 + 32 + blocks + 128 + 650
    assert parameters(family, NOTHING) == sum(value.numel() for value in family.network(NOTHING).init({}, generator(0)).values())
    pool = Cell(("none", "none", "none", "avg_pool_3x3", "none", "none"))
    assert flops(family, pool) - flops(family, NOTHING) == 9 * (16 * 1024 + 32 * 256 + 64 * 64)
    dead = Cell(("nor_conv_1x1", *("none",) * 5))
    assert parameters(family, dead) - parameters(family, NOTHING) == sum(c * c + 2 * c for c in (16, 32, 64))


def test_naswot_is_the_kernel_of_the_codes() -> None:
    """Against Hamming distances counted pair by pair over every activation of the network."""
    data, codes = images(4), list[torch.Tensor]()

    class Watched(CellNetwork):
        def activate(self, h: torch.Tensor) -> torch.Tensor:
            codes.append(h > 0)
            return super().activate(h)

    network = Watched(3, shape=(3, 8, 8), channels=2, cell=CELL)
    network.logits(network.init({}, generator(0)), {}, data, {})
    pairs = [[sum(int((code[i] == code[j]).sum()) for code in codes) for j in range(4)] for i in range(4)]
    assert len(codes) == 3 * 2 + 2 * 2 + 1
    assert naswot(SMALL, CELL, data) == pytest.approx(float(torch.linalg.slogdet(torch.tensor(pairs, dtype=torch.float64)).logabsdet))


def test_naswot_of_two_equal_images_is_as_low_as_can_be() -> None:
    data = images(3)
    assert naswot(SMALL, CELL, data.take(torch.tensor([0, 1, 1]))) == -math.inf
    assert math.isfinite(naswot(SMALL, CELL, data))


def test_jacov_is_minus_one_over_the_spectrum_of_correlations() -> None:
    data = images(4)
    network = SMALL.network(CELL)
    params = network.init({}, generator(0))

    def total(x: torch.Tensor) -> torch.Tensor:
        return network.logits(params, {}, data.replace(x=x), {}).sum()

    slopes = torch.func.grad(total)(data.x).flatten(1)
    values = torch.linalg.eigvalsh(torch.corrcoef(slopes.double())) + 1e-5
    assert jacov(SMALL, CELL, data) == pytest.approx(-float((values.log() + 1 / values).sum()), rel=1e-6)


def test_jacov_of_a_network_that_does_not_read_its_input() -> None:
    """Uncorrelated images: n eigenvalues of 1."""
    assert jacov(SMALL, NOTHING, images(4)) == pytest.approx(-4 * (math.log(1 + 1e-5) + 1 / (1 + 1e-5)))


def test_synflow_is_the_flow_of_every_layer() -> None:
    """R is linear in each tensor of weights, so that sum theta dR/dtheta of one is what R loses without it; of a cell that
    is a skip, written out."""
    skip = Cell(("none", "none", "none", "skip_connect", "none", "none"))
    params = {name: value.double().abs() for name, value in SMALL.network(skip).init({}, generator(0)).items() if value.ndim > 1}

    def flow(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        h = nn.functional.conv2d(torch.ones(1, 3, 8, 8, dtype=torch.float64), weights["stem.weight"], padding=1)
        for stage in (1, 2):
            name = f"reduce{stage}"
            deep = nn.functional.conv2d(h, weights[f"{name}.a.weight"], stride=2, padding=1)
            deep = nn.functional.conv2d(deep, weights[f"{name}.b.weight"], padding=1)
            h = deep + nn.functional.conv2d(nn.functional.avg_pool2d(h, 2), weights[f"{name}.down"])
        return (h.mean((-2, -1)) @ weights["head.weight"].T).sum()

    shares = [flow(params) - flow(params | {name: 0 * value}) for name, value in params.items()]
    assert synflow(SMALL, skip) == pytest.approx(float(torch.stack(shares).sum().log()))
    assert synflow(SMALL, NOTHING) == -math.inf


def test_the_seed_decides() -> None:
    data = images()
    for score in (lambda seed: naswot(SMALL, CELL, data, seed=seed), lambda seed: jacov(SMALL, CELL, data, seed=seed)):
        assert score(0) == score(0) != score(1)
    assert synflow(SMALL, CELL, seed=0) == synflow(SMALL, CELL, seed=0) != synflow(SMALL, CELL, seed=1)


@pytest.mark.slow
@needs_data
@pytest.mark.skipif(not (Path(CIFAR) / "cifar-10-batches-py").is_dir(), reason="neither HCDC_CIFAR10 nor HCDC_DATA has cifar-10-batches-py")
def test_scores_rank_as_those_of_the_table() -> None:
    """40 cells at N = 1, where the table has 5, and 64 images."""
    batch, table = load("cifar10", CIFAR).splits.train.take(torch.arange(64)), NasBench201Table.load()
    scored = set(table.scored())
    cells = [cell for cell in sample_cells(200, 0) if str(cell) in scored][:40]
    family = NasBench201(10)
    ours = {"nwot": [naswot(family, cell, batch) for cell in cells], "synflow": [synflow(family, cell) for cell in cells],
            "jacov": [jacov(family, cell, batch) for cell in cells]}  # fmt: skip
    found = {name: spearman(torch.tensor(values, dtype=torch.float64), table.score(cells, name)) for name, values in ours.items()}
    assert {name for name, least in {"nwot": 0.95, "synflow": 0.95, "jacov": 0.8}.items() if found[name] < least} == set(), found
