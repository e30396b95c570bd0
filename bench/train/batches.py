"""From names to tensors: loads data sets, makes placebos, draws subsets, serves batches.

Images live on the device as uint8 `[N, H, W, C]`; a batch is gathered, augmented and scaled there.
A set that does not fit is prefetched batch by batch, from memory or from a mapped file, and gives
the same batches. All draws (subset, split, order, augmentation) come from role-keyed streams on the
CPU. They reach the device in blocks of many steps, so no step waits, and every device sees the same
order.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import torch
from torch import Tensor

from bench.errors import UserError
from bench.randomness import stream
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_network
from bench.tasks import TaskData
from bench.train.rows import Rows, Standardise
from bench.train.splits import Split, draw_split

#: Number of steps whose order is drawn and moved to the device at once.
_BLOCK = 256


#: Threads that read batches of a set that is not resident, and batches that they read ahead.
_READERS = 2


_AHEAD = 8


@dataclass(frozen=True)
class Batch:
    """One step's images and targets, one of each per task, and a second batch if asked for.

    Tasks on the same images hold the identical tensor object.
    """

    images: list[Tensor | None]
    targets: list[Tensor]
    second: "Batch | None" = None


@dataclass(frozen=True)
class _Portion:
    """The portion of a run's training images that batches are drawn from.

    `held_out` is the share kept for second batches. If it is 0, both kinds of batch draw from all
    images, each in an order of its own.
    """

    held_out: float = 0.0
    second: bool = False

    @property
    def role(self) -> str:
        """The prefix of its streams' roles."""
        return "second " if self.second else ""

    def of(self, train: Tensor) -> Tensor:
        """Return the images of this portion, at least one."""
        if not self.held_out:
            return train
        if len(train) < 2:
            raise UserError("one training image cannot be split for a second batch: give more")
        kept = len(train) - min(max(1, round(self.held_out * len(train))), len(train) - 1)
        return train[kept:] if self.second else train[:kept]


