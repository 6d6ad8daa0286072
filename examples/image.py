"""A user's own CNN on digits: how strongly shifted images count in training, and the weight decay of each layer.

python examples/image.py [--small]
"""

import sys

import torch
from torch import nn

import hcdc


class Net(nn.Module):
    """Two convolutions, normalised by groups: batch statistics have no place where models are differentiated twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = nn.GroupNorm(2, 8), nn.Linear(32, 10)

    def forward(self, x):
        h = nn.functional.avg_pool2d(nn.functional.silu(self.first(x)), 2)
        h = nn.functional.silu(self.norm(self.second(h)))
        return self.head(nn.functional.avg_pool2d(h, 2).flatten(1))


def loss(module, hyper, batch):
    """The expected cross-entropy where an image is shifted by a pixel with probability `augment`, and three decays."""
    shifts = [(batch.x.roll(step, side), batch.y) for side in (-1, -2) for step in (-1, 1)]
    x, y = torch.cat([x for x, _ in shifts]), torch.cat([y for _, y in shifts])
    plain, shifted = (nn.functional.cross_entropy(module(x), y) for x, y in (batch, (x, y)))
    squares = torch.stack([layer.weight.square().sum() for layer in (module.first, module.second, module.head)])
    return (1 - hyper["augment"]) * plain + hyper["augment"] * shifted + (10 ** hyper["log10_layers"] * squares).sum() / 2


def main(small=False):
    train, val, test = hcdc.load("digits").splits
    parts = [torch.utils.data.TensorDataset(part.x, part.y) for part in (train, val, test)]
    space = hcdc.Space({"augment": hcdc.Real(0.0, 1.0)} | {f"log10_layers.{k}": hcdc.Real(-4.0, -1.0) for k in range(3)})
    work = {"steps": 3, "small": hcdc.Adam(5, 0.01), "full": hcdc.Adam(5, 0.01)} if small else {}
    found = hcdc.condense_model(Net, parts[0], parts[1], space=space, size=10 if small else 50, loss=loss, **work)
    facts = found.evaluate(parts[2], configs=4 if small else 24, seeds=2).facts
    for name in ("spearman_loss", "ceiling_loss", "floor_strong_loss", "floor_random_loss", "regret_top1", "break_even_configs"):
        print(name, facts[name])
    return facts


if __name__ == "__main__":
    main("--small" in sys.argv)
