"""Joint transforms: sizes, fills, and image and mask staying together."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision", reason="needs the pipeline extra")

from torchvision import tv_tensors
from torchvision.transforms import v2

from wsss_fast.data.transforms import (
    PixelNorm,
    Transform,
    classifier_transform,
    irnet_transform,
    segmenter_transform,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE = 48


def classifier() -> Transform:
    return classifier_transform(image_size=SIZE, min_scale=0.5, mean=MEAN)


def irnet(low: float = 0.5, high: float = 1.5) -> Transform:
    return irnet_transform(image_size=SIZE, min_scale=low, max_scale=high, mean=MEAN)


def segmenter(low: float = 0.5, high: float = 2.0) -> Transform:
    return segmenter_transform(image_size=SIZE, min_scale=low, max_scale=high, mean=MEAN)


def halves(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image that is dark where the mask is 1 and light where it is 2, in blocks."""
    y, x = np.mgrid[:height, :width]
    mask = (1 + (y // 12 + x // 12) % 2).astype(np.uint8)
    image = np.repeat(np.where(mask == 1, 20, 230).astype(np.uint8)[..., None], 3, 2)
    return image, mask


@pytest.mark.parametrize("make", [classifier, irnet, segmenter])
@pytest.mark.parametrize("size", [(30, 90), (90, 30), (48, 48), (1, 1), (1, 70), (200, 160)])
def test_training_gives_squares(make: Callable[[], Transform], size: tuple[int, int]) -> None:
    transform = make()
    image, mask = halves(*size)
    for _ in range(5):
        out, target = transform(image, mask)
        assert type(out) is torch.Tensor
        assert type(target) is torch.Tensor
        assert out.shape == (3, SIZE, SIZE)
        assert target.shape == (SIZE, SIZE)
        assert (out.dtype, target.dtype) == (torch.uint8, torch.int32)
        assert set(target.unique().tolist()) <= {1, 2, -1}
    alone, none = transform(image, None)
    assert alone.shape == (3, SIZE, SIZE)
    assert none is None


@pytest.mark.parametrize("make", [irnet, segmenter])
def test_image_and_mask_stay_together(make: Callable[[], Transform]) -> None:
    transform = make()
    image, mask = halves(60, 84)
    wrong = seen = 0
    for _ in range(40):
        out, target = transform(image, mask)
        assert target is not None
        light = out.float().mean(0)
        inside = target != -1
        # Away from the block edges, where the image is smooth and the mask is not.
        flat = (light - light.roll(1, 0)).abs() + (light - light.roll(1, 1)).abs() < 5
        middle = (light[inside].max() + light[inside].min()) / 2
        check = inside & flat
        wrong += int(((light > middle) != (target == 2))[check].sum())
        seen += int(check.sum())
    assert seen > 20_000
    assert wrong / seen < 0.01


def test_masks_are_not_shifted_against_images() -> None:
    # A ramp: the value of a pixel is twice its column, in the image and in the mask.
    ramp = np.repeat(np.arange(0, 200, 2, dtype=np.uint8)[None], 100, 0)
    image = np.repeat(ramp[..., None], 3, 2)
    for factor in (0.7, 0.8, 1.3, 1.9):
        transform = irnet_transform(image_size=200, min_scale=factor, max_scale=factor, mean=MEAN)
        for _ in range(3):
            out, target = transform(image, ramp)
            assert target is not None
            inner = (target > 20) & (target < 180)
            shift = float((out.float().mean(0) - target)[inner].mean()) / 2
            assert abs(shift) < 0.1  # source pixels; rounding down, as "nearest" does, gives 0.24 to 0.64


def test_padding_is_mean_and_ignored() -> None:
    for transform in (irnet(0.5, 0.5), segmenter(0.5, 0.5)):
        out, target = transform(*halves(48, 40))
        assert target is not None
        padded = target == -1
        assert int(padded.sum()) == SIZE * SIZE - 24 * 20
        mean = torch.tensor([round(255 * value) for value in MEAN]).view(3, 1)
        assert (out[:, padded] == mean).all()
        assert (out[:, ~padded].int() - mean).abs().min() > 5


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint8, 255), (np.uint16, 65535)])
def test_ignored_pixels_take_no_part_in_any_type(dtype: type, ignore: int) -> None:
    image, mask = halves(SIZE, SIZE)
    labels = mask.astype(dtype)
    labels[mask == 2] = ignore
    _, target = irnet(1.0, 1.0)(image, labels)
    assert target is not None
    straight = torch.from_numpy(np.where(mask == 2, -1, 1).astype(np.int32))
    assert torch.equal(target, straight) or torch.equal(target, straight.flip(-1))
    if dtype == np.uint16:
        _, target = irnet(1.0, 1.0)(image, np.full((SIZE, SIZE), 255, np.uint16))
        assert target is not None
        assert (target == 255).all()


def test_labels_of_16_bits_go_where_those_of_8_bits_go() -> None:
    image, _ = halves(70, 90)
    small = np.arange(70 * 90).reshape(70, 90) % 251
    for transform in (irnet(), segmenter()):
        torch.manual_seed(4)
        narrow = transform(image, small.astype(np.uint8))[1]
        torch.manual_seed(4)
        wide = transform(image, (small + 60_000).astype(np.uint16))[1]
        assert narrow is not None
        assert wide is not None
        assert torch.equal(torch.where(narrow < 0, -1, narrow + 60_000), wide)


