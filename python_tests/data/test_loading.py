"""Loading: full batches, the same at any number of workers, whatever cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision", reason="needs the pipeline extra")

from wsss_fast.data.folder import Folder
from wsss_fast.data.inference_loader import Loaded, read_images
from wsss_fast.data.soft_labels import SoftMaps
from wsss_fast.data.training_loader import Batch, TrainingLoader
from wsss_fast.data.transforms import Transform, classifier_transform, irnet_transform
from wsss_fast.files import DataError, read_mask, write_image, write_mask

MEAN = (0.5, 0.5, 0.5)
IMAGES = 11


def transform(size: int = 16) -> Transform:
    return classifier_transform(image_size=size, min_scale=0.5, mean=MEAN)


@pytest.fixture
def good(tmp_path: Path) -> Folder:
    """Eleven images; image i has grey value 20 i and class i mod 2."""
    root = tmp_path / "ein Ordner ü"
    lines = ["name,even,odd"]
    for i in range(IMAGES):
        write_image(root / "images" / f"{i}.png", np.full((20, 24, 3), 20 * i, np.uint8))
        lines.append(f"{i},{1 - i % 2},{i % 2}")
    (root / "labels.csv").write_text("\n".join(lines))
    return Folder(root, "train")


@pytest.fixture
def damaged(good: Folder) -> Folder:
    """As `good`, but 3 is cut off, 6 is empty and 7 is gone."""
    content = Path(good.source(3)).read_bytes()
    Path(good.source(3)).write_bytes(content[: len(content) // 2])
    Path(good.source(6)).write_bytes(b"")
    Path(good.source(7)).unlink()
    return good


BAD = {"3", "6", "7"}


class Skips:
    """Notes what a loader skips."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []

    def __call__(self, name: str, file: str, reason: str) -> None:
        self.calls.append((name, file, reason))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.indices, other.indices) and torch.equal(one.image, other.image)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_once_an_epoch_in_full_batches(good: Folder, workers: int) -> None:
    skips = Skips()
    loader = TrainingLoader(good, transform(), batch_size=4, workers=workers, skip=skips)
    assert len(loader) == 3
    orders = []
    for epoch in range(3):
        batches = list(loader.epoch(generator(epoch)))
        assert [batch.image.shape for batch in batches] == [(4, 3, 16, 16)] * 3
        order = torch.cat([batch.indices for batch in batches]).tolist()
        assert sorted(order[:IMAGES]) == list(range(IMAGES))
        orders.append(order)
        for batch in batches:
            assert batch.mask is None
            assert batch.labels is not None
            assert batch.labels.dtype == torch.float32
            assert torch.equal(batch.labels[:, 1], (batch.indices % 2).float())
            assert torch.equal(batch.labels.sum(1), torch.ones(4))
            assert batch.skipped == ()
    assert orders[0] != orders[1] != orders[2]
    assert skips.calls == []


