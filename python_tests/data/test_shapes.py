"""The generated images: deterministic, natural enough, and no class betrayed by its colour."""

from __future__ import annotations

import hashlib
import multiprocessing
import pickle

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision", reason="needs the pipeline extra")

from wsss_fast.config import DataConfig, ShapesConfig
from wsss_fast.data import open_images
from wsss_fast.data.inference_loader import read_images
from wsss_fast.data.shapes import Shapes, reader
from wsss_fast.data.shapes.kinds import KINDS
from wsss_fast.data.shapes.reader import VISIBLE
from wsss_fast.data.training_loader import TrainingLoader
from wsss_fast.data.transforms import irnet_transform
from wsss_fast.files import DataError


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> reader._Memory:
    """Nothing is remembered, here and in forked workers: an image asked for again is made again."""
    memory = reader._Memory(0)
    monkeypatch.setattr(reader, "_memory", memory)
    return memory


def digest(config: ShapesConfig, index: int) -> str:
    images = Shapes(config, "train")
    content = images.image(index).tobytes() + images.mask(index).tobytes()
    return hashlib.sha256(content).hexdigest()


def test_contract() -> None:
    config = DataConfig(reader="shapes", shapes=ShapesConfig(train=7, val=3, size=96, classes=4))
    train, val = open_images(config, "train"), open_images(config, "val")
    assert (len(train), len(val)) == (7, 3)
    assert train.classes == val.classes == ("pebble", "star", "ring", "moon")
    assert train.name(5) == "train_00005"
    assert val.name(0) == "val_00000"
    assert val.source(2) == "shapes/val_00002"
    image, mask, labels = train.image(0), train.mask(0), train.labels(0)
    assert mask is not None
    assert (image.shape, image.dtype) == ((96, 96, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((96, 96), np.uint8)
    assert (labels.shape, labels.dtype) == ((4,), np.bool_)
    with pytest.raises(IndexError, match=r"index: expected an integer in \[0, 6\], got 7"):
        train.image(7)
    with pytest.raises(DataError, match=r"expected .*'pebble'.* got .*'cat'"):
        open_images(DataConfig(reader="shapes", classes=["cat"]), "train")


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_same_in_every_process(method: str) -> None:
    config = ShapesConfig()
    np.random.seed(1)  # noqa: NPY002  must not matter
    here = [digest(config, i) for i in range(6)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        there = pool.starmap(digest, [(config, i) for i in reversed(range(6))])
    assert there[::-1] == here
    assert len(set(here)) == 6


def test_the_same_in_loader_workers() -> None:
    images = Shapes(ShapesConfig(train=10, size=64), "train")
    expected = [images.image(i) for i in range(10)]
    for workers in (0, 2):
        for item in read_images(images, workers=workers, labels=True):
            np.testing.assert_array_equal(item.image, expected[item.i])
            np.testing.assert_array_equal(item.labels, images.labels(item.i))
        whole = irnet_transform(image_size=64, min_scale=1.0, max_scale=1.0, mean=(0, 0, 0))
        loader = TrainingLoader(images, whole, batch_size=5, workers=workers)
        for batch in loader.epoch(torch.Generator().manual_seed(0)):
            for index, image in zip(batch.indices.tolist(), batch.image, strict=True):
                pixels = image.permute(1, 2, 0).numpy()
                flipped = not np.array_equal(pixels, expected[index])
                np.testing.assert_array_equal(pixels[:, ::-1] if flipped else pixels, expected[index])


def test_seeds_splits_and_indices_give_different_images() -> None:
    sets = [
        Shapes(ShapesConfig(), "train"),
        Shapes(ShapesConfig(), "val"),
        Shapes(ShapesConfig(seed=1), "train"),
    ]
    images = [images.image(i) for images in sets for i in range(2)]
    for one in range(6):
        for other in range(one):
            assert np.abs(images[one].astype(int) - images[other]).mean() > 5
    # The number of images does not change them.
    np.testing.assert_array_equal(Shapes(ShapesConfig(train=2), "train").image(1), images[1])


def test_images_are_remembered_within_the_budget(memory: reader._Memory) -> None:
    images = Shapes(ShapesConfig(size=32), "train")
    expected = [images.image(i) for i in range(4)]
    assert not memory.kept
    memory.left = 2 * expected[0].nbytes + 5
    for _ in range(2):
        for i in range(4):
            image = images.image(i)
            np.testing.assert_array_equal(image, expected[i])
            image[:] = 0  # must not reach what is kept
    assert len(memory.kept) == 2
    assert memory.left == 5
    # What is kept for one configuration is not given to another.
    memory.left = 2**20
    others = [ShapesConfig(size=32, seed=1), ShapesConfig(size=32, classes=3), ShapesConfig(size=40)]
    for other in [*(Shapes(config, "train") for config in others), Shapes(ShapesConfig(size=32), "val")]:
        assert not np.array_equal(other.image(0), expected[0])
    assert images.mask(0).shape == (32, 32)


def test_can_be_sent_to_a_process() -> None:
    images = Shapes(ShapesConfig(), "val")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images)).image(3), images.image(3))


