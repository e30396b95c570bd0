import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch

from bench.contracts import DataSource
from bench.errors import UserError
from bench.spec.experiment import Recipe
from bench.task_types import (
    MISSING,
    VOID,
    Classification,
    Depth,
    Segmentation,
    SurfaceNormals,
    TaskType,
)
from bench.tasks import ImageSet, Task, TaskData
from bench.train.batches import Batch, Batches
from bench.train.load import fingerprint, task_data
from bench.train.rows import Rows, Standardise, fits
from bench.train.splits import draw_split, split_sizes

CPU = torch.device("cpu")
Toy = Callable[[str], TaskData]


def _take(batches: Batches, count: int) -> list[Batch]:
    return list(islice(batches, count))


def _rows(images: torch.Tensor) -> torch.Tensor:
    return Rows(images, None, CPU, resident=True, images=True).part(0, len(images))


def test_a_seed_draws_its_own_subset_and_keeps_validation_apart(toy: Toy, recipe: Recipe) -> None:
    images = toy("row").images
    first, again, other = (draw_split(images, recipe, seed) for seed in (0, 0, 1))
    assert torch.equal(first.train, again.train)
    assert set(first.train.tolist()) != set(other.train.tolist())
    assert not set(first.train.tolist()) & set(first.validation.tolist())
    assert (len(first.train), len(first.validation)) == (100, 50)


def test_a_subset_that_does_not_fit_names_the_flags(toy: Toy) -> None:
    with pytest.raises(UserError, match=r"300 training images.*--train-size"):
        draw_split(toy("row").images, Recipe(train_size=280, validation_size=50), 0)
    with pytest.raises(UserError, match="do not fit"):
        draw_split(toy("row").images, Recipe(validation_size=300), 0)


@pytest.mark.parametrize(
    ("pool", "asked", "got"),
    [
        (200, (1000, 300), (160, 40)),  # a fifth is held out
        (1250, (1000, 300), (1000, 250)),  # and no more is taken than was asked for
        (200, (1000, 0), (160, 0)),  # also where nothing is validated: seeds must differ
        (200, (None, 500), (160, 40)),
        (600, (None, 500), (480, 120)),  # not 100 to train on and 500 to validate on
        (200, (150, 50), (150, 50)),  # what fits is left alone
        (200, (None, 50), (150, 50)),
        (3, (1000, 300), (3, 0)),
    ],
)
def test_a_scarce_set_gives_fewer_images_than_the_recipe_asks_for(
    pool: int, asked: tuple[int | None, int], got: tuple[int, int]
) -> None:
    images = torch.zeros(pool, 1, 16, 16, dtype=torch.uint8)
    scarce = ImageSet("own", images, images[:1], scarce=True)
    recipe = Recipe(train_size=asked[0], validation_size=asked[1])
    split = draw_split(scarce, recipe, 0)
    assert (len(split.train), len(split.validation)) == split_sizes(scarce, recipe) == got
    assert not set(split.train.tolist()) & set(split.validation.tolist())
    if pool > 5:
        assert set(split.train.tolist()) != set(draw_split(scarce, recipe, 1).train.tolist())


def test_tasks_on_the_same_images_share_one_tensor_a_step(toy: Toy, recipe: Recipe) -> None:
    (batch,) = _take(Batches([toy("row"), toy("column")], recipe, 0, CPU), 1)
    assert batch.images[0] is batch.images[1]
    assert batch.images[0] is not None
    assert batch.images[0].shape == (16, 1, 16, 16)


def test_adding_a_task_moves_no_batch(toy: Toy, recipe: Recipe) -> None:
    alone = _take(Batches([toy("row")], recipe, 0, CPU), 20)
    beside = _take(Batches([toy("row"), toy("row~noise"), toy("low")], recipe, 0, CPU), 20)
    for a, b in zip(alone, beside, strict=True):
        assert torch.equal(a.targets[0], b.targets[0])
        assert a.images[0] is not None
        assert b.images[0] is not None
        assert torch.equal(a.images[0], b.images[0])


