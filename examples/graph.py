"""A user's own torch_geometric model on Cora: how much of GCN, of GAT and of no graph in each of two layers.

HCDC_DATA=path/to/data python examples/graph.py [--small]
"""

import sys

from torch import nn
from torch_geometric.nn import GATConv, GCNConv

import hcdc


class Net(nn.Module):
    """Each layer is a mixture; one that is not a torch_geometric layer reads no edges."""

    def __init__(self, features, classes, hidden=16):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([GCNConv(i, o), GATConv(i, o), nn.Linear(i, o)]) for i, o in ((features, hidden), (hidden, classes))
        )

    def forward(self, x, edge_index, mix):
        for (gcn, gat, plain), weights in zip(self.layers, mix, strict=True):
            x = weights[0] * gcn(x, edge_index) + weights[1] * gat(x, edge_index) + weights[2] * plain(x)
            x = nn.functional.elu(x)
        return x


def main(small=False):
    data = hcdc.load("cora").splits  # a torch_geometric Data with masks will do as well
    axes = {f"mix.{k}": hcdc.Choice(("gcn", "gat", "plain")) for k in range(2)} | {"log10_decay": hcdc.Real(-5.0, -2.0)}
    bank = hcdc.HCDC(driver=hcdc.Bank(starts=4, stages=1, chunk=4, steps=3, batch=4))
    work = {"method": bank, "small": hcdc.Adam(5, 0.05), "full": hcdc.Adam(3, 0.01)} if small else {"full": hcdc.Adam(100, 0.01)}
    found = hcdc.condense_model(lambda: Net(1433, 7), data, space=hcdc.Space(axes), size=49, **work)
    facts = found.evaluate(configs=4 if small else 24, seeds=2).facts
    for name in ("spearman_loss", "ceiling_loss", "floor_strong_loss", "floor_random_loss", "regret_top1", "break_even_configs"):
        print(name, facts[name])
    return facts


if __name__ == "__main__":
    main("--small" in sys.argv)
