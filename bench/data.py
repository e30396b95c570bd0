"""From names to tensors: loads data sets, makes placebos, draws subsets, serves batches.

Images stay on the device as uint8 `[N, H, W, C]`; a batch is gathered, augmented and scaled there.
All draws (subset, split, order, augmentation) come from role-keyed streams on the CPU and reach
the device in blocks of many steps, so that a step never waits and every device sees the same order.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from bench.contracts import DataSource
from bench.errors import UserError
from bench.randomness import stream
from bench.registry import datasets
from bench.spec import Recipe
from bench.tasks import ImageSet, TaskData

#: Placebos and fixed parts of data are drawn at this seed, whatever the run's own.
_FIXED_SEED = 0
#: Steps whose order is drawn and moved to the device at once.
_BLOCK = 256


@lru_cache(maxsize=8)
def _load(dataset: str, source: DataSource) -> Mapping[str, TaskData]:
    plugin = datasets().get("data set", dataset)
    loaded: Mapping[str, TaskData] = plugin().load(source)
    return loaded


@lru_cache(maxsize=64)
def task_data(dataset: str, name: str, source: DataSource) -> TaskData:
    """Return the data of `task` or `task~placebo`, loaded once a process.

    Raises `UserError` where the data set cannot be loaded.
    """
    base, _, placebo = name.partition("~")
    data = _load(dataset, source)[base]
    if not placebo:
        return data
    task = replace(data.task, name=name, scored=False)
    draw = stream(_FIXED_SEED, "placebo", dataset, name)
    match placebo:
        case "none":
            return replace(data, task=replace(task, weight=0.0))
        case "shuffled":
            labels = [
                None if part is None else part[torch.randperm(len(part), generator=draw)]
                for part in (data.train_labels, data.test_labels)
            ]
            return replace(data, task=task, train_labels=labels[0], test_labels=labels[1])
        case "noise":
            parts = [
                torch.randint(0, 256, part.shape, dtype=torch.uint8, generator=draw)
                for part in (data.images.train, data.images.test)
            ]
            images = ImageSet(f"{data.images.name}~noise", parts[0], parts[1])
            return replace(data, task=task, images=images)
        case _:
            raise ValueError(f"unknown placebo '{placebo}'")


@lru_cache(maxsize=64)
def _tensor_digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def fingerprint(data: Sequence[TaskData]) -> str:
    """Return the SHA-256 of all that a run can read of its data: images, labels and tasks."""
    total = hashlib.sha256()
    for d in data:
        task = (d.task.name, d.task.kind.name, d.task.outputs, d.task.weight, d.images.name)
        total.update(repr(task).encode())
        for tensor in (d.images.train, d.images.test, d.train_labels, d.test_labels):
            total.update(b"-" if tensor is None else _tensor_digest(tensor).encode())
    return total.hexdigest()


@dataclass(frozen=True)
class Split:
    """Indices into the training pool: what one seed trains on, and what its curve is read from."""

    train: Tensor
    validation: Tensor


def draw_split(images: ImageSet, recipe: Recipe, seed: int) -> Split:
    """Draw the training subset and the validation split of a seed.

    Raises `UserError` where the pool is too small.
    """
    pool = len(images.train)
    train_size = recipe.train_size or pool - recipe.validation_size
    wanted = train_size + recipe.validation_size
    if wanted > pool or train_size < 1:
        raise UserError(
            f"'{images.name}' has {pool} training images; {train_size} to train on and "
            f"{recipe.validation_size} to validate on do not fit: lower --train-size or "
            "--validation-size"
        )
    subset = torch.randperm(pool, generator=stream(seed, "subset", images.name))[:wanted]
    shuffled = subset[torch.randperm(wanted, generator=stream(seed, "split", images.name))]
    return Split(shuffled[:train_size], shuffled[train_size:])


class Standardise:
    """Scales uint8 images to zero mean and unit variance a channel, over the training pool.

    Two ways to write the same pixels must not decide whether a network learns.
    """

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        mean, deviation = images.channel_statistics
        self._mean, self._scale = mean.to(device), (1 / deviation).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Return uint8 images `[N, H, W, C]` as floats `[N, C, H, W]` in channels-last layout."""
        return images.float().sub_(self._mean).mul_(self._scale).permute(0, 3, 1, 2)


