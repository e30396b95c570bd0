"""Which images a seed trains on, and which it validates on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import UserError
from bench.randomness import stream
from bench.spec.experiment import Recipe
from bench.tasks import ImageSet


@dataclass(frozen=True)
class Split:
    """Indices into the training pool: a seed's training images, and the images of its curve."""

    train: Tensor
    validation: Tensor


def asked_sizes(images: ImageSet, recipe: Recipe) -> tuple[int, int]:
    """Return how many training and validation images are requested for a seed."""
    validation = recipe.validation_size
    return images.drawn or recipe.train_size or len(images.train) - validation, validation


def split_sizes(images: ImageSet, recipe: Recipe) -> tuple[int, int]:
    """Return how many images a seed trains on, and how many it validates on.

    A scarce set may have fewer images than requested. It then gives four fifths of its pool to
    training, or the requested number if that is less, and the other fifth to validation. The fifth
    stays out of training even where no validation is requested. If every seed trained on the whole
    pool, the spread of the gains would silently lose the variance due to the draw of images. Raises
    `UserError` where the pool is too small.
    """
    pool = len(images.train)
    train, validation = asked_sizes(images, recipe)
    # With the training size left open, nobody wants to train on fewer images than validate.
    open_ended = not (images.drawn or recipe.train_size)
    fits = train + validation <= pool and train >= 1
    if images.scarce and pool and not (fits and (train >= validation or not open_ended)):
        held_out = pool // 5
        left = pool - held_out
        return (left if open_ended else min(train, left)), min(validation, held_out)
    if not fits:
        raise UserError(
            f"'{images.name}' has {pool} training images; {train} to train on and "
            f"{validation} to validate on do not fit: lower --train-size or "
            "--validation-size"
        )
    return train, validation


def draw_split(images: ImageSet, recipe: Recipe, seed: int) -> Split:
    """Draw the training subset and the validation split of a seed, as large as `split_sizes` says.

    Where images have groups it may have fewer. Raises `UserError` where the pool is too small.
    """
    pool = len(images.train)
    train_size, validation_size = split_sizes(images, recipe)
    if images.groups is not None:
        return _draw_groups(images, images.groups, train_size, validation_size, seed)
    wanted = train_size + validation_size
    subset = torch.randperm(pool, generator=stream(seed, "subset", images.name))[:wanted]
    shuffled = subset[torch.randperm(wanted, generator=stream(seed, "split", images.name))]
    return Split(shuffled[:train_size], shuffled[train_size:])


def _draw_groups(
    images: ImageSet, groups: Tensor, train_size: int, validation_size: int, seed: int
) -> Split:
    """Draw a split of whole groups: first those to validate on, then those to train on."""
    draw = stream(seed, "subset", images.name)
    different, counts = torch.unique(groups, return_counts=True)
    if len(different) < 2:
        raise UserError(f"'{images.name}' has one group of training images; two are needed")
    each = torch.split(groups.argsort(stable=True), counts.tolist())
    places = [each[at] for at in torch.randperm(len(each), generator=draw).tolist()]
    # As many groups as validation takes, but one is left to train on.
    held_out, count = 0, 0
    while count < validation_size and held_out < len(places) - 1:
        count += len(places[held_out])
        held_out += 1

    def drawn(parts: list[Tensor], most: int) -> Tensor:
        indices = torch.cat([torch.empty(0, dtype=torch.int64), *parts])
        return indices[torch.randperm(len(indices), generator=draw)][:most]

    validation = drawn(places[:held_out], validation_size)
    return Split(drawn(places[held_out:], train_size), validation)
