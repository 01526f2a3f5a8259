"""Step 3: masks from the trained segmenter, plain and with test-time augmentation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsss_fast.config import Config
from wsss_fast.data import open_images
from wsss_fast.files import write_mask
from wsss_fast.models.backbone import normalization
from wsss_fast.models.segmenter import segmenter
from wsss_fast.nn import TTA
from wsss_fast.steps._copies import to_host
from wsss_fast.steps._device import device_of, op_device
from wsss_fast.steps._inference import Normalize, equal_size_batches
from wsss_fast.steps._step import step
from wsss_fast.steps._weights import trained

STEP = "predict"


def predict(config: Config) -> None:
    """Write ``predict/<split>/single/<name>.png`` and, with ``predict.tta``, ``.../tta/<name>.png``.

    No image labels are used. Masks have the size of the image.
    """
    with step(config, STEP) as this:
        if this.done:
            return
        device = device_of(config)
        backbone = config.segmenter.backbone
        normalize = Normalize(*normalization(backbone), device)
        classes = len(open_images(config.data, "train").classes)
        model = trained(segmenter(backbone.without_weights(), 1 + classes), config, "train-segmenter", device)
        network = _AnswersOn(model, op_device(device))
        stride = backbone.output_stride
        predictors = {"single": TTA(network, scales=(1.0,), hflip=False, stride=stride, output="labels")}
        if config.predict.tta:
            predictors["tta"] = TTA(
                network,
                scales=config.predict.scales,
                hflip=config.predict.hflip,
                stride=stride,
                output="labels",
            )
        for role in config.predict.splits:
            images = open_images(config.data, role)
            for mode, predictor in predictors.items():
                folder = this.folder / role / mode
                label = f"{role}, {mode}"
                for batch in equal_size_batches(config, this, images, label, folder, ".png"):
                    (masks,) = to_host([predictor(normalize(batch.images))])
                    for name, mask in zip(batch.names, masks.numpy(), strict=True):
                        write_mask(folder / f"{name}.png", mask)


class _AnswersOn(nn.Module):
    """A network whose answer is taken to where it is merged: elsewhere in a build without CUDA kernels."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.device = device

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits.to(self.device)