@pytest.mark.parametrize("size", [32, 33, 128, 200])
def test_any_size(size: int) -> None:
    images = Shapes(ShapesConfig(size=size), "train")
    for i in range(8):
        assert images.image(i).shape == (size, size, 3)
        assert images.labels(i).any()


def test_what_is_in_the_images() -> None:
    images = Shapes(ShapesConfig(train=300), "train")
    covers: list[float] = []
    alone: list[float] = []
    counts = np.zeros(6, int)
    several = touching = 0
    for i in range(300):
        mask, labels = images.mask(i), images.labels(i)
        shares = np.bincount(mask.ravel(), minlength=256) / mask.size
        # Labels and mask name the same classes, and each shows well.
        np.testing.assert_array_equal(shares[1:7] > 0, labels)
        assert shares[7:255].sum() == 0
        assert shares[1:7][labels].min() >= VISIBLE
        assert labels.any()
        covers.append(shares[1:7].sum())
        counts += labels
        several += labels.sum() > 1
        if labels.sum() == 1:
            alone.append(covers[-1])
        side = mask[:, 1:], mask[:, :-1]
        touching += bool(((side[0] != side[1]) & (side[0] % 255 > 0) & (side[1] % 255 > 0)).any())
    assert counts.min() > 50  # of about 90
    assert several > 120
    assert touching > 30  # objects hide parts of others
    assert 0.15 < np.mean(covers) < 0.3
    assert min(covers) > 0.05
    assert max(covers) < 0.6
    assert np.quantile(alone, 0.02) > 0.05


def test_a_class_that_hardly_shows_is_ignored_and_not_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Shapes(ShapesConfig(), "train")
    full = images.mask(0)
    shares = np.bincount(full.ravel(), minlength=256)[1:7] / full.size
    present = np.flatnonzero(shares)
    assert present.size > 1
    smallest, largest = sorted(present, key=lambda k: shares[k])[:: present.size - 1]
    monkeypatch.setattr("wsss_fast.data.shapes.reader.VISIBLE", (shares[smallest] + shares[largest]) / 2)
    mask, labels = images.mask(0), images.labels(0)
    assert not labels[smallest]
    assert labels[largest]
    assert (mask[full == smallest + 1] == 255).all()
    assert (mask[full == largest + 1] == largest + 1).all()
    assert (mask[full == 0] == 0).all()


def test_backgrounds_have_the_spectrum_of_photographs() -> None:
    # Amplitude falls as 1/f: the slope of its logarithm over that of frequency is about -1.
    images = Shapes(ShapesConfig(train=40), "train")
    size = 128
    window = np.outer(np.hanning(size), np.hanning(size))
    power = np.zeros((size, size))
    for i in range(40):
        grey = images.image(i).mean(axis=2)
        power += np.abs(np.fft.fft2(window * (grey - grey.mean()))) ** 2
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    band = (frequency > 3 / size) & (frequency < 0.2)
    slope = np.polyfit(np.log(frequency[band]), 0.5 * np.log(power[band]), 1)[0]
    assert -1.8 < slope < -0.8