def test_an_epoch_shows_every_image_once(toy: Toy) -> None:
    recipe = Recipe(train_size=96, validation_size=50, batch_size=16)
    batches = Batches([toy("row")], recipe, 0, CPU)
    images = toy("row").images.train[batches.split(toy("row")).train]
    expected = Standardise(toy("row").images, CPU)(_rows(images)).flatten(1).sum(1).sort().values
    shown = torch.cat([b.images[0] for b in _take(batches, 6) if b.images[0] is not None])
    assert torch.allclose(shown.flatten(1).sum(1).sort().values, expected)


def test_a_batch_may_be_larger_than_the_subset(toy: Toy) -> None:
    recipe = Recipe(train_size=5, validation_size=0, batch_size=16)
    (batch,) = _take(Batches([toy("row")], recipe, 0, CPU), 1)
    assert len(batch.targets[0]) == 16


def test_crops_and_flips_move_pixels_and_keep_labels() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).expand(20, 1, 16, 16).contiguous()
    images = ImageSet("ramp", ramp, ramp)
    label = torch.arange(20)
    data = TaskData(Task("t", Classification(), 20), images, label, label)
    plain, crop, flip = (
        _take(Batches([data], Recipe(validation_size=0, batch_size=20, augment=a), 0, CPU), 3)
        for a in ("none", "crop", "crop+flip")
    )
    for a, b, c in zip(plain, crop, flip, strict=True):
        assert torch.equal(a.targets[0], b.targets[0])
        assert a.images[0] is not None
        assert b.images[0] is not None
        assert c.images[0] is not None
        middle = a.images[0][:, 0, 8, 8]
        shifts = (b.images[0][:, 0, 8, 8] - middle) * images.channel_statistics[1]
        assert shifts.abs().max() <= 2.01
        assert shifts.std() > 0
        rising = c.images[0][:, 0, 8, 10] > c.images[0][:, 0, 8, 5]
        assert 0 < rising.sum() < 20


def test_augmentation_moves_dense_labels_with_their_images() -> None:
    # Every label is a function of its pixel, so that a label which lags behind is seen.
    torch.manual_seed(0)
    images = torch.randint(0, 255, (12, 3, 16, 24), dtype=torch.uint8)
    red, green, blue = images.float().unbind(1)
    direction = torch.stack([red + 1, green + 1, blue + 1], dim=1)
    normals = direction / direction.norm(dim=1, keepdim=True)
    gone = images[:, 0] < 60
    labels: dict[str, tuple[TaskType, torch.Tensor]] = {
        "segmentation": (Segmentation(), torch.where(gone, VOID, images[:, 0] % 5)),
        "depth": (Depth(), (green + 1).masked_fill(gone, float("nan"))),
        "normals": (SurfaceNormals(), normals.masked_fill(gone[:, None], float("nan"))),
        "class": (Classification(), torch.arange(12)),
    }
    pool = ImageSet("noise", images, images)
    data = [TaskData(Task(n, kind, 12), pool, y, y) for n, (kind, y) in labels.items()]
    recipe = Recipe(validation_size=0, batch_size=12, augment="crop+flip")
    flips = 0
    for batch in _take(Batches(data, recipe, 0, CPU), 4):
        x = batch.images[0]
        assert x is not None
        mean, deviation = (s[:, None, None] for s in pool.channel_statistics)
        pixels = (x * deviation + mean).round()
        classes, depth, turned, whose = batch.targets
        missing = pixels[:, 0] < 60
        assert torch.equal(classes == VOID, missing)
        assert torch.equal(classes[~missing], (pixels[:, 0] % 5).long()[~missing])
        assert torch.equal(depth.isnan(), missing)
        assert torch.equal(depth[~missing], pixels[:, 1][~missing] + 1)
        # A row of a moved image runs to the right or, mirrored, to the left in the original.
        expected = (pixels + 1) / (pixels + 1).norm(dim=1, keepdim=True)
        assert torch.equal(turned.isnan().any(1), missing)
        for one in range(12):
            there = ~missing[one]
            x_sign = turned[one, 0][there].sign().unique()
            assert len(x_sign) == 1
            mirrored = x_sign.item() == -1
            own = images[whose[one]].flip(-1) if mirrored else images[whose[one]]
            assert _is_shifted(pixels[one], own.float())
            torch.testing.assert_close(turned[one, 0][there].abs(), expected[one, 0][there])
            torch.testing.assert_close(turned[one, 1:][:, there], expected[one, 1:][:, there])
            flips += mirrored
    assert 0 < flips < 48


