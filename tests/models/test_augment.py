"""Every operation against a second way to write it; siamese, and differentiable in images and strengths."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, jvp, vmap
from torch.nn import functional

from hcdc.errors import InputError
from hcdc.models import OPERATIONS, Draw, augment, draw
from tests.cases import generator, normal

NUMBERS = torch.tensor([0.83, 0.21, 0.64, 0.37], dtype=torch.float64)
IMAGES = normal(3, 2, 6, 8, seed=0)


def drawn(operation: str, numbers: Tensor = NUMBERS) -> Draw:
    return Draw(operation, numbers)


def resampled(x: Tensor, matrix: list[list[float]]) -> Tensor:
    theta = torch.tensor([matrix], dtype=torch.float64).expand(x.shape[0], 2, 3)
    return functional.grid_sample(x, functional.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False)


@pytest.mark.parametrize("strength", [0.4, 1.0, 1.7])
@pytest.mark.parametrize("operation", ["crop", "scale", "rotate"])
def test_affine_operations_are_those_of_grid_sample(operation: str, strength: float) -> None:
    a, b = float(NUMBERS[0]), float(NUMBERS[1])
    ratio, angle = 1.2**strength, (2 * a - 1) * strength * math.radians(15)
    matrix = {
        "crop": [[1, 0, 0.25 * strength * (2 * a - 1)], [0, 1, 0.25 * strength * (2 * b - 1)]],
        "scale": [[1 / ratio + a * (ratio - 1 / ratio), 0, 0], [0, 1 / ratio + b * (ratio - 1 / ratio), 0]],
        "rotate": [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]],
    }[operation]
    torch.testing.assert_close(augment(IMAGES, drawn(operation), strength), resampled(IMAGES, matrix))


def test_colour_by_hand() -> None:
    """Brightness, then saturation about the grey of a pixel, then contrast about the mean of an image."""
    expected = []
    for image in IMAGES:
        bright = image + 0.83 - 0.5
        grey = (bright[0] + bright[1]) / 2
        saturated = torch.stack([grey + 2 * 0.21 * (channel - grey) for channel in bright])
        expected.append(saturated.mean() + (0.5 + 0.64) * (saturated - saturated.mean()))
    torch.testing.assert_close(augment(IMAGES, drawn("color")), torch.stack(expected))


def test_cutout_takes_a_square_of_half_a_side() -> None:
    cut = augment(torch.ones(1, 1, 8, 8, dtype=torch.float64), drawn("cutout", torch.tensor([0.5, 0.25, 0.0, 0.0], dtype=torch.float64)))
    expected = torch.ones(8, 8, dtype=torch.float64)
    expected[2:6, 0:4] = 0
    torch.testing.assert_close(cut[0, 0], expected)


def test_half_of_all_draws_flip() -> None:
    flips = [augment(IMAGES, drawn("flip", torch.full((4,), number, dtype=torch.float64))) for number in (0.2, 0.8)]
    torch.testing.assert_close(flips[0], IMAGES.flip(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(flips[1], IMAGES, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_strength_zero_changes_nothing(operation: str) -> None:
    torch.testing.assert_close(augment(IMAGES, drawn(operation), 0.0), IMAGES, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(augment(IMAGES, drawn(operation, 1 - NUMBERS), 1.0), IMAGES, atol=1e-2)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_real_and_synthetic_images_are_siamese(operation: str) -> None:
    """One draw treats an image in whatever batch it stands alike."""
    together, alone = augment(IMAGES, drawn(operation)), augment(IMAGES[1:2], drawn(operation))
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_derivatives_in_images_and_strength(operation: str) -> None:
    """Away from whole pixels, at which bilinear reading has a kink; at twice the flip's own coin, which is smooth there."""
    numbers = torch.tensor([0.55, 0.71, 0.64, 0.37], dtype=torch.float64)
    inputs = normal(1, 2, 4, 4, seed=1).requires_grad_(), torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda x, s: augment(x, drawn(operation, numbers), s), inputs, atol=1e-4)
    assert gradgradcheck(lambda x, s: augment(x, drawn(operation, numbers), s).square(), inputs, atol=1e-3)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_strengths_may_be_batched_and_pushed_forward(operation: str) -> None:
    strengths = torch.tensor([0.3, 0.8, 1.4], dtype=torch.float64)

    def total(strength: Tensor) -> Tensor:
        return augment(IMAGES, drawn(operation), strength).pow(2).sum()

    slopes = vmap(grad(total))(strengths)
    forward = torch.stack([jvp(total, (strength,), (torch.ones_like(strength),))[1] for strength in strengths])
    torch.testing.assert_close(slopes, forward)
    assert slopes.abs().min() > 0


def test_draws_come_from_the_generator_alone() -> None:
    found = [draw(OPERATIONS, generator(seed)) for seed in range(60)]
    assert {one.operation for one in found} == set(OPERATIONS)
    again = draw(OPERATIONS, generator(7))
    assert again.operation == found[7].operation
    assert torch.equal(again.numbers, found[7].numbers)


@pytest.mark.parametrize("operations", [(), ("shear",), ("crop", "shear")], ids=str)
def test_unknown_operations(operations: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"^`augmentation` = .*must be of color, crop"):
        draw(operations, generator(0))
