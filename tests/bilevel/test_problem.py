"""Which problems offer what: the protocols that the inner solver and the evaluation ask for."""

from __future__ import annotations

import pytest

from hcdc.bilevel import Scored, Stochastic
from hcdc.models import ConvMix, PolyFilter
from tests.cases import Ridge


@pytest.mark.parametrize("problem", [PolyFilter(3), ConvMix(3)], ids=["polyfilter", "convmix"])
def test_families_are_stochastic_and_scored(problem: object) -> None:
    assert isinstance(problem, Stochastic)
    assert isinstance(problem, Scored)


def test_a_plain_problem_is_neither() -> None:
    assert not isinstance(Ridge(), Stochastic)
    assert not isinstance(Ridge(), Scored)
