"""How many models at once."""

from __future__ import annotations

import pytest

from hcdc.bilevel import together
from hcdc.bilevel.problem import TOGETHER
from tests import small


@pytest.mark.parametrize(("memory", "width"), [(1, 1), (2**60, TOGETHER)])
def test_slices_cover_every_model_once(memory, width):
    problem = small.task().condensed.problem
    parts = together(problem, small.graph().train, 300, memory)
    assert [index for part in parts for index in range(300)[part]] == list(range(300))
    assert len(parts) == -(-300 // width)
    sizes = {part.stop - part.start for part in parts}
    assert max(sizes) <= min(width, min(sizes) + 1)


def test_a_problem_that_does_not_know_its_weight_is_light():
    class Plain:
        pass

    assert together(Plain(), None, 10, 1) == [slice(0, 10)]
