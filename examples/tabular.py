"""A user's own network on a table that ships with scikit-learn: decay of each layer, gate of each input, activation.

python examples/tabular.py [--small]
"""

import sys

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn

import hcdc


class Net(nn.Module):
    """One hidden layer whose activation is a choice."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(30, 16), nn.Linear(16, 2)

    def forward(self, x, activation):
        h = self.hidden(x)
        return self.head(activation[0] * h.tanh() + activation[1] * nn.functional.silu(h) + activation[2] * h)


def loss(module, hyper, batch):
    """Cross-entropy, a decay for each group of ten columns (mean, error, worst), and one for the head."""
    groups = module.hidden.weight.square().reshape(16, 3, 10).sum((0, 2))
    penalty = (10 ** hyper["log10_columns"] * groups).sum() + 10 ** hyper["log10_head"] * module.head.weight.square().sum()
    return nn.functional.cross_entropy(module(batch.x, activation=hyper["activation"]), batch.y) + penalty / 2


def main(small=False):
    x, y = load_breast_cancer(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    x_train, x_rest, y_train, y_rest = train_test_split(x, y, test_size=0.5, random_state=0, stratify=y)
    x_val, x_test, y_val, y_test = train_test_split(x_rest, y_rest, test_size=0.5, random_state=0, stratify=y_rest)
    space = hcdc.Space(
        {f"log10_columns.{k}": hcdc.Real(-4.0, 0.0) for k in range(3)}
        | {"log10_head": hcdc.Real(-4.0, 0.0), "activation": hcdc.Choice(("tanh", "silu", "linear"))}
    )
    work = {"steps": 5, "full": hcdc.Adam(20, 0.01)} if small else {}
    found = hcdc.condense_model(Net, (x_train, y_train), (x_val, y_val), space=space, size=20, loss=loss, **work)
    facts = found.evaluate((x_test, y_test), configs=4 if small else 40, seeds=2).facts
    for name in ("spearman_loss", "ceiling_loss", "floor_strong_loss", "floor_random_loss", "regret_top1", "break_even_configs"):
        print(name, facts[name])
    return facts


if __name__ == "__main__":
    main("--small" in sys.argv)
