"""Is the ranking true, and did it pay: retraining, correlations, verdict, report."""

from hcdc.evaluate.alignment import Alignment, align
from hcdc.evaluate.cells import CellTrainer
from hcdc.evaluate.evaluation import Evaluation, Judge, bill, check_source
from hcdc.evaluate.guard import Guard, Guarded
from hcdc.evaluate.objective import STARTS, check_space, objective_for
from hcdc.evaluate.probes import Probe, probe_limit
from hcdc.evaluate.ranking import (
    better_half,
    bootstrap,
    ceiling,
    kendall,
    regret,
    spearman,
)
from hcdc.evaluate.report import require_report, write_report
from hcdc.evaluate.retrain import retrain
from hcdc.evaluate.scores import Scores
from hcdc.evaluate.verdict import FEWEST, Verdict, first_look, verdict
from hcdc.evaluate.zerocost import flops, jacov, naswot, parameters, synflow

__all__ = [
    "FEWEST", "STARTS", "Alignment", "CellTrainer", "Evaluation", "Guard", "Guarded", "Judge", "Probe", "Scores", "Verdict", "align",
    "better_half", "bill", "bootstrap", "ceiling", "check_source", "check_space", "first_look", "flops", "jacov", "kendall", "naswot",
    "objective_for", "parameters", "probe_limit", "regret", "require_report", "retrain", "spearman", "synflow", "verdict", "write_report",
]  # fmt: skip
