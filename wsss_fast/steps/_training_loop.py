"""The loop of a training: steps of the optimizer, epochs, checkpoints."""

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
from wsss_fast.config import Config, TrainingConfig
from wsss_fast.data.training_loader import Batch, TrainingLoader
from wsss_fast.steps._checkpoints import (
    Checkpoints,
    Progress,
    Restored,
    random_state,
    restore,
    set_random_state,
)
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import channels_last, seed_epoch, seed_step
from wsss_fast.steps._log import TrainingLog, write_history
from wsss_fast.steps._optimizer import make_optimizer, set_learning_rates
from wsss_fast.steps._progress import progress
from wsss_fast.steps._several import is_trained, prepare_for_several
from wsss_fast.steps._step import Step, StepError

# What a loss function returns: the number to minimise, and numbers worth a column in history.csv.
LossParts = tuple[Tensor, dict[str, Tensor]]

# A trained network as `fit` hands it out: normalised images on the device -> float32.
Network = Callable[[Tensor], Tensor]


class TrainingLoop:
    """A training under way: its steps, epochs, log and checkpoints. See `fit`."""

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
        self._frozen = [child for child in model.children() if not is_trained(child)]
        if process_count() > 1:
            prepare_for_several(config, training, model, fabric.device)
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


def _means(scalars: list[dict[str, Tensor]]) -> dict[str, float]:
    """Over the parts of a batch and over the processes, in one copy from the device."""
    rows = torch.stack([torch.stack([value.detach().double() for value in row.values()]) for row in scalars])
    (together,) = to_host([summed(rows.sum(0)) / (len(scalars) * process_count())])
    return dict(zip(scalars[0], together.tolist(), strict=True))
