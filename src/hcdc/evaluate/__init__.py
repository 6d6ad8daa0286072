"""Is the ranking true, and did it pay: retraining, correlations, verdict, report."""

from hcdc.evaluate.evaluation import Evaluation, Judge, bill, check_source
from hcdc.evaluate.ranking import (
    better_half,
    bootstrap,
    ceiling,
    kendall,
    regret,
    spearman,
)
from hcdc.evaluate.report import require_report, write_report
from hcdc.evaluate.retrain import Scores, retrain
from hcdc.evaluate.verdict import Verdict, verdict

__all__ = [
    "Evaluation", "Judge", "Scores", "Verdict", "better_half", "bill", "bootstrap", "ceiling", "check_source", "kendall",
    "regret", "require_report", "retrain", "spearman", "verdict", "write_report",
]  # fmt: skip
