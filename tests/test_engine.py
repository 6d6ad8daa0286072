"""The plain loop: answers in order, each piece when it is asked for."""

from __future__ import annotations

from hcdc.engine import local


def test_the_plain_loop_is_lazy_and_in_order():
    done: list[int] = []

    def work(base: int, number: int) -> int:
        done.append(number)
        return base + number

    answers = local(work, {"base": 10}, [{"number": 2}, {"number": 1}])
    assert done == []
    assert next(answers) == 12
    assert done == [2]
    assert list(answers) == [11]
