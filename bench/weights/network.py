"""A trained network from its file: built anew without the data, and filled with its weights."""

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from bench.contracts import MultiTaskNetwork
from bench.errors import UserError, described, unknown
from bench.images import read_image
from bench.spec.guarded import unforked
from bench.spec.registry import datasets, parse_strategy, strategy_components
from bench.task_types import TaskType
from bench.tasks import Task
from bench.train.evaluation import images_at_once
from bench.train.loop import network_for, passes_in
from bench.train.rows import Standardise
from bench.weights.file import Saved, SavedTask, read_saved, read_tensors

#: Names that an error lists.
_NAMED = 4
#: While a network is built, parameters may come and go: so many for each of a file, and some.
_SPARE, _FEW = 4, 1000


class SavedNetwork:
    """A trained network, ready to use. Its weights stay as they are.

    `tasks` are those that it answers, by name, with their `type`, `outputs` and `classes`. `about`
    is what its file says of it. `module` is the bare network, for who wants to train it further: it
    takes standardised images, one tensor per task.
    """

    def __init__(
        self, about: Saved, module: MultiTaskNetwork, tasks: Sequence[Task], device: torch.device
    ) -> None:
        self.about, self.module, self._device = about, module, device
        self.tasks: Mapping[str, Task] = {task.name: task for task in tasks if task.scored}
        self._scaled: dict[str, Standardise] = {}

    def read(self, files: Sequence[str | Path]) -> Tensor:
        """Return image files as uint8 `[N, C, H, W]`, as those of the training set were read.

        They are turned upright, stretched, and made grey or RGB. Raises `UserError` for a file that
        cannot be read.
        """
        channels, *side = self.about.image
        modes: Mapping[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}
        if channels not in modes:
            raise UserError(f"files have 1 or 3 channels, and the network takes {channels}")
        images = np.empty((len(files), *self.about.image), np.uint8)
        for image, file in zip(images, map(Path, files), strict=True):
            try:
                image[:] = read_image(
                    file,
                    (side[0], side[1]),
                    modes[channels],
                    bits=self.about.bits,
                    background=self.about.background,
                )
            except Exception as error:  # decoders' errors have no common base class
                raise UserError(f"cannot read the image {file}: {described(error)}") from None
        return torch.from_numpy(images)

    @torch.no_grad()
    def __call__(self, images: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """Return the answers of each task for images, uint8 `[N, C, H, W]`, on the CPU.

        What they are follows from the task's type, see `answered` there: probabilities, or numbers
        in the label's unit. Without `tasks` all are answered. Raises `UserError` for other images,
        and for a task that the network has not.
        """
        if images.dtype != torch.uint8 or images.shape[1:] != torch.Size(self.about.image):
            shape = ", ".join(map(str, self.about.image))
            raise UserError(
                f"give images as uint8 [N, {shape}], not {images.dtype} {[*images.shape]}"
            )
        for name in tasks or ():
            if name not in self.tasks:
                raise unknown("task of this network", name, self.tasks)
        asked = [name for name in self.tasks if tasks is None or name in tasks]
        at_once = images_at_once(*self.about.image[1:])
        parts = [self._answers(part, asked) for part in torch.split(images, at_once)]
        return {name: torch.cat([part[name] for part in parts]) for name in asked}

    def _answers(self, images: Tensor, asked: Collection[str]) -> dict[str, Tensor]:
        rows = images.to(self._device).permute(0, 2, 3, 1).contiguous()
        # Tasks on the same images get the identical tensor, which is encoded once.
        inputs = {t.images: self._scale(t)(rows) for t in self.about.tasks if t.name in asked}
        given = [inputs[t.images] if t.name in asked else None for t in self.about.tasks]
        with passes_in(self.about.precision, self._device):
            outputs = self.module(given)
        return {
            task.name: self.tasks[task.name].type.answers(output.float()).cpu()
            for task, output in zip(self.about.tasks, outputs, strict=True)
            if task.name in asked
        }

    def _scale(self, task: SavedTask) -> Standardise:
        """Return what standardises the images of a task; tasks of one image set share it."""
        if task.images not in self._scaled:
            mean, deviation = torch.tensor(task.mean), torch.tensor(task.deviation)
            width = self.about.image[2]
            self._scaled[task.images] = Standardise.by(mean, deviation, width, self._device)
        return self._scaled[task.images]

    def in_words(self, answers: Mapping[str, Tensor]) -> Iterator[dict[str, str]]:
        """Yield what the answers are in a few words, by task, for one image after the other."""
        for each in zip(*answers.values(), strict=True):
            yield {
                name: self.tasks[name].type.in_words(answer, self.tasks[name].classes)
                for name, answer in zip(answers, each, strict=True)
            }


def load(path: str | Path, device: str = "cpu") -> SavedNetwork:
    """Return the network of a file that `run --save-weights` wrote.

    Neither the data nor the weights that the run began with are needed, but its plugins are. No
    code of the file is run. Raises `UserError` where the file is none of these, or where something
    is missing.
    """
    path = Path(path)
    about = read_saved(path)
    tensors = read_tensors(path)
    try:
        tasks = [saved_task(task) for task in about.tasks]
    except UserError as error:
        raise UserError(f"the network of {path} cannot be built: {error}") from None

    def build() -> MultiTaskNetwork:
        sharing, sets = parse_strategy(about.sharing), [task.images for task in about.tasks]
        with torch.device("meta"), _at_most(_SPARE * len(tensors) + _FEW):
            return network_for(
                sharing, tasks, sets, about.image, about.network, about.width, 0, about.dense_head
            )

    module = _made(path, about, build)
    _fill(path, module, tensors)
    module.to(torch.device(device)).to(memory_format=torch.channels_last)
    return SavedNetwork(about, module.eval(), tasks, torch.device(device))


def _made(path: Path, about: Saved, build: Callable[[], Any]) -> Any:
    """Return what foreign code builds. Raises `UserError` for whatever it raises."""
    try:
        with unforked():
            return build()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        why = str(error) if isinstance(error, UserError) else described(error)
        raise UserError(f"the network of {path} cannot be built: {why}{_needs(about)}") from None


@contextlib.contextmanager
def _at_most(parameters: int) -> Iterator[None]:
    """Let no network be built of many more parameters than its file has: it might take for ever."""
    built = count(1)

    def counted(module: nn.Module, name: str, parameter: object) -> None:
        if next(built) > parameters:
            raise ValueError("it would have many more parameters than the file")

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


def _needs(about: Saved) -> str:
    if not about.plugins:
        return ""
    needed = ", ".join(about.plugins)
    return f" (it needs {needed}, from a folder that BENCH_PLUGINS names, or a package)"


def saved_task(saved: SavedTask) -> Task:
    """Return the task of a file. Raises `UserError` where its type is missing, or is another."""
    found = task_types().get(saved.type)
    if found is None:
        datasets()  # a plugin may bring a type, and is imported only now
        strategy_components()
        found = task_types().get(saved.type)
    if found is None:
        raise UserError(
            f"the task '{saved.name}' has the type {saved.type}, which is not installed: name the "
            "folder of its plugin in BENCH_PLUGINS"
        )
    known = {f.name for f in fields(found)} if is_dataclass(found) else set()
    if not saved.knobs.keys() <= known:
        raise UserError(f"the task '{saved.name}' has knobs that the type {saved.type} has not")
    try:
        made = found(**saved.knobs)
    except (TypeError, ValueError) as error:
        raise UserError(f"the task '{saved.name}': {described(error)}") from None
    return Task(saved.name, made, saved.outputs, scored=saved.scored, classes=saved.classes)


def task_types() -> dict[str, type[TaskType]]:
    """Return the task types that are imported so far, by the name of their class."""
    found: dict[str, type[TaskType]] = {}
    waiting = TaskType.__subclasses__()
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if not inspect.isabstract(kind):
            found.setdefault(kind.__name__, kind)
    return found


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those too that are no part of a state_dict.

    One that several modules share is there once.
    """
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _fill(path: Path, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of a module's own, which are on the meta device.

    Raises `UserError` unless they are the same by name, shape and type.
    """
    own = named_tensors(module)
    other = [n for n in own if n in tensors and _form(own[n]) != _form(tensors[n])]
    problems = {
        "missing": [name for name in own if name not in tensors],
        "unexpected": [name for name in tensors if name not in own],
        "of another shape or type": other,
    }
    if any(problems.values()):
        told = "; ".join(f"{what}: {_some(names)}" for what, names in problems.items() if names)
        raise UserError(f"the tensors of {path} are none of its network: {told}")
    names = {id(tensor): name for name, tensor in own.items()}
    filled = {
        name: nn.Parameter(t, t.is_floating_point()) if isinstance(own[name], nn.Parameter) else t
        for name, t in tensors.items()
    }
    for part in module.modules():
        mine = {
            **dict(part.named_parameters(recurse=False, remove_duplicate=False)),
            **dict(part.named_buffers(recurse=False, remove_duplicate=False)),
        }
        for name, tensor in mine.items():
            setattr(part, name, filled[names[id(tensor)]].requires_grad_(tensor.requires_grad))


def _form(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(name[:100] for name in names[:_NAMED])}{more}"
