"""Graph convolutions as dense matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def normalised(adjacency: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2, entry by entry."""
    loops = adjacency.double() + torch.eye(len(adjacency), dtype=torch.float64)
    out = torch.zeros_like(loops)
    for i in range(len(loops)):
        for j in range(len(loops)):
            out[i, j] = loops[i, j] / (loops[i].sum() * loops[j].sum()) ** 0.5
    return out


def binary(edge_index: Tensor, n: int) -> Tensor:
    """Symmetric 0/1 adjacency without self-loops."""
    out = torch.zeros(n, n, dtype=torch.float64)
    for source, target in edge_index.T.tolist():
        if source != target:
            out[source, target] = out[target, source] = 1
    return out


def bernstein(propagation: Tensor, k: int, order: int) -> Tensor:
    """C(order, k) / 2^order (2I - L)^(order - k) L^k, L = I - propagation."""
    identity = torch.eye(len(propagation), dtype=torch.float64)
    laplacian = identity - propagation
    powers = torch.linalg.matrix_power(2 * identity - laplacian, order - k) @ torch.linalg.matrix_power(laplacian, k)
    return math.comb(order, k) / 2**order * powers


def polynomial(propagation: Tensor, weights: Tensor, basis: str) -> Tensor:
    """C = sum_k weights_k B_k as a matrix; Chebyshev polynomials through cos(k arccos(l)) of the eigenvalues."""
    identity = torch.eye(len(propagation), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(-propagation)
    angles = values.clamp(-1, 1).arccos()
    powers = {
        "adjacency": lambda k: torch.linalg.matrix_power(propagation, k),
        "laplacian": lambda k: torch.linalg.matrix_power(identity - propagation, k),
        "chebyshev": lambda k: vectors @ torch.diag((k * angles).cos()) @ vectors.T,
        "bernstein": lambda k: bernstein(propagation, k, len(weights) - 1),
    }
    total = torch.zeros_like(identity)
    for k, weight in enumerate(weights):
        total = total + weight * powers[basis](k)
    return total


def pair_network(learned: dict[str, Tensor]) -> Tensor:
    """GCond's adjacency as it is published: an MLP with batch normalisation on the concatenated features of every pair."""
    x = learned["x"]
    n = x.shape[0]
    h = torch.cat([x.repeat_interleave(n, 0), x.repeat(n, 1)], 1) @ torch.cat([learned["mlp.from"], learned["mlp.to"]])
    for layer in (1, 2):
        h = (h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt() * learned[f"mlp.scale{layer}"] + learned[f"mlp.shift{layer}"]
        h = h.relu() @ learned[f"mlp.w{layer + 1}"]
    scores = (h + learned["mlp.b3"]).reshape(n, n)
    return torch.sigmoid((scores + scores.T) / 2) * (1 - torch.eye(n))