def test_probabilities_stay_with_their_image_and_sum_to_one() -> None:
    image, mask = halves(60, 84)
    share = 0.2 + 0.6 * (mask == 2)
    probs = np.stack([1 - share, share]).astype(np.float32)
    for transform in (irnet(), segmenter()):
        seen = wrong = 0
        for _ in range(20):
            out, target = transform(image, probs)
            assert target is not None
            assert (target.shape, target.dtype) == ((2, SIZE, SIZE), torch.float32)
            total = target.sum(0)
            inside = total > 0
            torch.testing.assert_close(total[inside], torch.ones(int(inside.sum())))
            assert (target[:, ~inside] == 0).all()
            light = out.float().mean(0)
            sure = inside & ((target[1] < 0.21) | (target[1] > 0.79))
            middle = (light[inside].max() + light[inside].min()) / 2
            wrong += int(((light > middle) != (target[1] > 0.5))[sure].sum())
            seen += int(sure.sum())
        assert seen > 10_000
        assert wrong / seen < 0.01


def test_probabilities_of_one_label_each_are_drawn_as_labels_are() -> None:
    image, mask = halves(60, 84)
    probs = np.stack([mask == 1, mask == 2]).astype(np.float32)
    transform = irnet(1.0, 1.0)
    torch.manual_seed(7)
    labels = transform(image, mask)[1]
    torch.manual_seed(7)
    shares = transform(image, probs)[1]
    assert labels is not None
    assert shares is not None
    assert torch.equal(shares, torch.stack([labels == 1, labels == 2]).float())


def test_crops_flips_and_scales_vary() -> None:
    y, x = np.mgrid[:100, :100]
    mask = (x // 10 + 10 * (y // 10)).astype(np.uint8)
    image = np.repeat(mask[..., None], 3, 2)
    corners, spans, mirrored = set(), [], 0
    for _ in range(200):
        _, target = irnet()(image, mask)
        assert target is not None
        row = target[SIZE // 2]
        row = row[row != -1]
        mirrored += int(row[0] > row[-1])
        spans.append(abs(int(row[-1]) - int(row[0])) + 1)
        corners.add(int(target[0, 0]))
    assert 70 < mirrored < 130
    assert len(corners) > 30
    assert min(spans) <= 5
    assert max(spans) >= 8


def test_random_state_is_torchs() -> None:
    image, mask = halves(70, 60)
    for transform in (classifier(), irnet(), segmenter()):
        results = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed + len(results))  # noqa: NPY002  must not matter
            results.append(transform(image, mask))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])  # type: ignore[arg-type]
        assert not torch.equal(results[0][0], results[2][0])


def test_inputs_are_left_alone() -> None:
    image, mask = halves(70, 60)
    before = image.copy(), mask.copy()
    for transform in (classifier(), irnet(), segmenter()):
        transform(image, mask)
        np.testing.assert_array_equal(image, before[0])
        np.testing.assert_array_equal(mask, before[1])


def test_images_are_normalised_as_torchvision_does_it() -> None:
    images = torch.randint(0, 256, (3, 3, 20, 17), dtype=torch.uint8)
    steps = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(MEAN), list(STD))])
    before = images.clone()
    out = PixelNorm(MEAN, STD, torch.device("cpu"))(images)
    assert torch.equal(out, torch.stack([steps(tv_tensors.Image(image)) for image in images]))
    assert torch.equal(images, before)


def test_transforms_can_be_sent_to_a_process() -> None:
    image, mask = halves(70, 60)
    transform = segmenter()
    copy = pickle.loads(pickle.dumps(transform))
    torch.manual_seed(3)
    first = transform(image, mask)[0]
    torch.manual_seed(3)
    assert torch.equal(copy(image, mask)[0], first)


def strong(erasing: float = 0.0) -> Transform:
    return classifier_transform(
        image_size=SIZE, min_scale=0.5, mean=MEAN, augmentation="strong", random_erasing=erasing
    )


def test_strong_augmentation_varies_more_than_light() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[..., 0], image[..., 1] = 180, 60  # a flat colour: crops do not show
    spread, grey = {}, {}
    for name, transform in (("light", classifier()), ("strong", strong())):
        means = torch.stack([transform(image, None)[0].float().mean((1, 2)) for _ in range(150)])
        spread[name] = float(means.std(0).mean())
        grey[name] = int(((means.amax(1) - means.amin(1)) < 1).sum())
    assert spread["strong"] > 1.5 * spread["light"]
    assert grey["light"] == 0
    assert 15 < grey["strong"] < 50  # a fifth of 150


def test_erased_rectangles_are_the_mean() -> None:
    image = np.full((60, 60, 3), 255, np.uint8)
    plain = classifier_transform(image_size=SIZE, min_scale=1.0, mean=MEAN, random_erasing=1.0)
    for _ in range(10):
        out, _ = plain(image, None)
        erased = (out == torch.tensor([124, 116, 104]).view(3, 1, 1)).all(0)  # the mean in 255ths
        rows, columns = erased.any(1), erased.any(0)
        assert int(erased.sum()) == int(rows.sum()) * int(columns.sum())  # one rectangle
        assert 0.01 < float(erased.float().mean()) < 0.4