def mean_colours(images: Shapes) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean colour of every class region [n,3] and its class [n]."""
    colours, classes = [], []
    for i in range(len(images)):
        image, mask = images.image(i), images.mask(i)
        for k in np.flatnonzero(images.labels(i)):
            colours.append(image[mask == k + 1].mean(axis=0))
            classes.append(k)
    return torch.tensor(np.array(colours)).float(), torch.tensor(classes)


def linear_accuracy(
    train: tuple[torch.Tensor, torch.Tensor], test: tuple[torch.Tensor, torch.Tensor]
) -> float:
    """Accuracy of a multinomial logistic regression."""
    mean, deviation = train[0].mean(0), train[0].std(0)
    x, y = (train[0] - mean) / deviation, train[1]
    model = torch.nn.Linear(3, 6)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y) + 1e-4 * model.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    guess = model((test[0] - mean) / deviation).argmax(1)
    return float((guess == test[1]).float().mean())


def test_colour_does_not_tell_the_class() -> None:
    config = ShapesConfig(train=300, val=150)
    train = mean_colours(Shapes(config, "train"))
    test = mean_colours(Shapes(config, "val"))
    # Chance is 1/6; the bar is 0.5. Even the objects it was fitted on it must not tell apart.
    assert linear_accuracy(train, test) < 0.3
    assert linear_accuracy(train, train) < 0.3
    # The same classifier does see a tint by class that is as large as the deviation of the colours.
    tint = 60 * torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]]).float()
    assert linear_accuracy((train[0] + tint[train[1]], train[1]), (test[0] + tint[test[1]], test[1])) > 0.5


def test_objects_mostly_differ_from_what_is_around_them() -> None:
    # The contrast across an object's outline, against that of the same outline moved elsewhere.
    images = Shapes(ShapesConfig(train=60), "train")
    inside, outside = [], []
    for i in range(60):
        image, mask = images.image(i).astype(float), images.mask(i)
        step = np.abs(image[:, 3:] - image[:, :-3]).mean(axis=2)
        edge = (mask[:, 3:] > 0) != (mask[:, :-3] > 0)
        inside.append(step[edge].mean())
        outside.append(step[(mask[:, 3:] == 0) & (mask[:, :-3] == 0)].mean())
    assert np.mean(np.array(inside) > 1.5 * np.array(outside)) > 0.7


def test_the_texture_is_strongest_at_the_head() -> None:
    # Of objects that fill much of the image, fine detail is unevenly spread.
    images = Shapes(ShapesConfig(train=200), "train")
    ratios = []
    for i in range(200):
        mask = images.mask(i)
        if images.labels(i).sum() != 1 or (mask > 0).mean() < 0.15:
            continue
        grey = images.image(i).mean(axis=2)
        detail = np.zeros_like(grey)
        detail[1:-1, 1:-1] = np.abs(grey[1:-1, 2:] - grey[1:-1, :-2]) + np.abs(
            grey[2:, 1:-1] - grey[:-2, 1:-1]
        )
        tiles = [
            detail[y : y + 12, x : x + 12].mean()
            for y in range(0, 117, 4)
            for x in range(0, 117, 4)
            if (mask[y : y + 12, x : x + 12] > 0).all()
        ]
        if len(tiles) >= 10:
            ratios.append(np.quantile(tiles, 0.95) / np.quantile(tiles, 0.1))
    assert len(ratios) > 10
    assert np.median(ratios) > 1.5


def test_six_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == 6
    assert len({kind.texture for kind in KINDS}) == 6
    assert len({kind.outline for kind in KINDS}) == 6
