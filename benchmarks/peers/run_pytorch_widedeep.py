"""pytorch-widedeep: `Wide` and `TabMlp`, trained by its `Trainer.fit`.

Differs from ours: its tables have dense gradients, so AdaGrad passes over every row at every step; no FTRL, so AdaGrad for the
wide tower too; `Wide` takes ids only, no numbers; the loss is the mean over the batch; in hidden layers batch norm comes after
ReLU. Rows are shuffled, as ours are. By default its loader fetches row by row. Variants: worker processes; a sampler of
whole batches, which `CustomDataLoader` hands on to PyTorch's loader; PyTorch's fused AdaGrad.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from pytorch_widedeep import Trainer
from pytorch_widedeep.callbacks import Callback
from pytorch_widedeep.dataloaders import CustomDataLoader
from pytorch_widedeep.models import TabMlp, Wide, WideDeep
from torch.utils.data import BatchSampler, RandomSampler

import protocol
import shapes
import torch_bare

VARIANTS = {
    "whole batches, fused": {"whole": True, "fused": True},
    "whole batches": {"whole": True},
    "whole batches, fused, 1 worker": {"whole": True, "fused": True, "workers": 1},
    "rows": {},
    "rows, fused": {"fused": True},
    "rows, fused, 1 worker": {"fused": True, "workers": 1},
    "rows, fused, 2 workers": {"fused": True, "workers": 2},
}


class Clock(Callback):
    """Times an epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None, metric: float | None = None) -> None:
        self.seconds = time.perf_counter() - self.start


class System:
    """A `WideDeep` model, its `Trainer` and the arrays that `fit` takes; id 0 is its padding, so ids are moved up by one."""

    def __init__(self, shape: shapes.Shape, data: shapes.Data, precision: str, threads: int, whole: bool = False,
                 fused: bool = False, workers: int = 0):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.shape, self.whole, self.fused, self.workers = shape, whole, fused, workers
        self.steps = len(data.labels) // shape.batch
        model = _model(shape)
        self.arrays: dict[str, Any] = {"X_tab": np.concatenate([data.ids + 1, data.numbers], 1).astype(np.float32),
                                       "target": data.labels}
        if shape.wide:
            self.arrays["X_wide"] = shapes.wide_ids(shape, data) + 1
        towers = ("wide", "deeptabular") if shape.wide else ("deeptabular",)
        optimizers = {name: torch_bare.adagrad(getattr(model, name).parameters(), fused) for name in towers}
        self.clock = Clock()
        self.trainer = Trainer(model, objective="binary", optimizers=optimizers, callbacks=[self.clock], verbose=0,
                               device="cpu", num_workers=workers)
        self._bare: torch_bare.Bare | None = None

    def joint(self) -> tuple[float, float]:
        self.trainer.fit(**self.arrays, n_epochs=1, batch_size=self.shape.batch, **self._loader())
        return self.clock.seconds, self.trainer.history["train_loss"][-1]

    def bare(self) -> tuple[float, float]:
        self._bare = self._bare or torch_bare.Bare(self.shape.width, self.shape, self.steps, self.fused)
        return self._bare.round()

    def _loader(self) -> dict[str, Any]:
        if not self.whole:
            return {"shuffle": True}
        batches = BatchSampler(RandomSampler(self.arrays["target"]), self.shape.batch, drop_last=False)
        return {"train_dataloader": CustomDataLoader(sampler=batches, batch_size=None, num_workers=self.workers)}


def _model(shape: shapes.Shape) -> WideDeep:
    columns = [f"c{i}" for i in range(len(shape.rows))]
    numbers = [f"n{i}" for i in range(shape.numbers)]
    deep = TabMlp(column_idx={name: i for i, name in enumerate(columns + numbers)},
                  cat_embed_input=[(name, rows, shape.dim) for name, rows in zip(columns, shape.rows)],
                  continuous_cols=numbers or None, mlp_hidden_dims=list(shape.hidden), mlp_activation="relu",
                  mlp_dropout=shape.dropout, mlp_batchnorm=shape.batch_norm, mlp_batchnorm_last=shape.batch_norm)
    return WideDeep(wide=Wide(sum(shape.wide_rows)) if shape.wide else None, deeptabular=deep)


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("pytorch-widedeep", "torch", "numpy"))
