"""PyTorch by hand: packed tables with sparse gradients, one bag of weights as the wide tower, f32 or bf16 autocast.

Differs from ours: PyTorch has no FTRL, so the wide tower too is under AdaGrad; the loss is the mean over the batch. Variants:
`torch.optim.Adagrad`, which takes sparse gradients, or the same update on rows in plain tensor operations; a table for all
columns or one for each; the MLP compiled or not.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn

import protocol
import shapes
import torch_bare

VARIANTS = {
    "rows": {},
    "rows, fused dense": {"fused": True},
    "rows, fused dense, compiled MLP": {"fused": True, "compiled": True},
    "torch.optim.Adagrad": {"own_update": False},
    "torch.optim.Adagrad, a table a column": {"own_update": False, "packed": False},
}


class RowAdaGrad:
    """AdaGrad that reads and writes the rows of a table that have a gradient, each once."""

    def __init__(self, tables: list[nn.Parameter]):
        self.tables = [(table, torch.full_like(table, protocol.ACCUMULATOR)) for table in tables]

    def zero_grad(self) -> None:
        for table, _ in self.tables:
            table.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for table, slot in self.tables:
            gradient = table.grad.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
            squares = slot.index_select(0, rows).addcmul_(values, values)
            slot.index_copy_(0, rows, squares)
            table.index_add_(0, rows, values.div_(squares.sqrt_()), alpha=-protocol.RATE)


class Net(nn.Module):
    """Embeddings → MLP, plus a weight for each wide id and number."""

    def __init__(self, shape: shapes.Shape, packed: bool, compiled: bool):
        super().__init__()
        groups = (sum(shape.rows),) if packed else shape.rows
        self.tables = nn.ModuleList(nn.Embedding(rows, shape.dim, sparse=True) for rows in groups)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.05)
        plain = torch_bare.mlp(shape.width, shape)
        self.dense = nn.ModuleList([plain])
        self.mlp = torch.compile(plain) if compiled else plain
        self.packed, self.wide = packed, None
        if shape.wide:
            self.wide = nn.EmbeddingBag(sum(shape.wide_rows), 1, mode="sum", sparse=True)
            nn.init.zeros_(self.wide.weight)
            self.linear = nn.Linear(shape.numbers, 1) if shape.numbers else None
            self.dense.extend([self.linear] if shape.numbers else [])

    def forward(self, ids: torch.Tensor, wide: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """Logits (n, 1)."""
        if self.packed:
            inputs = self.tables[0](ids).flatten(1)
        else:
            inputs = torch.cat([table(ids[:, i]) for i, table in enumerate(self.tables)], 1)
        logits = self.mlp(torch.cat([inputs, numbers], 1)).float()
        if self.wide is not None:
            logits = logits + self.wide(wide)
            logits = logits + self.linear(numbers) if self.linear is not None else logits
        return logits


class System:
    """The net with its optimizers, and all rows in memory."""

    def __init__(self, shape: shapes.Shape, data: shapes.Data, precision: str, threads: int, packed: bool = True,
                 own_update: bool = True, fused: bool = False, compiled: bool = False):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.shape, self.precision = shape, precision
        self.settings = {"fused": fused, "wrap": torch.compile if compiled else (lambda net: net)}
        self.steps = len(data.labels) // shape.batch
        ids = shapes.packed(data.ids, shape.rows) if packed else data.ids.astype(np.int64)
        wide = shapes.wide_ids(shape, data) if shape.wide else np.empty((len(ids), 0), np.int64)
        self.columns = [torch.from_numpy(values) for values in (ids, wide, data.numbers, data.labels[:, None])]
        self.net = Net(shape, packed, compiled)
        tables = [table.weight for table in self.net.tables] + ([self.net.wide.weight] if shape.wide else [])
        rows = RowAdaGrad(tables) if own_update else torch_bare.adagrad(tables)
        self.optimizers = [rows, torch_bare.adagrad(self.net.dense.parameters(), fused)]
        self._bare: torch_bare.Bare | None = None

    def joint(self) -> tuple[float, float]:
        start, total = time.perf_counter(), 0.0
        for rows in torch.randperm(len(self.columns[0])).split(self.shape.batch):
            *inputs, labels = (values[rows] for values in self.columns)
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
                logits = self.net(*inputs)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            total += loss.item()
        return time.perf_counter() - start, total / self.steps

    def bare(self) -> tuple[float, float]:
        self._bare = self._bare or torch_bare.Bare(self.shape.width, self.shape, self.steps, precision=self.precision,
                                                   **self.settings)
        return self._bare.round()


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("torch", "numpy"))
