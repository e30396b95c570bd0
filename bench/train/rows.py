"""Rows of images and labels, on the device or fetched from memory or a mapped file."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from bench import accelerator
from bench.contracts import DataSource, Normalisation
from bench.errors import UserError
from bench.tasks import ImageSet, TaskData


def scaling(images: ImageSet, expects: Normalisation | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean and deviation of each channel that images are standardised with, `[C]` each.

    Pixels count from 0 to 255. They are those of the training pool, or what a network `expects`.
    Raises `UserError` where it expects another number of channels.
    """
    mean, deviation = images.channel_statistics
    if expects is None:
        return mean, deviation
    if len(expects.mean) != len(mean):
        raise UserError(
            f"the network expects images of {len(expects.mean)} channels, and those of "
            f"{images.name} have {len(mean)}"
        )
    mean, deviation = (255 * torch.tensor(each) for each in (expects.mean, expects.deviation))
    return mean, deviation


class Standardise:
    """Scales uint8 images to zero mean and unit variance per channel, over the training pool.

    Whether a network learns must not depend on how the same pixels are encoded. Where a network
    `expects` other images, as one with pretrained weights does, it gets those. Raises `UserError`
    where they have another number of channels.
    """

    def __init__(
        self, images: ImageSet, device: torch.device, expects: Normalisation | None = None
    ) -> None:
        self._set(*scaling(images, expects), images.image[2], device)

    @classmethod
    def by(cls, mean: Tensor, deviation: Tensor, width: int, device: torch.device) -> Self:
        """Return what does the same with a known `scaling`, for images `width` pixels wide."""
        made = cls.__new__(cls)
        made._set(mean, deviation, width, device)
        return made

    def _set(self, mean: Tensor, deviation: Tensor, width: int, device: torch.device) -> None:
        # For a whole line of pixels: a pixel's three numbers are too short a loop for a CPU.
        self._mean, self._scale = (
            channels.repeat(width).to(device) for channels in (mean, 1 / deviation)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Return uint8 images `[N, H, W, C]` as floats `[N, C, H, W]` in channels-last layout."""
        lines = images.float().flatten(2).sub_(self._mean).mul_(self._scale)
        return lines.view(images.shape).permute(0, 3, 1, 2)


class Rows:
    """Rows of a tensor, gathered to the device: resident there, or fetched on request.

    `tensor` is `[N, ...]` on the CPU and may be mapped from a file. `index` selects its rows, or
    all of them where it is None. Images `[N, C, H, W]` come out as `[B, H, W, C]`.
    """

    def __init__(
        self,
        tensor: Tensor,
        index: Tensor | None,
        device: torch.device,
        resident: bool,
        images: bool = False,
    ) -> None:
        self._tensor, self._index, self._device = tensor, index, device
        self._images = images
        self._resident: Tensor | None = None
        count = len(tensor) if index is None else len(index)
        #: Shape of all rows together, `[N, ...]`.
        self.shape = torch.Size((count, *tensor.shape[1:]))
        if device.type == "meta":
            empty = torch.empty(self.shape, dtype=tensor.dtype, device=device)
            self._resident = self._laid_out(empty)
        elif resident:
            rows = tensor if index is None else tensor[index]
            self._resident = self._laid_out(rows).contiguous().to(device)

    def __len__(self) -> int:
        return self.shape[0]

    def _laid_out(self, rows: Tensor) -> Tensor:
        return rows.permute(0, 2, 3, 1) if self._images else rows

    @property
    def resident(self) -> bool:
        """Whether the rows are already on the device."""
        return self._resident is not None

    def take(self, index: Tensor) -> Tensor:
        """Return rows `[B, ...]` on the device. `index` is there too if the rows are."""
        if self._resident is not None:
            return self._resident.index_select(0, index)
        rows = self._tensor[index if self._index is None else self._index[index]]
        rows = accelerator.pinned(rows, self._device)
        return self._laid_out(rows.to(self._device, non_blocking=True))

    def part(self, start: int, stop: int) -> Tensor:
        """Return rows from `start` to before `stop`, on the device."""
        if self._resident is not None:
            return self._resident[start:stop]
        return self.take(torch.arange(start, min(stop, len(self))))


def fits(data: Sequence[TaskData], source: DataSource, device: torch.device) -> bool:
    """Return whether the images and labels of a run should live on the device.

    By default they do where they take at most an eighth of the free memory on a CPU (other workers
    need theirs), or half of it on an accelerator. The user's setting takes precedence.
    """
    if source.resident != "auto" or device.type == "meta":
        return source.resident != "never"
    tensors = {id(t): t for d in data for t in (d.images.train, d.images.test)}
    labels = [t for d in data for t in (d.train_labels, d.test_labels) if t is not None]
    size = sum(t.nbytes for t in (*tensors.values(), *labels))
    on_host = accelerator.on_host(device)
    # A backend that does not tell its memory shares the host's.
    free, _ = accelerator.memory(device) or accelerator.memory(accelerator.HOST) or (0, 0)
    return size <= free / (8 if on_host else 2)
