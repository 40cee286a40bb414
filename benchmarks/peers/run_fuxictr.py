"""FuxiCTR: its embedding, MLP and logistic regression blocks under its `BaseModel.fit`.

Its package ships no DNN or Wide & Deep model, so the few lines that join the blocks are here. Differs from ours: its tables
have dense gradients, so AdaGrad passes over every row at every step; no FTRL, so AdaGrad for the wide tower too; the norm of
all gradients is clipped at every step; a number passes a one-to-one linear map on its way to the MLP; the loss is the mean over
the batch. `fit` validates and keeps a checkpoint at each epoch's end; only the training is timed. Variants: worker processes of
its loader, which fetches row by row; PyTorch's own loader over its rows, whole batches at a time; its loader of Parquet files,
on Ray; PyTorch's fused AdaGrad.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders import RankDataLoader
from fuxictr.pytorch.layers import FeatureEmbedding, LogisticRegression, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

import protocol
import shapes
import torch_bare

VARIANTS = {
    "npz, whole batches, fused": {"whole": True, "fused": True},
    "npz, fused": {"fused": True},
    "npz": {},
    "npz, 1 worker, fused": {"workers": 1, "fused": True},
    "npz, 2 workers, fused": {"workers": 2, "fused": True},
    "npz, 3 workers, fused": {"workers": 3, "fused": True},
    "parquet, fused": {"form": "parquet", "workers": 1, "fused": True},
}


class Net(BaseModel):
    """Embeddings → MLP, plus a weight for each id, cross and number."""

    def __init__(self, features: FeatureMap, shape: shapes.Shape, folder: str):
        super().__init__(features, gpu=-1, verbose=0, model_root=folder, metrics=["AUC"])
        deep = [name for name in features.features if not name.startswith("x")]
        self.embedding_layer = FeatureEmbedding(features, shape.dim, required_feature_columns=deep)
        self.mlp = MLP_Block(shape.width, list(shape.hidden), output_dim=1, dropout_rates=shape.dropout,
                             batch_norm=shape.batch_norm)
        self.wide = LogisticRegression(features) if shape.wide else None
        self.compile("Adagrad", "binary_crossentropy", protocol.RATE)
        self.reset_parameters()

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        columns = self.get_inputs(inputs)
        logits = self.mlp(self.embedding_layer(columns, flatten_emb=True))
        return {"y_pred": self.output_activation(logits if self.wide is None else logits + self.wide(columns))}

    def train_epoch(self, data_generator: Any) -> None:
        """The library's epoch, timed."""
        self.losses: list[float] = []
        start = time.perf_counter()
        super().train_epoch(data_generator)
        self.seconds = time.perf_counter() - start

    def train_step(self, batch_data: dict[str, torch.Tensor]) -> torch.Tensor:
        """The library's step, its loss kept."""
        loss = super().train_step(batch_data)
        self.losses.append(loss.item())
        return loss

    def eval_step(self) -> None:
        """No validation: only training is timed."""

    def load_weights(self, checkpoint: str) -> None:
        """No checkpoint without validation."""


class System:
    """The net, and the library's loader over a file of all rows."""

    def __init__(self, shape: shapes.Shape, data: shapes.Data, precision: str, threads: int, form: str = "npz",
                 workers: int = 0, fused: bool = False, whole: bool = False):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.shape, self.fused, self.steps = shape, fused, len(data.labels) // shape.batch
        self.folder = tempfile.TemporaryDirectory()
        file = _write(shape, data, Path(self.folder.name), form)
        features = _features(shape, self.folder.name)
        self.net = Net(features, shape, self.folder.name)
        self.net.optimizer = torch_bare.adagrad(self.net.parameters(), fused)
        self.rows, _ = RankDataLoader(features, stage="train", train_data=str(file), batch_size=shape.batch, shuffle=True,
                                      data_format=form, num_workers=workers)
        if whole:
            self.rows = _whole_batches(self.rows.dataset, features, shape.batch)
        self._bare: torch_bare.Bare | None = None

    def joint(self) -> tuple[float, float]:
        self.net.fit(self.rows, epochs=1)
        return self.net.seconds, float(np.mean(self.net.losses))

    def bare(self) -> tuple[float, float]:
        self._bare = self._bare or torch_bare.Bare(self.shape.width, self.shape, self.steps, self.fused)
        return self._bare.round()


def _whole_batches(rows: Dataset, features: FeatureMap, batch: int) -> DataLoader:
    """The library's rows, a batch of them at a time in place of one row."""
    columns = {name: features.get_column_index(name) for name in (*features.features, *features.labels)}

    def cut(found: np.ndarray) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(found[:, place]) for name, place in columns.items()}

    batches = BatchSampler(RandomSampler(rows), batch, drop_last=False)
    return DataLoader(rows, sampler=batches, batch_size=None, collate_fn=cut)


def _features(shape: shapes.Shape, folder: str) -> FeatureMap:
    """The library's description of the columns: ids `c…`, crosses `x…`, numbers `n…`, label `y`."""
    features = FeatureMap("drawn", folder)
    for i, rows in enumerate(shape.rows):
        features.features[f"c{i}"] = {"type": "categorical", "source": "", "vocab_size": rows}
    for i in range(len(shape.crosses) * shape.wide):
        features.features[f"x{i}"] = {"type": "categorical", "source": "", "vocab_size": shape.cross_rows}
    for i in range(shape.numbers):
        features.features[f"n{i}"] = {"type": "numeric", "source": "", "embedding_dim": 1}
    features.labels = ["y"]
    features.num_fields = features.get_num_fields()
    features.set_column_index()
    return features


def _write(shape: shapes.Shape, data: shapes.Data, folder: Path, form: str) -> Path:
    columns = {f"c{i}": data.ids[:, i] for i in range(len(shape.rows))}
    columns |= {f"x{i}": data.crosses[:, i] for i in range(len(shape.crosses) * shape.wide)}
    columns |= {f"n{i}": data.numbers[:, i] for i in range(shape.numbers)} | {"y": data.labels}
    file = folder / f"train.{form}"
    if form == "npz":
        np.savez(file, **columns)
    else:
        polars.DataFrame(columns).write_parquet(file)
    return file


if __name__ == "__main__":
    protocol.serve(System, VARIANTS, ("fuxictr", "torch", "polars", "numpy"))