class _Stream:
    """Endless batches from one image set, for the tasks on it."""

    def __init__(
        self,
        data: Sequence[TaskData],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        resident: bool,
        portion: "_Portion",
    ) -> None:
        images = data[0].images
        self.split = draw_split(images, recipe, seed)
        train = portion.of(self.split.train[_wanted(data, self.split.train)])
        self.images = Rows(images.train, train, device, resident, images=True)
        self._tasks = [
            (d.task, d.train_labels)
            if d.train_labels is None
            else (d.task, Rows(d.train_labels, train, device, resident))
            for d in data
        ]
        self._device = device
        expects = parse_network(recipe.network).normalisation
        self._to_float = Standardise(images, device, expects)
        self._batch_size = recipe.batch_size
        self._order = stream(seed, f"{portion.role}order", images.name)
        self._augmentation = stream(seed, f"{portion.role}augmentation", images.name)
        self._probe = partial(stream, seed, "probe", images.name)
        self._crop = recipe.augment != "none"
        self._flip = recipe.augment == "crop+flip"
        #: Seconds that steps have waited for images.
        self.stalled = 0.0

    def _draw_order(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield indices `[B]` and, if asked, moves `[3, B]` (down, right, flip), for one step."""
        size, waiting = len(self.images), torch.empty(0, dtype=torch.long)
        index_device = self._device if self.images.resident else torch.device("cpu")
        while True:
            missing = _BLOCK * self._batch_size - len(waiting)
            epochs = [
                torch.randperm(size, generator=self._order) for _ in range(-(-missing // size))
            ]
            waiting = torch.cat([waiting, *epochs])
            block = waiting[: _BLOCK * self._batch_size].view(_BLOCK, self._batch_size)
            waiting = waiting[_BLOCK * self._batch_size :]
            moves = self._draw_moves()
            each = repeat(None, _BLOCK) if moves is None else moves
            yield from zip(block.to(index_device), each, strict=True)

    def _draw_moves(self) -> Tensor | None:
        if not self._crop:
            return None
        shape, g = (_BLOCK, self._batch_size), self._augmentation
        reach = [max(1, side // 8) for side in self.images.shape[2:]]
        moves = [torch.randint(-r, r + 1, shape, generator=g) for r in reach]
        flip = torch.randint(0, 2, shape, generator=g) if self._flip else torch.zeros(shape).long()
        return torch.stack([*moves, flip], dim=1).to(self._device)

    def _fetch(self, index: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        labels = [None if rows is None else rows.take(index) for _, rows in self._tasks]
        return self.images.take(index), labels

    def probe(self) -> tuple[Tensor, list[Tensor]]:
        """Return images `[B, C, H, W]` and targets as a step reads them, but not augmented."""
        index = torch.randperm(len(self.images), generator=self._probe())[: self._batch_size]
        rows, labels = self._fetch(index.to(self._device) if self.images.resident else index)
        x = self._to_float(rows)
        return x, [
            task.type.targets(x, own) for (task, _), own in zip(self._tasks, labels, strict=True)
        ]

    def _prefetched(self) -> Iterator[tuple[tuple[Tensor, list[Tensor | None]], Tensor | None]]:
        """Yield what `_fetch` returns, prefetched by threads, with the moves of the step."""
        readers = ThreadPoolExecutor(_READERS)
        ahead = deque[tuple[Future[tuple[Tensor, list[Tensor | None]]], Tensor | None]]()
        try:
            for index, moves in self._draw_order():
                ahead.append((readers.submit(self._fetch, index), moves))
                if len(ahead) > _AHEAD:
                    fetched, its_moves = ahead.popleft()
                    began = time.perf_counter()
                    rows = fetched.result()
                    self.stalled += time.perf_counter() - began
                    yield rows, its_moves
        finally:
            readers.shutdown(wait=False, cancel_futures=True)

    def __iter__(self) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Yield images `[B, C, H, W]` and the targets of each task."""
        batches: Iterator[tuple[tuple[Tensor, list[Tensor | None]], Tensor | None]]
        if self.images.resident:
            batches = ((self._fetch(index), moves) for index, moves in self._draw_order())
        else:
            batches = self._prefetched()
        for (rows, labels), moves in batches:
            if moves is not None:
                rows = _moved(rows, moves, first=1)
            x = self._to_float(rows)
            targets = []
            for (task, _), own in zip(self._tasks, labels, strict=True):
                if moves is not None and own is not None and task.type.dense:
                    moved = _moved(own, moves, first=own.dim() - 2)
                    flipped = (moves[2] == 1).view(-1, *[1] * (own.dim() - 1))
                    own = torch.where(flipped, task.type.mirrored(moved), moved)
                targets.append(task.type.targets(x, own))
            yield x, targets


def _wanted(data: Sequence[TaskData], index: Tensor) -> Tensor:
    """Return which images of a subset have a label of any task: bool, as long as `index`.

    An image counts only for the tasks that it has a label of. A task of weight 0 learns nothing
    from it. So such a partner adds no image to another task's.
    """
    wanted = torch.zeros(len(index), dtype=torch.bool)
    for d in [d for d in data if d.task.weight > 0] or data:
        wanted |= d.known[0][index]
    if not wanted.any():
        names = " or ".join(d.task.name for d in data)
        raise UserError(
            f"no training image of this seed has a label of {names}: raise --train-size, or label "
            "more images"
        )
    return wanted


def _moved(maps: Tensor, moves: Tensor, first: int) -> Tensor:
    """Return maps `[B, ...]` shifted and mirrored; beyond the border, the edge is repeated.

    `first` is the dimension of the rows; the columns follow. `moves` are `[3, B]`: down, right,
    flip.
    """
    height, width = maps.shape[first : first + 2]
    device = maps.device
    rows = torch.arange(height, device=device) + moves[0][:, None]
    columns = torch.arange(width, device=device).expand(len(maps), -1)
    columns = torch.where(moves[2][:, None] == 1, width - 1 - columns, columns)
    columns = (columns + moves[1][:, None]).clamp(0, width - 1)
    rows = rows.clamp(0, height - 1)
    each = torch.arange(len(maps), device=device)[:, None, None]
    if first == 1:
        return maps[each, rows[:, :, None], columns[:, None, :]]
    return maps.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


class Batches:
    """Endless batches for the tasks of one run, from the data of its seed.

    Images and labels live on the device if `resident`; otherwise threads prefetch them. Where
    `second_batch` is a number, every batch brings a second one. It is drawn from this share of the
    training images, which is kept out of the first, or from all of them where the share is 0.
    """

    def __init__(
        self,
        data: Sequence[TaskData],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        resident: bool = True,
        second_batch: float | None = None,
        _portion: _Portion = _Portion(),
    ) -> None:
        self._data = data
        self._second = None
        if second_batch is not None:
            _portion, held_out = _Portion(second_batch), _Portion(second_batch, second=True)
            self._second = Batches(data, recipe, seed, device, resident, _portion=held_out)
        together: dict[int, list[TaskData]] = {}
        for d in data:
            together.setdefault(id(d.images), []).append(d)
        self._streams = {
            key: _Stream(tasks, recipe, seed, device, resident, _portion)
            for key, tasks in together.items()
        }
        #: Images that one step reads.
        self.samples_per_step = recipe.batch_size * len(self._streams)
        if self._second:
            self.samples_per_step += self._second.samples_per_step

    def split(self, data: TaskData) -> Split:
        """Return the split of a task's images."""
        return self._streams[id(data.images)].split

    @property
    def stalled(self) -> float:
        """Seconds that steps have waited for images; 0 where they are resident.

        On a GPU the host may wait while the device is still working, so this is an upper bound.
        """
        own = sum(s.stalled for s in self._streams.values())
        return own + (self._second.stalled if self._second else 0.0)

    def probe(self) -> Batch:
        """Return one fixed batch of training images, as large as a step's.

        It comes from a stream of its own. So it shifts no draw of a step, and all arms of a seed
        have the same probe.
        """
        return self._batch([s.probe() for s in self._streams.values()])

    def __iter__(self) -> Iterator[Batch]:
        seconds = repeat(None) if self._second is None else iter(self._second)
        drawn = zip(*(iter(s) for s in self._streams.values()), strict=True)
        for first, second in zip(drawn, seconds, strict=False):
            yield replace(self._batch(first), second=second)

    def _batch(self, drawn: Sequence[tuple[Tensor, list[Tensor]]]) -> Batch:
        """Return what the streams have drawn, in task order."""
        left = {
            key: (x, iter(targets)) for key, (x, targets) in zip(self._streams, drawn, strict=True)
        }
        images = [left[id(d.images)][0] for d in self._data]
        targets = [next(left[id(d.images)][1]) for d in self._data]
        return Batch([*images], targets)
