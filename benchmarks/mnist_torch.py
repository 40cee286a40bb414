"""The tutorial's net in PyTorch, run by benchmarks/mnist.py in an environment that has torch.

    python benchmarks/mnist_torch.py DATA train --recipe '{...}' --seed 0     # prints {"accuracy": …}
    python benchmarks/mnist_torch.py DATA time                                # per line "batch" on stdin: seconds of an epoch

All rows are in memory; a step gathers its rows and scales them. Rows come in the same order as in `widedeep.training`, and the
initial weights, which follow the law of PyTorch's own layers, are the same numbers, or the noise of seeds would be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn


def net() -> nn.Module:
    """conv 5×5×6, pool, conv 5×5×16, pool, 120, 84, 10."""
    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(),
                         nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


@torch.no_grad()
def draw(model: nn.Module, seed: int) -> nn.Module:
    """The initial weights of `widedeep.baselines.mnist.draw`, laid out as PyTorch has them."""
    rng = np.random.default_rng(seed)
    for layer in (part for part in model if hasattr(part, "weight")):
        outputs, *inputs = layer.weight.shape
        bound = 1 / np.prod(inputs) ** 0.5
        shape = (*inputs[1:], inputs[0], outputs) if isinstance(layer, nn.Conv2d) else (*inputs, outputs)
        kernel = rng.uniform(-bound, bound, shape)
        if inputs == [256]:
            kernel = kernel.reshape(4, 4, 16, outputs).transpose(2, 0, 1, 3).reshape(256, outputs)
        turned = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        layer.weight.copy_(torch.from_numpy(turned.copy()))
        layer.bias.copy_(torch.from_numpy(rng.uniform(-bound, bound, outputs)))
    return model


def read(file: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (n, 1, 28, 28) uint8 and labels (n,)."""
    with np.load(file) as arrays:
        return torch.from_numpy(arrays["x"][:, None]), torch.from_numpy(arrays["y"].astype(np.int64))


class Trainer:
    """A net, its optimizer and the rows."""

    def __init__(self, folder: Path, rate: float, momentum: float, seed: int):
        self.images, self.labels = read(folder / "train.npz")
        self.net, self.seed = draw(net(), seed), seed
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=rate, momentum=momentum)

    def epoch(self, epoch: int, batch: int) -> float:
        """One pass over the rows; returns the seconds it took."""
        start = time.perf_counter()
        order = torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(self.labels)))
        for rows in order.split(batch):
            self.optimizer.zero_grad()
            logits = self.net(self.images[rows].float() / 255)
            nn.functional.cross_entropy(logits, self.labels[rows]).backward()
            self.optimizer.step()
        return time.perf_counter() - start


@torch.no_grad()
def accuracy(model: nn.Module, folder: Path) -> float:
    """Share of test rows that are right."""
    images, labels = read(folder / "t10k.npz")
    return float((model(images.float() / 255).argmax(1) == labels).float().mean())


def train(folder: Path, recipe: dict, seed: int) -> dict:
    """Train by a recipe, then read the test rows once."""
    trainer = Trainer(folder, recipe["rate"], recipe["momentum"], seed)
    seconds = [trainer.epoch(epoch, recipe["batch"]) for epoch in range(recipe["epochs"])]
    return {"accuracy": accuracy(trainer.net, folder), "seconds": sum(seconds), "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder of train.npz and t10k.npz")
    parser.add_argument("what", choices=("train", "time"))
    parser.add_argument("--recipe", type=json.loads, help="rate, momentum, batch, epochs as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.what == "train":
        print(json.dumps(train(chosen.data, chosen.recipe, chosen.seed)))
        return
    trainer = Trainer(chosen.data, 0.001, 0.5, chosen.seed)
    for index, line in enumerate(sys.stdin):
        print(trainer.epoch(index, int(line)), flush=True)


if __name__ == "__main__":
    main()
