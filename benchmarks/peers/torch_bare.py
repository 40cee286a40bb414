"""The MLP alone in PyTorch, for every peer that is built on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import nn

import protocol
import shapes


def mlp(width: int, shape: shapes.Shape) -> nn.Sequential:
    """Linear, batch norm if any, ReLU, dropout if any, for each hidden layer; then one output."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((width, *shape.hidden), shape.hidden):
        layers += [nn.Linear(inputs, outputs), *[nn.BatchNorm1d(outputs)] * shape.batch_norm, nn.ReLU(),
                   *[nn.Dropout(shape.dropout)] * (shape.dropout > 0)]
    return nn.Sequential(*layers, nn.Linear(shape.hidden[-1], 1))


def adagrad(parameters: Iterable[nn.Parameter], fused: bool = False) -> torch.optim.Adagrad:
    """PyTorch's AdaGrad with everybody's rate and first accumulator."""
    return torch.optim.Adagrad(parameters, protocol.RATE, initial_accumulator_value=protocol.ACCUMULATOR, fused=fused or None)


class Bare:
    """A step at a time on one dense random batch, whose own gradient is computed because embeddings would need it.

    Dense layers and ReLUs, without batch norm and dropout.
    """

    def __init__(self, width: int, shape: shapes.Shape, steps: int, fused: bool = False, precision: str = "f32",
                 wrap: Callable[[nn.Module], nn.Module] = lambda net: net):
        plain = mlp(width, replace(shape, batch_norm=False, dropout=0.0))
        self.net, self.steps, self.precision = wrap(plain), steps, precision
        self.optimizer = adagrad(plain.parameters(), fused)
        self.inputs = torch.randn(shape.batch, width).requires_grad_()
        self.labels = (torch.rand(shape.batch, 1) < 0.5).float()

    def round(self) -> tuple[float, float]:
        """All steps: seconds, mean loss."""
        start, total = time.perf_counter(), 0.0
        for _ in range(self.steps):
            self.optimizer.zero_grad()
            self.inputs.grad = None
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                logits = self.net(self.inputs)
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), self.labels)
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        return time.perf_counter() - start, total / self.steps
