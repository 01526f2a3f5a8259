"""What the three trainings share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from wsss_fast._processes import from_first, is_lost_process, process_count, process_rank
from wsss_fast.config import Config, TrainingConfig
from wsss_fast.data import ImageSet
from wsss_fast.data.training_loader import Batch, Epochs, ReadTarget, TrainingLoader
from wsss_fast.data.transforms import Transform
from wsss_fast.files import save_tensors
from wsss_fast.steps._checkpoints import Checkpoints
from wsss_fast.steps._device import make_fabric
from wsss_fast.steps._log import check_tensorboard
from wsss_fast.steps._shares import check_shares
from wsss_fast.steps._step import Step, StepError
from wsss_fast.steps._training_loop import LossParts, Network, TrainingLoop

__all__ = ["LossParts", "Network", "fit", "start_training", "training_loader"]


def start_training(config: Config, this: Step) -> Fabric:
    """The engine, once it is sure that the config can be had; several processes meet here.

    Raises `ConfigError` for a batch size that the processes cannot share, a TensorBoard that is not there
    and a device that is not there.
    """
    check_tensorboard(config.logs)
    check_shares(config, this.name)
    return make_fabric(config)


def training_loader(
    config: Config,
    training: TrainingConfig,
    this: Step,
    images: ImageSet,
    transform: Transform,
    mask: ReadTarget | None = None,
    epochs: Epochs | None = None,
) -> TrainingLoader:
    """Batches of the images with their labels, or with their masks where ``mask`` reads them: this process's
    share of them, in ``accumulate`` parts.

    ``epochs``: which images an epoch is made of, by default all once.
    """
    return TrainingLoader(
        images,
        transform,
        batch_size=training.batch_size,
        workers=config.data.workers,
        mask=mask,
        strict=config.data.strict,
        skip=this.skip,
        epochs=epochs,
        share=(process_rank(), process_count()),
        parts=training.accumulate,
    )


def fit(
    config: Config,
    training: TrainingConfig,
    fabric: Fabric,
    model: nn.Module,
    groups: list[dict[str, Any]],
    loader: TrainingLoader,
    loss: Callable[[nn.Module, Batch], LossParts],
    this: Step,
    after_epoch: Callable[[Network], dict[str, float]] | None = None,
) -> None:
    """Train ``model`` and leave ``weights.safetensors``, ``history.csv`` and ``steps.csv`` in the folder of
    the step ``this``.

    ``groups``: parameter groups with their peak ``lr``; parts of the model that nothing trains (see
    `with_backbone`) stay as in evaluation. ``loss(model, batch)``: the loss and its parts for a part of a
    batch; where several processes train together, the mean of theirs is the loss of all of them (see
    `wsss_fast._processes.joint_mean`). ``after_epoch(network)``: more columns for the history, the same for
    all processes.

    A training that was stopped at any time, or killed, goes on after its last checkpoint (see `Checkpoints`)
    with the same result as one that was not: on a CPU to the bit, with up to two processes; gradients of more
    are added in an order that changes after the first step of a process. With another number of processes
    than before it goes on too, but its networks draw other random numbers.

    Raises `StepError` if the loss is no longer a number, or if another process is gone.
    """
    weights = this.folder / "weights.safetensors"
    checkpoints = Checkpoints(this.folder, config.checkpoints.keep)
    if from_first(weights.exists()):  # stopped after the last thing that a training does
        if process_rank() == 0:
            checkpoints.clear()
        return
    try:
        TrainingLoop(
            config, training, fabric, model, groups, loader, loss, this, after_epoch, checkpoints
        ).run()
    except RuntimeError as error:
        if not is_lost_process(error):
            raise
        reason = str(error).partition("\n")[0]
        raise StepError(
            f"{this.name}: rank {process_rank()} has lost another process, whose own message says why "
            f"({reason})"
        ) from error
    if process_rank() == 0:
        save_tensors(weights, model.state_dict())
        checkpoints.clear()