def _is_shifted(moved: torch.Tensor, original: torch.Tensor) -> bool:
    """Return whether the middle of `moved` is a part of `original`, at most 3 pixels away."""
    middle = moved[:, 4:-4, 4:-4]
    height, width = middle.shape[1:]
    return any(
        torch.equal(middle, original[:, 4 + i : 4 + i + height, 4 + j : 4 + j + width])
        for i in range(-3, 4)
        for j in range(-3, 4)
    )


def test_a_placebo_keeps_what_it_should_and_breaks_what_it_should(toy: Toy) -> None:
    column = toy("column")
    shuffled, noise, none = (toy(f"column~{p}") for p in ("shuffled", "noise", "none"))
    assert column.train_labels is not None
    assert shuffled.train_labels is not None
    assert shuffled.images is column.images
    assert torch.equal(shuffled.train_labels.bincount(), column.train_labels.bincount())
    assert not torch.equal(shuffled.train_labels, column.train_labels)
    assert noise.images is not column.images
    assert noise.images.train.float().mean() == pytest.approx(127.5, abs=1)
    assert (none.task.weight, none.images) == (0.0, column.images)
    assert not any(d.task.scored for d in (shuffled, noise, none))


def test_the_fingerprint_sees_every_label_pixel_and_weight(toy: Toy) -> None:
    row = toy("row")
    assert row.train_labels is not None
    other = row.train_labels.clone()
    other[5] = (other[5] + 1) % 4
    images = row.images.train.clone()
    images[3, 0, 2, 2] += 1
    variants = [
        row,
        TaskData(row.task, row.images, other, row.test_labels),
        TaskData(
            row.task, ImageSet("toy", images, row.images.test), row.train_labels, row.test_labels
        ),
        toy("row~none"),
    ]
    assert len({fingerprint([v]) for v in variants}) == 4
    assert fingerprint([row]) == fingerprint([task_data("toy", "row", DataSource())])


def test_images_reach_the_network_with_zero_mean_and_unit_variance(toy: Toy) -> None:
    images = toy("row").images
    x = Standardise(images, CPU)(_rows(images.train))
    assert x.shape == images.train.shape
    assert x.mean().item() == pytest.approx(0, abs=1e-3)
    assert x.std().item() == pytest.approx(1, abs=1e-3)


def test_images_of_one_colour_are_no_division_by_zero() -> None:
    flat = torch.full((10, 3, 16, 16), 7, dtype=torch.uint8)
    x = Standardise(ImageSet("flat", flat, flat), CPU)(_rows(flat))
    assert torch.equal(x, torch.zeros_like(x))


@pytest.mark.parametrize("augment", ["none", "crop+flip"])
def test_images_that_are_read_by_the_batch_make_the_same_batches(
    toy: Toy, recipe: Recipe, augment: str
) -> None:
    recipe = recipe.model_copy(update={"augment": augment})
    data = [toy("row"), toy("column"), toy("low~noise")]
    resident, streamed = (Batches(data, recipe, 0, CPU, resident=r) for r in (True, False))
    for a, b in zip(_take(resident, 30), _take(streamed, 30), strict=True):
        assert b.images[0] is b.images[1]
        for x, y in zip([*a.images, *a.targets], [*b.images, *b.targets], strict=True):
            assert x is not None
            assert y is not None
            assert torch.equal(x, y)
    assert resident.stalled == 0 < streamed.stalled


