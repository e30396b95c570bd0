"""What the images and tasks of a data set are, in lines that a user reads before any training.

The same lines stand in the report. Names of classes and columns are a user's own: no control
character of theirs gets into a line, and whoever shows one in Markdown escapes it.
"""

from collections.abc import Iterator, Sequence

from bench.clean import printable
from bench.spec.experiment import Recipe
from bench.task_types import Classification, LabelMap, MultiLabel, Segmentation
from bench.tasks import ImageSet, TaskData
from bench.train.splits import asked_sizes, split_sizes

#: Classes that are named, and signs of each name.
_NAMED = 8
_LONGEST = 20
_COLOURS = {1: "grey", 3: "RGB"}


def describe(dataset: str, data: Sequence[TaskData], recipe: Recipe) -> Iterator[str]:
    """Yield what a user must know of a data set's images, and then of each task on them."""
    for line in _lines(dataset, data, recipe):
        yield printable(line)


def _lines(dataset: str, data: Sequence[TaskData], recipe: Recipe) -> Iterator[str]:
    if recipe.dense_head != "decoder" and not any(isinstance(d.task.type, LabelMap) for d in data):
        yield f"{dataset}: no task has a label per pixel, so dense-head changes nothing"
    together: dict[int, list[TaskData]] = {}
    for d in data:
        together.setdefault(id(d.images), []).append(d)
    for tasks in together.values():
        images = tasks[0].images
        which = f" ({images.name})" if len(together) > 1 else ""
        yield f"{dataset}{which}: {_images(images, recipe)}"
        yield from images.notes
        for d in tasks:
            yield "; ".join([f"{d.task.name}: {_task(d)}", *d.notes])


def _images(images: ImageSet, recipe: Recipe) -> str:
    channels, height, width = images.image
    colour = _COLOURS.get(channels, f"of {channels} channels")
    train, validation = split_sizes(images, recipe)
    text = (
        f"{len(images.train):,} training and {len(images.test):,} test images, {height} × {width} "
        f"{colour}; each seed draws {train:,} to train on and {validation:,} to validate on"
    )
    if (train, validation) == asked_sizes(images, recipe):
        return text
    return (
        f"{text}, because there are fewer than the recipe asks for; seeds share most of them, so "
        "the intervals tell less of what other images would give"
    )


def _task(data: TaskData) -> str:
    kind, outputs = data.task.type, data.task.outputs
    parts = [kind.name]
    if isinstance(kind, Classification | Segmentation | MultiLabel):
        what = "labels" if isinstance(kind, MultiLabel) else "classes"
        parts.append(f"{outputs} {what}{_names(data.task.classes)}")
    known = [int(part.sum()) for part in data.known]
    if known != [len(data.images.train), len(data.images.test)]:
        parts.append(f"labelled: {known[0]:,} training and {known[1]:,} test images")
    parts.append(f"scored by {data.task.metrics[0].name}")
    return ", ".join(parts)


def _names(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    shown = [c if len(c) <= _LONGEST else f"{c[: _LONGEST - 1]}…" for c in classes[:_NAMED]]
    more = f" and {len(classes) - _NAMED} more" if len(classes) > _NAMED else ""
    return f" ({', '.join(shown)}{more})"
