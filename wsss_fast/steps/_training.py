"""The training loop that the three trainings share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from wsss_fast._processes import from_first, gathered, process_count, process_rank, summed
from wsss_fast.config import Config, ConfigError, TrainingConfig
from wsss_fast.data import ImageSet
from wsss_fast.data.training_loader import Batch, Epochs, ReadTarget, TrainingLoader
from wsss_fast.data.transforms import Transform
from wsss_fast.files import save_tensors
from wsss_fast.models.joint_batch_norm import join_batch_norms
from wsss_fast.steps._checkpoints import (
    Checkpoints,
    Progress,
    Restored,
    random_state,
    restore,
    set_random_state,
)
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import channels_last, make_fabric, seed_epoch, seed_step
from wsss_fast.steps._log import TrainingLog, check_tensorboard, write_history
from wsss_fast.steps._optimizer import make_optimizer, set_learning_rates
from wsss_fast.steps._progress import progress
from wsss_fast.steps._ranks import ranks
from wsss_fast.steps._step import Step, StepError

# What a loss function returns: the number to minimise, and numbers worth a column in history.csv.
LossParts = tuple[Tensor, dict[str, Tensor]]

# A trained network as `fit` hands it out: normalised images on the device -> float32.
Network = Callable[[Tensor], Tensor]

_SECTIONS = {
    "train-classifier": "classifier",
    "train-person-classifier": "person.classifier",
    "train-irnet": "irnet",
    "train-segmenter": "segmenter",
    "retrain-segmenter": "segmenter",
}


def start_training(config: Config, training: TrainingConfig, this: Step) -> Fabric:
    """The engine, once it is sure that the config can be had; several processes meet here.

    Raises `ConfigError` for a batch size that the processes cannot share, a TensorBoard that is not there
    and a device that is not there.
    """
    check_tensorboard(config.logs)
    world = ranks().world
    if training.batch_size % (world * training.accumulate):
        raise ConfigError(
            f"{_SECTIONS[this.name]}.batch_size: expected a multiple of {world * training.accumulate} "
            f"({world} processes, accumulate {training.accumulate}), got {training.batch_size}"
        )
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
    """
    weights = this.folder / "weights.safetensors"
    checkpoints = Checkpoints(this.folder, config.checkpoints.keep)
    if from_first(weights.exists()):  # stopped after the last thing that a training does
        if process_rank() == 0:
            checkpoints.clear()
        return
    _Loop(config, training, fabric, model, groups, loader, loss, this, after_epoch, checkpoints).run()
    if process_rank() == 0:
        save_tensors(weights, model.state_dict())
        checkpoints.clear()