def on_device(images: Tensor, device: torch.device) -> Tensor:
    """Return uint8 images `[N, C, H, W]` as a resident `[N, H, W, C]` tensor."""
    return images.permute(0, 2, 3, 1).contiguous().to(device)


@dataclass(frozen=True)
class Batch:
    """One step's images and targets, a task each.

    Tasks on the same images hold the very same tensor.
    """

    images: list[Tensor | None]
    targets: list[Tensor]


class _Stream:
    """Endless batches from one image set."""

    def __init__(self, images: ImageSet, recipe: Recipe, seed: int, device: torch.device) -> None:
        self.split = draw_split(images, recipe, seed)
        self.images = on_device(images.train[self.split.train], device)
        self.device = device
        self._to_float = Standardise(images, device)
        self._batch_size = recipe.batch_size
        self._order = stream(seed, "order", images.name)
        self._augmentation = stream(seed, "augmentation", images.name)
        self._crop = recipe.augment != "none"
        self._flip = recipe.augment == "crop+flip"
        self._blocks = self._draw_blocks()

    def _draw_blocks(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield indices `[steps, B]` and, if asked, moves `[steps, 3, B]` (down, right, flip)."""
        size, waiting = len(self.images), torch.empty(0, dtype=torch.long)
        while True:
            while len(waiting) < _BLOCK * self._batch_size:
                epoch = torch.randperm(size, generator=self._order)
                waiting = torch.cat([waiting, epoch])
            block = waiting[: _BLOCK * self._batch_size].view(_BLOCK, self._batch_size)
            waiting = waiting[_BLOCK * self._batch_size :]
            yield block.to(self.device), self._draw_moves()

    def _draw_moves(self) -> Tensor | None:
        if not self._crop:
            return None
        shape, g = (_BLOCK, self._batch_size), self._augmentation
        reach = [max(1, side // 8) for side in self.images.shape[1:3]]
        moves = [torch.randint(-r, r + 1, shape, generator=g) for r in reach]
        flip = torch.randint(0, 2, shape, generator=g) if self._flip else torch.zeros(shape).long()
        return torch.stack([*moves, flip], dim=1).to(self.device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (indices `[B]`, images `[B, C, H, W]`)."""
        for block, moves in self._blocks:
            for step, index in enumerate(block):
                if moves is None:
                    yield index, self._to_float(self.images.index_select(0, index))
                else:
                    yield index, self._to_float(self._moved(index, moves[step]))

    def _moved(self, index: Tensor, moves: Tensor) -> Tensor:
        """Gather images shifted and mirrored; pixels from outside repeat the edge."""
        height, width = self.images.shape[1:3]
        rows = torch.arange(height, device=self.device) + moves[0][:, None]
        columns = torch.arange(width, device=self.device).expand(len(index), -1)
        columns = torch.where(moves[2][:, None] == 1, width - 1 - columns, columns)
        columns = (columns + moves[1][:, None]).clamp(0, width - 1)
        rows = rows.clamp(0, height - 1)
        return self.images[index[:, None, None], rows[:, :, None], columns[:, None, :]]


class Batches:
    """Endless batches for the tasks of one run, from the data of its seed."""

    def __init__(
        self, data: Sequence[TaskData], recipe: Recipe, seed: int, device: torch.device
    ) -> None:
        self._data = data
        self._streams: dict[int, _Stream] = {}
        for d in data:
            if id(d.images) not in self._streams:
                self._streams[id(d.images)] = _Stream(d.images, recipe, seed, device)
        self._labels = [
            None if d.train_labels is None else d.train_labels[self.split(d).train].to(device)
            for d in data
        ]
        #: Images that one step reads.
        self.samples_per_step = recipe.batch_size * len(self._streams)

    def split(self, data: TaskData) -> Split:
        """Return the split of a task's images."""
        return self._streams[id(data.images)].split

    def __iter__(self) -> Iterator[Batch]:
        for drawn in zip(*(iter(s) for s in self._streams.values()), strict=True):
            by_set = dict(zip(self._streams, drawn, strict=True))
            images: list[Tensor | None] = []
            targets: list[Tensor] = []
            for d, labels in zip(self._data, self._labels, strict=True):
                index, x = by_set[id(d.images)]
                images.append(x)
                own = None if labels is None else labels.index_select(0, index)
                targets.append(d.task.kind.targets(x, own))
            yield Batch(images, targets)