@pytest.mark.parametrize("folder", ["good", "damaged"])
def test_batches_follow_from_the_generator_alone(folder: str, request: pytest.FixtureRequest) -> None:
    images = request.getfixturevalue(folder)
    runs = []
    for workers in (0, 1, 2):
        torch.manual_seed(100 + workers)  # must not matter
        loader = TrainingLoader(images, transform(), batch_size=4, workers=workers)
        runs.append([batch for seed in (1, 2) for batch in loader.epoch(generator(seed))])
    # A run that starts with the second epoch, as a resumed one does.
    resumed = TrainingLoader(images, transform(), batch_size=4, workers=2).epoch(generator(2))
    runs.append([*runs[0][:3], *resumed])
    for run in runs[1:]:
        assert len(run) == len(runs[0])
        assert all(same(one, other) for one, other in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_and_parts_share_the_batches(good: Folder, workers: int) -> None:
    whole = list(TrainingLoader(good, transform(), batch_size=4).epoch(generator()))
    for of, parts in ((2, 1), (1, 2), (2, 2), (4, 1)):
        shares = [
            TrainingLoader(good, transform(), batch_size=4, workers=workers, share=(rank, of), parts=parts)
            for rank in range(of)
        ]
        assert [len(share) for share in shares] == [3] * of
        pieces = [list(share.epoch(generator())) for share in shares]
        assert [len(share) for share in pieces] == [3 * parts] * of
        for step, batch in enumerate(whole):
            own = [piece for share in pieces for piece in share[step * parts : (step + 1) * parts]]
            assert torch.equal(torch.cat([piece.indices for piece in own]), batch.indices)
            assert torch.equal(torch.cat([piece.image for piece in own]), batch.image)
    with pytest.raises(ValueError, match="batch_size: expected a multiple of 6, got 4"):
        TrainingLoader(good, transform(), batch_size=4, share=(0, 2), parts=3)


class Counting(Folder):
    """Remembers which images were read."""

    read: ClassVar[list[int]] = []

    def image(self, index: int) -> np.ndarray:
        self.read.append(index)
        return super().image(index)


def test_an_epoch_can_begin_in_its_middle(good: Folder) -> None:
    images = Counting(good.root, "train")
    loader = TrainingLoader(images, transform(), batch_size=4)
    torch.manual_seed(3)
    whole = list(loader.epoch(generator()))
    after = torch.rand(())
    images.read.clear()
    torch.manual_seed(3)
    rest = list(loader.epoch(generator(), start=2))
    assert torch.equal(torch.rand(()), after)
    assert len(rest) == 1
    assert same(rest[0], whole[2])
    assert images.read == whole[2].indices.tolist()
    assert list(loader.epoch(generator(), start=3)) == []
    assert len(list(loader.epoch(generator()))) == len(loader) == 3


def test_items_leave_the_callers_random_state_alone(good: Folder) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    loader = TrainingLoader(good, transform(), batch_size=4)
    for item in range(4):
        loader._items[item, 7]
    assert torch.equal(torch.rand(3), expected)


def test_the_callers_random_state_is_the_same_with_any_number_of_workers(good: Folder) -> None:
    # Dropout and mixup draw from it between the batches.
    drawn = []
    for workers in (0, 1, 2):
        loader = TrainingLoader(good, transform(), batch_size=4, workers=workers)
        for epoch in range(3):
            torch.manual_seed(epoch)
            drawn.append([float(torch.rand(())) for _ in loader.epoch(generator(epoch))])
    # A run that is taken up again in the third epoch.
    resumed = TrainingLoader(good, transform(), batch_size=4, workers=2)
    torch.manual_seed(2)
    again = [float(torch.rand(())) for _ in resumed.epoch(generator(2))]
    assert drawn[:3] == drawn[3:6] == drawn[6:]
    assert again == drawn[2]
    assert len({number for run in drawn[:3] for number in run}) == 9


def test_augmentation_differs_between_epochs(good: Folder) -> None:
    loader = TrainingLoader(good, transform(), batch_size=IMAGES)
    images = []
    for seed in (1, 2):
        (batch,) = loader.epoch(generator(seed))
        images.append(batch.image[batch.indices.argsort()])
    assert not torch.equal(images[0][5], images[1][5])  # jittered brightness


@pytest.mark.parametrize("workers", [0, 2])
def test_corrupt_images_among_good_ones(damaged: Folder, workers: int) -> None:
    skips = Skips()
    loader = TrainingLoader(damaged, transform(), batch_size=4, workers=workers, skip=skips)
    for epoch in range(3):
        batches = list(loader.epoch(generator(epoch)))
        assert [len(batch.indices) for batch in batches] == [4, 4, 4]
        seen = set(torch.cat([batch.indices for batch in batches]).tolist())
        assert seen == set(range(IMAGES)) - {int(name) for name in BAD}
        for batch in batches:
            assert batch.labels is not None
            assert torch.equal(batch.labels[:, 1], (batch.indices % 2).float())
    # Each is told once, though three epochs and two workers met it.
    assert sorted(name for name, _, _ in skips.calls) == sorted(BAD)
    for name, file, reason in skips.calls:
        assert file == damaged.source(int(name))
        assert reason.startswith("expected an image, got")


@pytest.mark.parametrize("workers", [0, 2])
def test_strict_raises_in_the_main_process(damaged: Folder, workers: int) -> None:
    loader = TrainingLoader(damaged, transform(), batch_size=4, workers=workers, strict=True)
    with pytest.raises(DataError, match="expected an image, got") as caught:
        list(loader.epoch(generator()))
    assert caught.value.file in {damaged.source(int(name)) for name in BAD}


@pytest.mark.parametrize("workers", [0, 2])
def test_no_readable_image_at_all(good: Folder, workers: int) -> None:
    for i in range(IMAGES):
        Path(good.source(i)).write_bytes(b"junk")
    loader = TrainingLoader(good, transform(), batch_size=4, workers=workers)
    with pytest.raises(DataError, match="none of the 11 images can be read"):
        list(loader.epoch(generator()))


def test_one_readable_image_fills_the_batches(good: Folder) -> None:
    for i in range(1, IMAGES):
        Path(good.source(i)).unlink()
    skips = Skips()
    loader = TrainingLoader(good, transform(), batch_size=4, skip=skips)
    batches = list(loader.epoch(generator()))
    assert len(batches) == 3
    assert all(batch.indices.tolist() == [0, 0, 0, 0] for batch in batches)
    assert len(skips.calls) == IMAGES - 1


def test_batches_larger_than_the_set(good: Folder) -> None:
    (batch,) = TrainingLoader(good, transform(), batch_size=30).epoch(generator())
    counts = torch.bincount(batch.indices, minlength=IMAGES)
    assert int(counts.sum()) == 30
    assert set(counts.tolist()) <= {2, 3}


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_from_a_run(good: Folder, tmp_path: Path, workers: int) -> None:
    run = tmp_path / "run" / "train"
    for i in range(IMAGES):
        write_mask(run / f"{i}.png", np.full((20, 24), i, np.uint8))
    (run / "2.png").unlink()
    write_mask(run / "4.png", np.full((20, 23), 4, np.uint8))

    def mask(name: str) -> np.ndarray:
        return read_mask(run / f"{name}.png")

    skips = Skips()
    joint = irnet_transform(image_size=32, min_scale=0.5, max_scale=1.5, mean=MEAN)
    loader = TrainingLoader(good, joint, batch_size=4, workers=workers, mask=mask, skip=skips)
    for batch in loader.epoch(generator()):
        assert batch.labels is None
        assert batch.mask is not None
        assert batch.mask.dtype == torch.int64
        assert batch.mask.shape == (4, 32, 32)
        for index, image, target in zip(batch.indices.tolist(), batch.image, batch.mask, strict=True):
            assert set(target.unique().tolist()) <= {index, -1}
            assert (image[:, target == index] == 20 * index).all()
    reasons = {name: reason for name, _, reason in skips.calls}
    assert set(reasons) == {"2", "4"}
    assert "got no such file" in reasons["2"]
    assert "expected a label map of the image's size [20, 24], got [20, 23]" in reasons["4"]


def test_masks_of_16_bits_from_a_run(good: Folder) -> None:
    columns = np.array([0, 255, 256, 300, 65535, 65534], np.uint16).repeat(4)
    joint = irnet_transform(image_size=32, min_scale=1.0, max_scale=1.0, mean=MEAN)
    loader = TrainingLoader(good, joint, batch_size=11, mask=lambda _: np.tile(columns, (20, 1)))
    (batch,) = loader.epoch(generator())
    assert batch.mask is not None
    assert batch.mask.dtype == torch.int64
    values, counts = batch.mask.unique(return_counts=True)
    assert values.tolist() == [-1, 0, 255, 256, 300, 65534]
    column = 11 * 20 * 4
    assert counts.tolist() == [11 * (32 * 32 - 20 * 24) + column, *[column] * 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_soft_labels_from_a_run(good: Folder, workers: int) -> None:
    joint = irnet_transform(image_size=32, min_scale=1.0, max_scale=1.0, mean=MEAN)
    loader = TrainingLoader(good, joint, batch_size=11, workers=workers, mask=maps_of)
    (batch,) = loader.epoch(generator())
    assert batch.labels is None
    assert batch.mask is None
    assert batch.soft is not None
    ids, probs = batch.soft
    assert (ids.shape, probs.shape, probs.dtype) == ((11, 3), (11, 3, 32, 32), torch.float16)
    for index, named, shares in zip(batch.indices.tolist(), ids, probs, strict=True):
        assert named.tolist() == [[0, 0, 0], [0, 300, 0], [0, 7, 900]][index % 3]
        inside = shares.sum(0) > 0
        assert int(inside.sum()) == 20 * 24
        expected = [[1.0, 0, 0], [1 / 3, 2 / 3, 0], [0.2, 0.4, 0.4]][index % 3]
        torch.testing.assert_close(shares[:, inside].mean(1), torch.tensor(expected).half())


def maps_of(name: str) -> SoftMaps:
    """No, one and two classes by turns, whose constant maps are twice the background's threshold."""
    classes = np.array([[], [300], [7, 900]][int(name) % 3], np.int64)
    maps = np.ones((len(classes), 5, 6), np.float16)
    return SoftMaps(classes, maps, 0.5)


def test_unreadable_labels_do_not_matter_where_masks_are_trained_on(good: Folder) -> None:
    class NoLabels(Folder):
        def labels(self, index: int) -> np.ndarray:
            raise DataError("labels", "expected some, got none")

    images = NoLabels(good.root, "train")
    joint = irnet_transform(image_size=32, min_scale=0.5, max_scale=1.5, mean=MEAN)
    loader = TrainingLoader(images, joint, batch_size=4, mask=lambda _: np.zeros((20, 24), np.uint8))
    assert len(list(loader.epoch(generator()))) == 3
    with pytest.raises(DataError, match="expected some, got none"):
        list(TrainingLoader(images, transform(), batch_size=4).epoch(generator()))


def test_bad_arguments(good: Folder) -> None:
    with pytest.raises(ValueError, match="batch_size: expected an integer >= 1, got 0"):
        TrainingLoader(good, transform(), batch_size=0)


@pytest.mark.parametrize("workers", [0, 2])
def test_read_images(good: Folder, workers: int) -> None:
    items = list(read_images(good, workers=workers))
    assert [item.i for item in items] == list(range(IMAGES))
    for item in items:
        assert isinstance(item, Loaded)
        assert item.name == good.name(item.i)
        assert item.image.dtype == np.uint8
        assert item.image.shape == (20, 24, 3)
        assert (item.image == 20 * item.i).all()
        assert item.labels is None
    chosen = list(read_images(good, [8, 1], workers=workers, labels=True))
    assert [item.i for item in chosen] == [8, 1]
    assert [item.labels.tolist() for item in chosen if item.labels is not None] == [
        [True, False],
        [False, True],
    ]
    assert list(read_images(good, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_read_images_skips_or_raises(damaged: Folder, workers: int) -> None:
    skips = Skips()
    names = [item.name for item in read_images(damaged, workers=workers, skip=skips)]
    assert names == [str(i) for i in range(IMAGES) if str(i) not in BAD]
    assert [name for name, _, _ in skips.calls] == sorted(BAD)
    assert [file for _, file, _ in skips.calls] == [damaged.source(int(name)) for name in sorted(BAD)]
    with pytest.raises(DataError, match=r"3\.png: expected an image"):
        list(read_images(damaged, workers=workers, strict=True))
