"""What each of several processes does in test_distributed.py. Not a test: torchrun starts it.

``several_processes.py NAME FOLDER``: the function of that name, on what the test has put into the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from timm.layers import DropPath
from torch import nn

from wsss_fast._processes import from_first, gathered, process_count, process_rank, summed
from wsss_fast.config import Config
from wsss_fast.config_file import build, read_values
from wsss_fast.data import DataError
from wsss_fast.data.shapes import Shapes
from wsss_fast.models.joint_batch_norm import join_batch_norms
from wsss_fast.models.joint_dropout import join_dropouts
from wsss_fast.steps import _training_loop
from wsss_fast.steps._device import make_fabric


@contextmanager
def unreadable(index: int) -> Any:
    """One of the training images cannot be read."""
    image = Shapes.image

    def broken(self: Shapes, i: int) -> np.ndarray:
        if i == index and self.name(i).startswith("train"):
            raise DataError(self.source(i), "broken")
        return image(self, i)

    with mock.patch.object(Shapes, "image", broken):
        yield


class Stopped(Exception):
    """Instead of a killed process."""


@contextmanager
def stopped_after(steps: int) -> Any:
    """A training stops after so many steps of the optimizer, wherever it is."""
    step = _training_loop.TrainingLoop._step
    left = [steps]

    def counted(self: Any, batches: Any) -> Any:
        if not left[0]:
            raise Stopped
        left[0] -= 1
        return step(self, batches)

    with mock.patch.object(_training_loop.TrainingLoop, "_step", counted):
        yield


def load(path: Path) -> Config:
    return build(Config, read_values(path))


def train(name: str, config: Config) -> None:
    module = importlib.import_module(f"wsss_fast.steps.{name.replace('-', '_')}")
    getattr(module, name.replace("-", "_"))(config)


def trainings(folder: Path) -> None:
    """The three trainings, one after another in the same process; then one that is stopped and goes on."""
    for name in ("train-classifier", "train-irnet", "train-segmenter"):
        train(name, load(folder / f"{name}.yaml"))
    train("train-classifier", load(folder / "frozen.yaml"))
    for config in (load(folder / name) for name in ("whole.yaml", "stopped.yaml", "fewer.yaml")):
        with unreadable(3):
            if Path(config.output).name == "whole":
                train("train-classifier", config)
                continue
            try:
                with stopped_after(4):
                    train("train-classifier", config)
            except Stopped:
                pass
            if Path(config.output).name == "stopped":
                train("train-classifier", config)
    pieces(folder, load(folder / "whole.yaml"))


def pieces(folder: Path, config: Config) -> None:
    """What trainings are made of."""
    make_fabric(config)  # again: the group is there
    rank, count = process_rank(), process_count()
    torch.manual_seed(5)
    images = torch.randn(6, 3, 4, 5).double().add(torch.linspace(-3, 3, 3).view(3, 1, 1)).float()
    joint = nn.BatchNorm2d(3)
    nn.init.uniform_(joint.weight, 0.5, 1.5)
    module = join_batch_norms(nn.Sequential(joint), torch.device("cpu"))
    # Unequal shares: one image, and five.
    own = images[:1] if rank == 0 else images[1:]
    own = own.clone().requires_grad_()
    out = module(own)
    (out * torch.arange(3.0).view(3, 1, 1) * own.detach()).pow(2).sum().backward()
    for parameter in module.parameters():
        summed(parameter.grad)  # type: ignore[arg-type]
    tensors = {
        "out": torch.cat(gathered(out.detach())),
        "gradient": torch.cat(gathered(own.grad)),  # type: ignore[arg-type]
        **{f"of.{name}": p.grad for name, p in module.named_parameters()},
        **module.state_dict(),
    }
    torch.manual_seed(6)
    values = torch.randn(4, 8, 3, 5).to(memory_format=torch.channels_last)
    half = values[2 * rank :][:2]
    drops = join_dropouts(nn.Sequential(nn.Dropout(0.3), nn.Dropout2d(0.5), DropPath(0.5)))
    torch.manual_seed(7)
    dropped = torch.cat(gathered(drops(half)))
    torch.manual_seed(7)
    of_one = nn.Sequential(nn.Dropout(0.3), nn.Dropout2d(0.5), DropPath(0.5))(values)
    assert torch.equal(dropped, of_one)
    assert 0 < of_one.count_nonzero() < values.numel() / 2
    assert drops.eval()(half) is half
    assert from_first(rank) == 0
    assert gathered(rank) == list(range(count))
    assert int(summed(torch.tensor(rank + 1))) == count * (count + 1) // 2
    if rank == 0:
        torch.save(tensors, folder / "norm.pt")
    answers = gathered({"threads": torch.get_num_threads(), "omp": os.environ.get("OMP_NUM_THREADS")})
    if rank == 0:
        (folder / "answers.json").write_text(json.dumps(answers))


def one_fails(folder: Path) -> None:
    """The second process cannot go on, in the middle of an epoch."""
    from wsss_fast.cli import main

    arguments = ["train-classifier", "--config", str(folder / "config.yaml")]
    if os.environ["RANK"] == "0":
        sys.exit(main(arguments))
    with mock.patch.object(Shapes, "image", side_effect=DataError("there.jpg", "no such luck")):
        sys.exit(main([*arguments, "--data.strict", "true"]))


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