def test_a_step_that_waits_for_a_slow_disk_counts_as_stalled(
    toy: Toy, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The disk gives nothing until a step has waited for so long, however busy the machine is.
    pause, given = 0.05, threading.Event()
    take, result = Rows.take, Future.result

    def slowly(rows: Rows, index: torch.Tensor) -> torch.Tensor:
        assert given.wait(timeout=300)
        return take(rows, index)

    def waited_for(future: "Future[object]", timeout: float | None = None) -> object:
        threading.Timer(pause, given.set).start()
        return result(future, timeout)

    monkeypatch.setattr(Rows, "take", slowly)
    monkeypatch.setattr(Future, "result", waited_for)
    batches = Batches([toy("row")], recipe, 0, CPU, resident=False)
    _take(batches, 1)
    assert batches.stalled >= pause


def test_a_set_lives_on_the_device_where_it_fits_or_where_the_user_says_so(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = [toy("row")]
    assert fits(data, DataSource(), CPU)
    assert not fits(data, DataSource(resident="never"), CPU)
    too_few = 8 * 400 * 256 - 1  # a byte too few for 400 images of 256
    free = SimpleNamespace(available=too_few, total=too_few)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    assert not fits(data, DataSource(), CPU)
    assert fits(data, DataSource(resident="always"), CPU)


def _partly(toy: Toy, name: str, known: torch.Tensor) -> TaskData:
    data = toy(name)
    assert data.train_labels is not None
    return replace(data, train_labels=torch.where(known, data.train_labels, MISSING))


def test_an_image_counts_only_for_the_tasks_that_have_its_label(toy: Toy, recipe: Recipe) -> None:
    row = _partly(toy, "row", torch.arange(300) % 3 == 0)
    column = _partly(toy, "column", torch.arange(300) % 3 == 1)
    whole = toy("row")
    subset = Batches([whole], recipe, 0, CPU).split(whole).train
    for data, kept in (
        ([row], {0}),
        ([column], {1}),
        ([row, column], {0, 1}),
        ([whole], {0, 1, 2}),
    ):
        batches = Batches(data, recipe, 0, CPU)
        seen = torch.cat([b.images[0] for b in _take(batches, 40) if b.images[0] is not None])
        assert len(seen.flatten(1).unique(dim=0)) == sum(int(i) % 3 in kept for i in subset)
        assert torch.equal(batches.split(data[0]).train, subset)


def test_a_partner_of_weight_0_adds_no_image(toy: Toy, recipe: Recipe) -> None:
    row = _partly(toy, "row", torch.arange(300) % 3 == 0)
    alone = _take(Batches([row], recipe, 0, CPU), 10)
    beside = _take(Batches([row, toy("column~none")], recipe, 0, CPU), 10)
    for a, b in zip(alone, beside, strict=True):
        assert torch.equal(a.targets[0], b.targets[0])


def test_a_seed_without_a_label_says_what_to_do(toy: Toy, recipe: Recipe) -> None:
    nothing = _partly(toy, "row", torch.zeros(300, dtype=torch.bool))
    with pytest.raises(UserError, match="label of row: raise --train-size"):
        Batches([nothing], recipe, 0, CPU)


def test_a_set_can_fix_how_many_images_a_seed_draws(toy: Toy, recipe: Recipe) -> None:
    images = replace(toy("row").images, drawn=40)
    assert len(draw_split(images, recipe, 0).train) == 40
    data = toy("row")
    assert fingerprint([data]) != fingerprint([replace(data, images=images)])
