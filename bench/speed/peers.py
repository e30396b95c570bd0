"""Other libraries used as they document: LibMTL's trainer, and TorchJD's backward pass.

Both are optional (`pip install -e '.[peers]'`) and are imported only here. They get the same
network, images, batch size and number of steps as the harness; everything else is theirs.

LibMTL (Lin and Zhang 2023) brings a trainer. It reads float images from a `DataLoader` without
worker processes, and keeps losses and accuracies at every step. Its package on PyPI, 1.1.5, is old
and needs four fixes to run on a CPU with a current torch. They make it run and take no time:

- The device need not be the first GPU.
- `next(iterator)` replaces the method `next`, which iterators no longer have.
- Shared gradients are set to zero between tasks, not to None, as its gradient methods need.
- `torchvision.models.utils`, which is gone, is replaced by a module with the one function needed.

Evaluation is left out of timed blocks on all sides.

TorchJD (Quinton and Rey 2024) has no trainer. Its loop is the one its pages show for multi-task
learning, `mtl_backward` and `jac_to_grad`, over the same `DataLoader`. Tasks are differentiated one
after the other, which is one of its options. Its default, all at once, took 1.1 to 1.6 times as
long here and fails at group normalisation in bf16.
"""

import contextlib
import importlib
import importlib.metadata
import io
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from bench.networks import Encoder
from bench.speed.loops import CLASSES, Steps, Workload, autocast, drawn_tasks

_GONE = "torchvision.models.utils"
_RATE = 1e-3


class AbsentError(Exception):
    """A library is missing or cannot be imported; the message says how to fix it."""


def _libmtl() -> ModuleType:
    try:
        return importlib.import_module("LibMTL")
    except ModuleNotFoundError as error:
        if error.name != _GONE:
            raise
    # The remains of an interrupted import would be taken for the whole library.
    for name in [name for name in sys.modules if name.partition(".")[0] == "LibMTL"]:
        del sys.modules[name]
    stub = ModuleType(_GONE)
    stub.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
    sys.modules[_GONE] = stub
    return importlib.import_module("LibMTL")


def _torchjd() -> ModuleType:
    import torchjd

    # Where it is not installed, a type checker knows nothing of it.
    found: ModuleType = torchjd
    return found


def found(name: str) -> str:
    """Return the version of a library, and the fix that its import needed. Raises `AbsentError`."""
    try:
        {"LibMTL": _libmtl, "TorchJD": _torchjd}[name]()
    except ModuleNotFoundError as error:
        missing = (error.name or "").lower() == name.lower()
        why = "not installed: pip install -e '.[peers]'" if missing else f"no import: {error}"
        raise AbsentError(why) from None
    stubbed = ", imported with a stub" if name == "LibMTL" and _GONE in sys.modules else ""
    return f"{name} {importlib.metadata.version(name)}{stubbed}"


class Labelled(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Float images `[N, C, H, W]` with one label per task, in the form of LibMTL's loaders."""

    def __init__(self, pixels: Tensor, labels: Mapping[str, Tensor]) -> None:
        """Scale uint8 images to -1..1."""
        self.images, self.labels = pixels.float() / 127.5 - 1, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.images[index], {task: y[index] for task, y in self.labels.items()}


def _labelled(work: Workload) -> Labelled:
    data = drawn_tasks(work.image, work.pool)
    labels = {d.task.name: d.train_labels for d in data if d.train_labels is not None}
    return Labelled(data[0].images.train, labels)


def classifier(encoder: Encoder, outputs: int) -> nn.Module:
    """Return a plain head; the harness's own pools in a way that suits its memory layout."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if len(encoder.features) == 3 else []
    return nn.Sequential(*pool, nn.Linear(encoder.features[0], outputs))


def loader(data: Labelled, batch_size: int, steps: int) -> DataLoader[Any]:
    """Return batches for this many steps, in random order."""
    return DataLoader(data, batch_size, sampler=RandomSampler(data, num_samples=steps * batch_size))


def libmtl_trainer(
    method: str,
    new_encoder: Callable[[], Encoder],
    heads: Mapping[str, Callable[[Encoder], nn.Module]],
) -> Any:
    """Return LibMTL's trainer, fixed as described above, of hard sharing with its own weighting."""
    library = _libmtl()
    encoder = new_encoder()

    class Sharing(library.architecture.HPS):  # type: ignore[name-defined, misc]
        def zero_grad_share_params(self) -> None:
            self.encoder.zero_grad(set_to_none=False)

    class Trainer(library.Trainer):  # type: ignore[name-defined, misc]
        def _prepare_model(self, *parts: Any) -> None:
            self.device = torch.device("cpu")
            super()._prepare_model(*parts)

        def _process_data(self, loader: list[Any]) -> Any:
            try:
                images, labels = next(loader[1])
            except StopIteration:
                loader[1] = iter(loader[0])
                images, labels = next(loader[1])
            return images.to(self.device), {t: y.to(self.device) for t, y in labels.items()}

    return Trainer(
        task_dict={
            task: {
                "metrics": ["Acc"],
                "metrics_fn": library.metrics.AccMetric(),
                "loss_fn": library.loss.CELoss(),
                "weight": [1],
            }
            for task in heads
        },
        weighting=getattr(library.weighting, method),
        architecture=Sharing,
        encoder_class=lambda: encoder,
        decoders=nn.ModuleDict({task: head(encoder) for task, head in heads.items()}),
        rep_grad=False,
        multi_input=False,
        optim_param={"optim": "adam", "lr": _RATE, "weight_decay": 1e-4},
        scheduler_param=None,
        weight_args={},
        arch_args={},
    )


def quiet() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which LibMTL's prints are discarded."""
    return contextlib.redirect_stdout(io.StringIO())


def libmtl(work: Workload) -> Steps:
    """Return a loop of LibMTL's trainer, one epoch per call."""
    data = _labelled(work)

    heads = dict.fromkeys(data.labels, partial(classifier, outputs=CLASSES))
    with quiet():
        trainer = libmtl_trainer(dict(work.peers)["LibMTL"], work.encoder, heads)
    trainer.test = lambda *_, **__: None  # evaluation is not part of a step

    def take(count: int) -> None:
        torch.set_num_threads(work.threads)
        with quiet():
            trainer.train(loader(data, work.batch_size, count), None, epochs=1)

    return take


def torchjd(work: Workload) -> Steps:
    """Return the loop from TorchJD's page on multi-task learning."""
    from torchjd import aggregation
    from torchjd.autojac import jac_to_grad, mtl_backward

    data = _labelled(work)
    encoder = work.encoder()
    heads = nn.ModuleList(classifier(encoder, CLASSES) for _ in data.labels)
    aggregator = getattr(aggregation, dict(work.peers)["TorchJD"])()
    optimizer = torch.optim.Adam([*encoder.parameters(), *heads.parameters()], lr=_RATE)

    def take(count: int) -> None:
        torch.set_num_threads(work.threads)
        for images, labels in loader(data, work.batch_size, count):
            with autocast(work.precision):
                features = encoder(images)
                losses = [
                    F.cross_entropy(head(features), y)
                    for head, y in zip(heads, labels.values(), strict=True)
                ]
            mtl_backward(losses, features=features, parallel_chunk_size=1)
            jac_to_grad(encoder.parameters(), aggregator)
            optimizer.step()
            optimizer.zero_grad()

    return take
