"""DeepCTR-Torch: `WDL`, trained by its `fit`.

Differs from ours: its tables have dense gradients (`sparse=False` in its source, without an option), so AdaGrad passes over
every row at every step; no FTRL, so AdaGrad for the wide tower too; one optimizer for both towers. Its loss is summed over the
batch; AdaGrad's first steps on that saturate the net for good, so the mean is passed to `compile`, as the other peers have it.
Its L2 penalties, on by default, are off, or each step would also read every table. Its batch is one float32 matrix of ids and
numbers. `fit` has no option for its loader; the variants are PyTorch's AdaGrad, plain and fused.
"""

from __future__ import annotations

import time

import torch
from deepctr_torch.callbacks import Callback
from deepctr_torch.inputs import DenseFeat, SparseFeat
from deepctr_torch.models import WDL

import protocol
import shapes
import torch_bare

VARIANTS = {"fused": {"fused": True}, "plain": {}}


class Clock(Callback):
    """Times an epoch and keeps its loss: the sum over batches by the number of examples."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds, self.loss = time.perf_counter() - self.start, float(logs["loss"])


class System:
    """A compiled `WDL` and the columns that `fit` takes."""

    def __init__(self, shape: shapes.Shape, data: shapes.Data, precision: str, threads: int, fused: bool = False):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.shape, self.fused, self.steps, self.labels = shape, fused, len(data.labels) // shape.batch, data.labels
        ids = {f"c{i}": data.ids[:, i].astype("float32") for i in range(len(shape.rows))}
        crosses = {f"x{i}": data.crosses[:, i].astype("float32") for i in range(len(shape.crosses))} if shape.wide else {}
        numbers = {f"n{i}": data.numbers[:, i] for i in range(shape.numbers)}
        self.columns = ids | crosses | numbers
        deep = [SparseFeat(name, rows, shape.dim) for name, rows in zip(ids, shape.rows)]
        deep += [DenseFeat(name) for name in numbers]
        wide = deep + [SparseFeat(name, shape.cross_rows, shape.dim) for name in crosses] if shape.wide else []
        self.model = WDL(wide, deep, dnn_hidden_units=shape.hidden, dnn_use_bn=shape.batch_norm, dnn_dropout=shape.dropout,
                         l2_reg_linear=0, l2_reg_embedding=0, init_std=0.05)
        self.model.compile(torch_bare.adagrad(self.model.parameters(), fused), _mean_loss)
        self._bare: torch_bare.Bare | None = None

    def joint(self) -> tuple[float, float]:
        clock = Clock()
        self.model.fit(self.columns, self.labels, batch_size=self.shape.batch, epochs=1, verbose=0, callbacks=[clock])
        return clock.seconds, clock.loss * self.shape.batch

    def bare(self) -> tuple[float, float]:
        self._bare = self._bare or torch_bare.Bare(self.shape.width, self.shape, self.steps, self.fused)
        return self._bare.round()


def _mean_loss(probabilities: torch.Tensor, labels: torch.Tensor, reduction: str) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy(probabilities, labels)


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("deepctr-torch", "torch", "numpy"))
