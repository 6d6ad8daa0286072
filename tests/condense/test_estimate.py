"""What a run needs, said before it starts."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from hcdc._memory import machine_memory
from hcdc.condense import HCDC, RANDOM, Bank, check_memory, fitted, peak_memory
from hcdc.errors import InputError
from tests import small


def test_a_bank_weighs_in_proportion_to_its_points():
    task = small.task()
    one, two, four = (peak_memory(HCDC(driver=Bank(starts=512 * k, stages=1)), task) for k in (1, 2, 4))
    assert four - two == 2 * (two - one) > 0
    assert peak_memory(RANDOM, task) < one


def test_a_bank_is_fitted_to_what_it_may_need():
    task, method = small.task(), HCDC(driver=Bank(starts=64, stages=2))
    assert fitted(method, task) == method
    assert fitted(RANDOM, task) is RANDOM
    point = (peak_memory(HCDC(driver=Bank(starts=512, stages=2)), task) - peak_memory(HCDC(driver=Bank(starts=256, stages=2)), task)) // 512
    assert fitted(method, task, 21 * point).driver == Bank(starts=10, stages=2, batch=8)
    assert fitted(method, task, 120 * point).driver == Bank(starts=60, stages=2, batch=40)
    assert fitted(method, task, 1).driver == Bank(starts=1, stages=2, batch=8)


def test_what_does_not_fit_is_refused_with_both_sizes():
    task, method = small.task(), small.METHODS["hcdc"]
    assert check_memory(method, task) == peak_memory(method, task) < machine_memory()
    with pytest.raises(InputError, match=r"`method` = 'hcdc': needs about .* GiB, of 0\.1 GiB"):
        check_memory(method, task, available=2**27)


MEASURED = """
import resource
from hcdc.condense import HCDC, KIP, Bank, condense, peak_memory
from hcdc.store import DataCard
from tests import small
{}
condense(method, task, DataCard(name="small", sha256="0" * 64, kind=kind, num_classes=3))
print(peak_memory(method, task), 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
LARGE = {
    "a bank": """
task, kind = small.task(small.graph(n=3000, features=400)), "graph"
method = HCDC(driver=Bank(starts=2048, stages=1, chunk=128, steps=3))
""",
    "a kernel": """
task, kind = small.task(small.images(n=18000), size=600), "images"
method = KIP(steps=1, both=False)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("large", LARGE)
def test_the_estimate_is_within_a_factor_of_two(large):
    out = subprocess.run([sys.executable, "-c", MEASURED.format(LARGE[large])], capture_output=True, text=True, check=True)
    estimate, found = map(int, out.stdout.split())
    assert 0.5 < estimate / found < 2, (estimate, found)


def test_problems_that_do_not_know_their_weight_are_not_counted():
    task = small.task()

    class Plain:
        init = staticmethod(task.condensed.problem.init)

    plain = dataclasses.replace(task, condensed=task.condensed._replace(problem=Plain()))
    assert peak_memory(small.METHODS["hcdc"], plain) < peak_memory(small.METHODS["hcdc"], task)
