"""The checkup: every probe on a task, then what the run will cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hcdc._memory import machine_memory
from hcdc.condense import HCDC, Bank, Condenser, Pilot, Task, fitted, peak_memory
from hcdc.doctor.cost import Cost, estimate
from hcdc.doctor.probes import PROBES, Finding, Patient, first_line
from hcdc.errors import HcdcError, InputError, ModelError


@dataclass(frozen=True)
class Checkup:
    """All findings, what breaks first, and the cost of the run, None where something breaks or it was not asked for; `error`
    is the first that code of the user's own raised."""

    findings: tuple[Finding, ...]
    cost: Cost | None
    error: ModelError | None = None

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
        """Raise `InputError` with the first finding that breaks; where the user's own code raised, its `ModelError`."""
        if self.error is not None:
            raise self.error
        for finding in self.findings:
            if finding.level == "breaks":
                raise InputError("model", "checked before the run", finding.what, finding.remedy)


def check(task: Task, method: Condenser | None = None, *, timed: bool = True, pilot: Pilot | None = None) -> Checkup:
    """Try the model of `task` at one point, and say what a run of `method` (default: HCDC), after `pilot`, would break on
    and cost.

    Nothing is raised for what user code does: it becomes a finding. The cost is measured only where nothing breaks.
    """
    found, raised = list[Finding](), list[Exception]()
    try:
        generator = torch.Generator().manual_seed(0)
        hyper = task.space.interior(generator)
        patient = Patient(task, task.condensed.problem.init(hyper, generator), hyper)
    except Exception as error:
        return Checkup((_raised(error),), None, _own([error]))
    for probe in PROBES:
        try:
            found += probe(patient)
        except Exception as error:
            found.append(_raised(error))
            raised.append(error)
    chosen = method or HCDC()
    if all(finding.level != "breaks" for finding in found):
        found += _heavy(patient, chosen)
    unique = sorted(dict.fromkeys(found), key=lambda finding: ("breaks", "warns", "notes").index(finding.level))
    broken = any(finding.level == "breaks" for finding in unique)
    return Checkup(tuple(unique), estimate(task, fitted(chosen, task), pilot) if timed and not broken else None, _own(raised))


def _heavy(patient: Patient, method: Condenser) -> list[Finding]:
    """A model whose bank memory cuts short, or that does not fit into memory at all."""
    task, chosen = patient.task, fitted(method, patient.task)
    parameters, coordinates = (sum(value.numel() for value in part.values()) for part in (patient.params, patient.hyper))
    model = f"a model of {parameters:,} parameters and a space of dimension {coordinates}"
    needed, there = peak_memory(chosen, task) / 2**30, machine_memory() / 2**30
    if needed > there:
        remedy = "take a smaller model or space, fewer bank points, or a larger machine"
        return [Finding("breaks", f"the run needs about {needed:.1f} GiB of memory, of {there:.1f}, for {model}", remedy)]
    if isinstance(method, HCDC) and chosen != method:
        asked, left = (bank.driver.starts for bank in (method, chosen) if isinstance(bank, HCDC) and isinstance(bank.driver, Bank))
        remedy = "expect a coarser ranking, or take a smaller model or space"
        return [Finding("warns", f"{model} leave {left} trajectories of {asked} in the memory that a bank may take", remedy)]
    return []


def _own(raised: list[Exception]) -> ModelError | None:
    return next((error for error in raised if isinstance(error, ModelError)), None)


def _raised(error: Exception) -> Finding:
    kind = "" if isinstance(error, HcdcError) else f"{type(error).__name__}: "
    return Finding("breaks", f"{kind}{first_line(error)}", "mend it, and check again")