class _Loop:
    """A training under way."""

    def __init__(
        self,
        config: Config,
        training: TrainingConfig,
        fabric: Fabric,
        model: nn.Module,
        groups: list[dict[str, Any]],
        loader: TrainingLoader,
        loss: Callable[[nn.Module, Batch], LossParts],
        this: Step,
        after_epoch: Callable[[Network], dict[str, float]] | None,
        checkpoints: Checkpoints,
    ) -> None:
        self._config = config
        self._training = training
        self._fabric = fabric
        self._loader = loader
        self._loss = loss
        self._this = this
        self._after_epoch = after_epoch
        self._checkpoints = checkpoints
        self._frozen = [child for child in model.children() if not _is_trained(child)]
        if process_count() > 1:
            _prepare_for_many(config, training, model, fabric.device)
        self._bare = channels_last(model)
        optimizer = make_optimizer(training, groups)
        # Fabric compiles it anew, over what it wraps it into; keys of its state are those of the bare model.
        module = cast(nn.Module, torch.compile(self._bare)) if config.compile else self._bare
        self._network, self._optimizer = fabric.setup(module, optimizer)
        self._done = Progress()
        self._restored: Restored | None = None
        path = from_first(checkpoints.newest(self._tell) if process_rank() == 0 else None)
        if path is not None:
            self._restored = restore(path, self._bare, optimizer)
            self._done = self._restored.progress
            fabric.strategy.precision.load_state_dict(self._done.scaler)
            for entry in self._done.skipped:
                this.skip(**entry)

    def run(self) -> None:
        log = None
        if process_rank() == 0:
            log = TrainingLog(self._this.folder, self._config.logs, self._done.step)
        with log or nullcontext():
            while self._done.epoch < self._training.epochs:
                self._steps_of_epoch(log)
                self._end_epoch(log)

    def _steps_of_epoch(self, log: TrainingLog | None) -> None:
        """What is left of an epoch."""
        training, done, this = self._training, self._done, self._this
        self._network.train()
        for module in self._frozen:
            module.eval()  # batch norms keep the statistics of pretraining, nothing is dropped
        generator = seed_epoch(self._config, this.name, done.epoch)
        batches = this.profile.waiting(self._loader.epoch(generator, done.position), "read")
        if done.position:
            self._restore_random_state()
        steps = len(self._loader)
        with progress(steps - done.position, f"{this.name} {done.epoch + 1}/{training.epochs}") as bar:
            for parts in zip(*[batches] * training.accumulate, strict=True):
                set_learning_rates(
                    self._optimizer, training, done.step / (steps * training.epochs), done.epoch
                )
                numbers = self._step(parts)
                done.step += 1
                done.position += 1
                for key, number in numbers.items():
                    done.sums[key] = done.sums.get(key, 0.0) + number
                if not math.isfinite(done.sums["loss"]):
                    raise StepError(
                        f"{this.name}: the loss became {done.sums['loss']} in epoch {done.epoch + 1}; "
                        "try a lower learning rate"
                    )
                if log is not None:
                    log.step(done.step, numbers, self._optimizer.param_groups[-1]["lr"])
                bar.update()
                bar.set_postfix(loss=f"{done.sums['loss'] / done.position:.3f}")
                if done.step % self._config.checkpoints.every == 0 and done.position < steps:
                    self._save(log)

    def _step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """One of the optimizer; returns the loss of the joint batch and its parts."""
        profile = self._this.profile
        self._optimizer.zero_grad(set_to_none=True)
        scalars: list[dict[str, Tensor]] = []
        for index, batch in enumerate(batches):
            more = index + 1 < len(batches)
            alone = more and process_count() > 1
            with self._fabric.no_backward_sync(self._network) if alone else nullcontext():
                with profile.part("network and loss"):
                    value, parts = self._loss(self._network, batch)
                with profile.part("backward"):
                    self._fabric.backward(value / len(batches))
            scalars.append({"loss": value, **parts})
        with profile.part("optimizer"):
            self._optimizer.step()
        return _means(scalars)

    def _end_epoch(self, log: TrainingLog | None) -> None:
        done = self._done
        row = {"epoch": done.epoch + 1.0, **{key: value / done.position for key, value in done.sums.items()}}
        if self._after_epoch is not None:
            self._network.eval()
            with self._this.profile.part("validation"):
                row.update(self._after_epoch(self._predict))
        done.history.append(row)
        done.epoch, done.position, done.sums = done.epoch + 1, 0, {}
        if log is not None:
            write_history(self._this.folder, done.history)
            log.epoch(done.epoch, row)
        self._save(log)

    def _predict(self, images: Tensor) -> Tensor:
        # Not through what wraps the network: processes may go through different numbers of batches, and a
        # compiled network would be compiled anew for every size of image.
        with self._fabric.autocast():
            logits: Tensor = self._bare(images)
        return logits.float()

    def _save(self, log: TrainingLog | None) -> None:
        """A checkpoint, by the first process; the others tell it what they have."""
        with self._this.profile.part("checkpoint"):
            all_random, all_skipped = zip(
                *gathered((random_state(), list(self._this.skipped.values()))), strict=True
            )
            for entry in (entry for skipped in all_skipped for entry in skipped):
                self._this.skip(**entry)
            if log is None:
                return
            log.write()
            now = replace(
                self._done,
                skipped=list(self._this.skipped.values()),
                scaler=self._fabric.strategy.precision.state_dict(),
            )
            self._checkpoints.save(self._bare, self._optimizer.optimizer, now, list(all_random))

    def _restore_random_state(self) -> None:
        """In the middle of an epoch, where no seed says how it goes on."""
        if self._restored is None:
            return
        states = self._restored.random_states
        if len(states) == process_count():
            set_random_state(states[process_rank()])
        else:
            seed_step(self._config, self._this.name, self._done.step)
            self._tell(
                f"goes on with {process_count()} processes, {len(states)} before: in the rest of this epoch "
                "networks draw other random numbers than they would have"
            )
        self._restored = None

    def _tell(self, line: str) -> None:
        if process_rank() == 0:
            print(f"{self._this.name}: {line}", flush=True)


def _prepare_for_many(
    config: Config, training: TrainingConfig, model: nn.Module, device: torch.device
) -> None:
    _freeze_unused(model, training.image_size)
    if config.sync_batch_norm:
        for name, child in model.named_children():
            if _is_trained(child):
                setattr(model, name, join_batch_norms(child, device))


def _freeze_unused(model: nn.Module, image_size: int) -> None:
    """Parameters that no output depends on: no step moves them, and processes would wait for gradients."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    outputs = model(torch.zeros(1, 3, image_size, image_size))
    total = sum(output.sum() for output in ([outputs] if isinstance(outputs, Tensor) else outputs))
    assert isinstance(total, Tensor)
    for parameter, gradient in zip(
        trained, torch.autograd.grad(total, trained, allow_unused=True), strict=True
    ):
        parameter.requires_grad_(gradient is not None)


def _is_trained(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return not parameters or any(parameter.requires_grad for parameter in parameters)


def _means(scalars: list[dict[str, Tensor]]) -> dict[str, float]:
    """Over the parts of a batch and over the processes, in one copy from the device."""
    rows = torch.stack([torch.stack([value.detach().double() for value in row.values()]) for row in scalars])
    (together,) = to_host([summed(rows.sum(0)) / (len(scalars) * process_count())])
    return dict(zip(scalars[0], together.tolist(), strict=True))
