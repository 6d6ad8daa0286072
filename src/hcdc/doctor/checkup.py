"""The checkup: every probe on a task, then what the run will cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hcdc.condense import HCDC, Condenser, Task, machine_memory
from hcdc.doctor.cost import Cost, estimate
from hcdc.doctor.probes import PROBES, Finding, Patient, first_line
from hcdc.errors import HcdcError, InputError


@dataclass(frozen=True)
class Checkup:
    """All findings, what breaks first, and the cost of the run, None where something breaks or it was not asked for."""

    findings: tuple[Finding, ...]
    cost: Cost | None

    @property
    def healthy(self) -> bool:
        """True where nothing would break."""
        return all(finding.level != "breaks" for finding in self.findings)

    def lines(self) -> tuple[str, ...]:
        """In plain words, one line a finding, the cost last."""
        told = [finding.line() for finding in self.findings] or ["nothing found"]
        if self.cost is None:
            return tuple(told)
        parts = ", ".join(f"{name} {seconds:.3g}" for name, seconds in self.cost.parts.items())
        return (*told, f"condensing takes about {self.cost.seconds:.3g} s ({parts}) and {self.cost.memory / 2**30:.1f} GiB of memory")

    def facts(self) -> dict[str, Any]:
        cost = None if self.cost is None else self.cost._asdict()
        return {"healthy": self.healthy, "findings": [finding._asdict() for finding in self.findings], "cost": cost}

    def demand(self) -> None:
        """Raise `InputError` with the first finding that breaks."""
        for finding in self.findings:
            if finding.level == "breaks":
                raise InputError("model", "checked before the run", finding.what, finding.remedy)


def check(task: Task, method: Condenser | None = None, *, timed: bool = True) -> Checkup:
    """Try the model of `task` at one point, and say what a run of `method` (default: HCDC) would break on and cost.

    Nothing is raised for what user code does: it becomes a finding. The cost is measured only where nothing breaks.
    """
    found: list[Finding] = []
    try:
        generator = torch.Generator().manual_seed(0)
        hyper = task.space.interior(generator)
        patient = Patient(task, task.condensed.problem.init(hyper, generator), hyper)
    except Exception as error:
        return Checkup((_raised(error),), None)
    for probe in PROBES:
        try:
            found += probe(patient)
        except Exception as error:
            found.append(_raised(error))
    chosen = method or HCDC()
    unique = sorted(dict.fromkeys(found), key=lambda finding: ("breaks", "warns", "notes").index(finding.level))
    broken = any(finding.level == "breaks" for finding in unique)
    cost = estimate(task, chosen) if timed and not broken else None
    if cost is not None and cost.memory > machine_memory():
        what = f"the run needs about {cost.memory / 2**30:.1f} GiB of memory, of {machine_memory() / 2**30:.1f}"
        unique.insert(0, Finding("breaks", what, "take fewer bank points, a smaller model or space, or a larger machine"))
    return Checkup(tuple(unique), cost)


def _raised(error: Exception) -> Finding:
    kind = "" if isinstance(error, HcdcError) else f"{type(error).__name__}: "
    return Finding("breaks", f"{kind}{first_line(error)}", "mend it, and check again")
