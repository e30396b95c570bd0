"""Task types: how the outputs of a head become a loss, and scores on a set of images.

A task type trains on labelled values and is scored on labelled values. A missing label is `MISSING`
among whole numbers, `VOID` in a segmentation map and NaN among floats.

Every type takes the mean of its loss over the labelled values of a batch. So neither the size of an
image nor the share of labels changes the scale of its gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.networks import ClassificationHead, DeepLabHead, DenseHead, FPNHead, Shape

#: The label of an image whose class is unknown.
MISSING = -1
#: The label of a pixel whose class is unknown, as in the files of VOC.
VOID = 255
#: Marks a field of a task type that changes the loss and nothing else.
TRAINING_ONLY = "training only"
#: Number of examples whose labels are summed at once.
_EXAMPLES = 64
#: Number of examples with one label each that are measured at once.
_NUMBERS = 65536

Row = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Metric:
    """A score's name, unit and direction."""

    name: str
    unit: str
    higher_is_better: bool


@dataclass(frozen=True)
class TaskType(ABC):
    """How the outputs of a head become a loss and scores."""

    name: ClassVar[str]
    #: Whether labels are maps of the image's size, which move with it under augmentation.
    dense: ClassVar[bool] = False
    #: What `answers` are, in words.
    answered: ClassVar[str] = "the outputs of its head"

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that `scores` returns; gains are computed in the first."""

    @abstractmethod
    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a fresh head for features of the given shape."""

    def chosen_head(
        self, kind: str, stages: Sequence[Shape], image: Shape, outputs: int
    ) -> nn.Module:
        """Return a fresh head of the kind that a recipe names; without a choice, `head`.

        `stages` are the shapes of the activations after each stage, the last those of features.
        """
        return self.head(stages[-1], image, outputs)

    @abstractmethod
    def known(self, labels: Tensor) -> Tensor:
        """Return which of `labels`, `[N, ...]`, hold any known value: bool `[N]`."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over a batch's labelled values, a scalar; 0 where there are none."""

    def loss_of_known(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the same where every example is known; a type may have a cheaper way."""
        return self.loss(outputs, targets)

    @abstractmethod
    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the values of each example that the scores of a set need, `[N, K]`."""

    @abstractmethod
    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return every metric over a set, in its unit.

        `measured` holds the rows of `measure` for all labelled examples of the set, on the CPU.
        """

    @abstractmethod
    def example_scores(self, measured: Tensor) -> Tensor:
        """Return one score per example, `[N]`, from the rows of `measure`."""

    def targets(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the targets of a batch: its labels, unless the type makes them from images."""
        if labels is None:
            raise ValueError(f"a {self.name} task needs labels")
        return labels

    def mirrored(self, labels: Tensor) -> Tensor:
        """Return the labels of mirrored images from their mirrored maps, `[N, ...]`."""
        return labels

    def each(self, measured: Tensor) -> tuple[str, list[float]]:
        """Return what is scored of each class or label, and its scores in the order of the outputs.

        NaN where a class does not occur. Empty for a type without classes.
        """
        return "", []

    def blind(self, labels: Tensor, outputs: int) -> Tensor | None:
        """Return the outputs `[1, outputs, ...]` of who knows the labels and sees no image.

        `labels` are those of the training pool. A map has one place, which stands for all. None
        where the type has none.
        """
        return None

    def answers(self, outputs: Tensor) -> Tensor:
        """Return outputs `[N, ...]` as who uses the network wants them, as `answered` says."""
        return outputs

    def in_words(self, answer: Tensor, classes: Sequence[str]) -> str:
        """Return the answer for one image in a few words. `classes` are names of the outputs."""
        return " × ".join(map(str, answer.shape)) + " numbers"

    def floor(self, labels: Tensor, test_labels: Tensor, outputs: int) -> dict[str, float]:
        """Return every metric of `blind` outputs on a test set; empty where there are none."""
        blind = self.blind(labels, outputs)
        known = self.known(test_labels)
        if blind is None or not known.any():
            return {}
        places = test_labels.shape[-2:] if self.dense else ()
        measured = [
            self.measure(blind.expand(len(part), outputs, *places), self.targets(part, part))
            for part in torch.split(test_labels[known], _EXAMPLES if self.dense else _NUMBERS)
        ]
        return self.scores(torch.cat(measured))


#: Of confidences, each of the same width.
_CONFIDENCE_BINS = 15


def _calibration_error(confidence: Tensor, right: Tensor) -> float:
    """Return the expected calibration error (Guo et al. 2017) of confidences `[N]` from 0 to 1.

    It is the mean over the examples of how far the share of right answers lies from the mean
    confidence, in the bin of the example.
    """
    # A network that diverged has no confidence: NaN has no bin, but it shows in the sum.
    bins = (confidence.nan_to_num() * _CONFIDENCE_BINS).long().clamp(0, _CONFIDENCE_BINS - 1)
    apart = torch.zeros(_CONFIDENCE_BINS, dtype=torch.double).index_add_(
        0, bins, confidence - right.double()
    )
    return (apart.abs().sum() / len(confidence)).item()


def _f1_of_classes(true: Tensor, predicted: Tensor) -> Tensor:
    """Return F1 of each class, from classes `[N]`; NaN where it neither occurs nor is predicted."""
    classes = int(torch.cat([true, predicted]).max()) + 1
    right, occurs, guessed = (
        of.bincount(minlength=classes).double() for of in (true[true == predicted], true, predicted)
    )
    return 2 * right / (occurs + guessed)


def _called(place: int, classes: Sequence[str]) -> str:
    """Return the name of an output; its number where it has none."""
    return classes[place] if place < len(classes) else str(place)


def _mean_known(labels: Tensor) -> Tensor:
    """Return the mean of numbers `[N, C, ...]` over all but C, `[1, C, ...]`; 0 where unknown."""
    over = [d for d in range(labels.dim()) if d != 1]
    return labels.double().nanmean(over, keepdim=True).nan_to_num().float()


def _log_shares(labels: Tensor, unknown: int, classes: int) -> Tensor:
    """Return the logarithm of the share of each class, `[classes]`; each counts once more."""
    counts = labels[labels != unknown].long().bincount(minlength=classes) + 1.0
    return (counts / counts.sum()).log()


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of `values` where `known`; 0 where nothing is. Both have one shape.

    All values must be finite: an unknown value still gets a gradient, of 0 times its slope.
    """
    return torch.where(known, values, 0).sum() / known.sum().clamp(min=1)


def _moments(labels: Tensor) -> tuple[float, float]:
    """Return the mean and standard deviation of the known numbers; 0 and 1 where there are none.

    `labels` are `[N, ...]`. numpy adds in one order, whatever the number of threads. That matters
    because the moments are part of a run's identity.
    """

    def mean(of: Callable[[Row], Row]) -> float:
        total, count = 0.0, 0
        for part in torch.split(labels, _EXAMPLES):
            values = part[~part.isnan()].double().numpy()
            total, count = total + float(of(values).sum()), count + len(values)
        return total / count if count else 0.0

    centre = mean(lambda values: values)
    return centre, mean(lambda values: (values - centre) ** 2) ** 0.5 or 1.0


@lru_cache(maxsize=64)
def _on(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers on a device, float32: copied once, since a step must not wait for it."""
    return torch.tensor(values, device=device)


# --------------------------------------------------------------------------------- one per image


@dataclass(frozen=True, repr=False)
class Classification(TaskType):
    """One class per image; labels int64 `[N]`, outputs `[N, classes]`.

    If `balanced`, gains are computed in the balanced accuracy: where a class is rare, accuracy
    hardly counts it. `weights` are those of the classes in the loss, which is then a weighted mean
    over the examples; all count alike if it is empty.
    """

    name: ClassVar[str] = "classification"
    answered: ClassVar[str] = "probabilities `[N, classes]`, which sum to 1"

    balanced: bool = False
    weights: tuple[float, ...] = field(default=(), metadata={TRAINING_ONLY: True})

    @staticmethod
    def inverse_shares(labels: Tensor, classes: int) -> tuple[float, ...]:
        """Return weights inverse to the number of known labels of each class, one on average.

        A class without a label weighs as much as one with a single one.
        """
        counts = labels[labels != MISSING].bincount(minlength=classes).clamp(min=1).double()
        return tuple((counts.reciprocal() * classes / counts.reciprocal().sum()).tolist())

    def __repr__(self) -> str:
        # It is part of the data's fingerprint, which is older than the fields.
        fields = ["balanced=True"] * self.balanced
        fields += [f"weights={self.weights}"] * bool(self.weights)
        return f"Classification({', '.join(fields)})"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy, its mean over the classes, F1, log-likelihood and calibration error."""
        accuracy = Metric("accuracy", "%", higher_is_better=True)
        balanced = Metric("balanced accuracy", "%", higher_is_better=True)
        first = (balanced, accuracy) if self.balanced else (accuracy, balanced)
        nll = Metric("nll", "nat", higher_is_better=False)
        f1 = Metric("macro F1", "%", higher_is_better=True)
        return (*first, f1, nll, Metric("calibration error", "%", higher_is_better=False))

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a linear head."""
        return ClassificationHead(features, outputs)

    def known(self, labels: Tensor) -> Tensor:
        """Return which images have a class."""
        return labels != MISSING

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats."""
        known = targets != MISSING
        if self.weights:
            each = F.cross_entropy(outputs, targets, ignore_index=MISSING, reduction="none")
            weights = _on(self.weights, outputs.device)[targets.clamp(min=0)] * known
            return (each * weights).sum() / torch.where(known.any(), weights.sum(), 1)
        total = F.cross_entropy(outputs, targets, ignore_index=MISSING, reduction="sum")
        return total / known.sum().clamp(min=1)

    def loss_of_known(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy in nats; the same bits with a third of the operators."""
        if self.weights:
            return self.loss(outputs, targets)
        return F.cross_entropy(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the true class, the predicted one, the cross-entropy and the confidence."""
        nll = F.cross_entropy(outputs, targets, ignore_index=MISSING, reduction="none")
        confidence, predicted = outputs.softmax(1).max(1)
        return torch.stack([targets.float(), predicted.float(), nll, confidence], dim=1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class."""
        return outputs.softmax(1)

    def in_words(self, answer: Tensor, classes: Sequence[str]) -> str:
        """Return the most probable class."""
        place = int(answer.argmax())
        return f"{_called(place, classes)} ({answer[place]:.0%})"

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return all metrics.

        The balanced accuracy is the mean over the classes that occur, and F1 that over the classes
        that occur or are predicted.
        """
        true, predicted = measured[:, :2].long().unbind(1)
        right = true == predicted
        # Computed by hand: importing torchmetrics for it would take every worker two seconds.
        recalls, f1 = self._recalls(measured), _f1_of_classes(true, predicted)
        return {
            "accuracy": 100 * _mean(right),
            "balanced accuracy": 100 * _mean(recalls[~recalls.isnan()]),
            "macro F1": 100 * _mean(f1[~f1.isnan()]),
            "nll": _mean(measured[:, 2]),
            "calibration error": 100 * _calibration_error(measured[:, 3].double(), right),
        }

    def _recalls(self, measured: Tensor) -> Tensor:
        """Return the share of each class's examples that are right; NaN where it has none."""
        true, predicted = measured[:, :2].long().unbind(1)
        occurs = true.bincount()
        return true[true == predicted].bincount(minlength=len(occurs)) / occurs

    def each(self, measured: Tensor) -> tuple[str, list[float]]:
        """Return the recall of each class."""
        return "recall, %", (100 * self._recalls(measured).double()).tolist()

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return 1 where the class is right, else 0."""
        return (measured[:, 0] == measured[:, 1]).float()

    def blind(self, labels: Tensor, outputs: int) -> Tensor:
        """Return the shares of the classes; the largest class is predicted."""
        return _log_shares(labels, MISSING, outputs)[None]


class MultiLabel(TaskType):
    """Any number of labels per image; targets float `[N, L]` of 0, 1 or NaN, outputs `[N, L]`."""

    name = "multi-label"
    answered = "probabilities `[N, labels]`, each for itself"

    def __repr__(self) -> str:
        # It is part of the data's fingerprint: runs that were scored by macro F1 are others.
        return "MultiLabel(by mAP)"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Average precision and F1, each the mean over the labels.

        The first needs no threshold: a rare label has an F1 of 0 until its probability passes one.
        """
        return (
            Metric("mAP", "%", higher_is_better=True),
            Metric("macro F1", "%", higher_is_better=True),
        )

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a linear head."""
        return ClassificationHead(features, outputs)

    def known(self, labels: Tensor) -> Tensor:
        """Return which images have any known label."""
        return ~labels.isnan().all(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross-entropy per label, in nats."""
        known = ~targets.isnan()
        each = F.binary_cross_entropy_with_logits(outputs, targets.nan_to_num(), reduction="none")
        return _mean_of_known(each, known)

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the labels, then the probabilities."""
        return torch.cat([targets, outputs.sigmoid()], dim=1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the probability of each label."""
        return outputs.sigmoid()

    def in_words(self, answer: Tensor, classes: Sequence[str]) -> str:
        """Return the labels that are more probable than not."""
        likely = [place for place, p in enumerate(answer.tolist()) if p > 0.5]
        return ", ".join(f"{_called(p, classes)} ({answer[p]:.0%})" for p in likely) or "none"

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return all metrics; a label counts where some image of the set has it."""
        from torchmetrics.functional.classification import (
            multilabel_average_precision,
            multilabel_f1_score,
        )

        true, probability = measured.chunk(2, dim=1)
        occurs = (true == 1).any(0)
        if not occurs.any():
            return {"mAP": float("nan"), "macro F1": float("nan")}
        true, probability = true[:, occurs], probability[:, occurs]
        labels = true.shape[1]
        # torchmetrics marks ignored values by a whole number.
        whole = torch.where(true.isnan(), MISSING, true).long()
        if labels == 1:  # torchmetrics needs at least two labels
            whole, probability, labels = whole.repeat(1, 2), probability.repeat(1, 2), 2
        arguments = (probability.contiguous(), whole.contiguous(), labels)
        return {
            "mAP": 100 * float(multilabel_average_precision(*arguments, ignore_index=MISSING)),
            "macro F1": 100 * float(multilabel_f1_score(*arguments, ignore_index=MISSING)),
        }

    def each(self, measured: Tensor) -> tuple[str, list[float]]:
        """Return the average precision of each label."""
        from torchmetrics.functional.classification import binary_average_precision

        true, probability = measured.chunk(2, dim=1)
        whole = torch.where(true.isnan(), MISSING, true).long()
        found = [
            100 * float(binary_average_precision(p, t, ignore_index=MISSING))
            if (t == 1).any()
            else float("nan")
            for p, t in zip(probability.unbind(1), whole.unbind(1), strict=True)
        ]
        return "average precision, %", found

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the share of an image's known labels that are right."""
        true, probability = measured.chunk(2, dim=1)
        known = ~true.isnan()
        right = ((probability > 0.5) == (true == 1)) & known
        return right.sum(1) / known.sum(1)

    def blind(self, labels: Tensor, outputs: int) -> Tensor:
        """Return the share of images that have each label."""
        return _mean_known(labels).logit(eps=1e-6)


@dataclass(frozen=True)
class Regression(TaskType):
    """One number per image; labels float `[N]`, outputs `[N, 1]`.

    `mean` and `deviation` are those of the training pool's labels. The network learns the
    standardised number, so that the unit of a label does not weigh its loss. Scores are in `unit`.
    """

    name: ClassVar[str] = "regression"
    answered: ClassVar[str] = "numbers `[N]` in the label's unit"

    unit: str = ""
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, labels: Tensor, unit: str = "") -> Self:
        """Return the task type for a training pool with these labels, `[N]`."""
        return cls(unit, *_moments(labels))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean absolute error, and the share of variance explained."""
        return (
            Metric("MAE", self.unit, higher_is_better=False),
            Metric("R²", "", higher_is_better=True),
        )

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a linear head."""
        return ClassificationHead(features, outputs)

    def known(self, labels: Tensor) -> Tensor:
        """Return which images have a number."""
        return ~labels.isnan()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error in standard deviations of the label."""
        standardised = ((targets - self.mean) / self.deviation).nan_to_num()
        return _mean_of_known((outputs[:, 0] - standardised).square(), ~targets.isnan())

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the true number and the predicted one, in the label's unit."""
        return torch.stack([targets, outputs[:, 0] * self.deviation + self.mean], dim=1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the numbers in the label's unit."""
        return outputs[:, 0] * self.deviation + self.mean

    def in_words(self, answer: Tensor, classes: Sequence[str]) -> str:
        """Return the number with its unit."""
        return f"{answer:.4g} {self.unit}".rstrip()

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return all metrics. R² needs two examples."""
        from torchmetrics.functional import r2_score

        true, predicted = measured.double().unbind(1)
        r2 = r2_score(predicted, true) if len(true) > 1 else float("nan")
        return {"MAE": _mean((predicted - true).abs()), "R²": float(r2)}

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the absolute error of each example."""
        return (measured[:, 0] - measured[:, 1]).abs()

    def blind(self, labels: Tensor, outputs: int) -> Tensor:
        """Return the mean."""
        return (_mean_known(labels[:, None]) - self.mean) / self.deviation


# --------------------------------------------------------------------------------- one per pixel


class Reconstruction(TaskType):
    """The image itself, `[N, C, H, W]`: what an autoencoder learns.

    The loss is the mean squared error per pixel and channel, so that its weight does not depend
    on the size of the image.
    """

    name = "reconstruction"
    dense = True
    answered = "standardised images `[N, C, H, W]`"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean squared error per pixel and channel, of standardised images."""
        return (Metric("mse", "squared intensity", higher_is_better=False),)

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a decoder."""
        return DenseHead(features, image, outputs)

    def known(self, labels: Tensor) -> Tensor:
        """Return that every image is known."""
        return torch.ones(len(labels), dtype=torch.bool)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error per pixel and channel."""
        return F.mse_loss(outputs, targets)

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of each image."""
        return (outputs - targets).square().flatten(1).mean(1, keepdim=True)

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return the mean over the images."""
        return {"mse": _mean(measured)}

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the mean squared error of each image."""
        return measured[:, 0]

    def targets(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the images."""
        return images


#: The heads of label maps that a recipe may choose; only an auxiliary reconstruction makes do with
#: a decoder of eight channels.
DENSE_HEADS: Mapping[str, Callable[[Sequence[Shape], Shape, int], nn.Module]] = {
    "decoder": lambda stages, image, outputs: DenseHead(stages[-1], image, outputs, channels=32),
    "deeplab": lambda stages, image, outputs: DeepLabHead(stages[-1], image, outputs),
    "fpn": FPNHead,
}


class LabelMap(TaskType):
    """A label per pixel. Its head is one of `DENSE_HEADS`."""

    dense = True

    def head(self, features: Shape, image: Shape, outputs: int) -> nn.Module:
        """Return a decoder."""
        return self.chosen_head("decoder", [features], image, outputs)

    def chosen_head(
        self, kind: str, stages: Sequence[Shape], image: Shape, outputs: int
    ) -> nn.Module:
        """Return a fresh head of a kind."""
        return DENSE_HEADS[kind](stages, image, outputs)


class Segmentation(LabelMap):
    """One class per pixel; labels uint8 `[N, H, W]`, outputs `[N, classes, H, W]`."""

    name = "segmentation"
    answered = "probabilities `[N, classes, H, W]`, which sum to 1 at each pixel"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Intersection over union, its mean over the classes, and the share of right pixels."""
        return (
            Metric("mIoU", "%", higher_is_better=True),
            Metric("pixel accuracy", "%", higher_is_better=True),
        )

    def known(self, labels: Tensor) -> Tensor:
        """Return which images have a labelled pixel."""
        return (labels != VOID).flatten(1).any(1)

    def targets(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the labels as int64, which the loss needs."""
        return super().targets(images, labels).long()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy per pixel, in nats."""
        # As a list of pixels, because the loss of maps sums in no fixed order on a GPU.
        pixels, classes = outputs.permute(0, 2, 3, 1).flatten(0, 2), targets.flatten()
        total = F.cross_entropy(pixels, classes, ignore_index=VOID, reduction="sum")
        return total / (classes != VOID).sum().clamp(min=1)

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the confusion matrix of each image, true by predicted classes, flattened."""
        count, classes = outputs.shape[:2]
        cells = targets * classes + outputs.argmax(1)
        cells = cells + classes**2 * torch.arange(count, device=cells.device)[:, None, None]
        found = torch.bincount(cells[targets != VOID], minlength=count * classes**2)
        return found.view(count, classes**2).float()

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the probability of each class at each pixel."""
        return outputs.softmax(1)

    def in_words(self, answer: Tensor, classes: Sequence[str]) -> str:
        """Return the class of most pixels."""
        place = int(answer.argmax(0).flatten().mode().values)
        return f"most pixels are {_called(place, classes)}"

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return all metrics, over all pixels of the set. A class that neither occurs nor is
        predicted is left out of the mean.
        """
        classes = round(measured.shape[1] ** 0.5)
        confusion = measured.double().sum(0).view(classes, classes)
        right = confusion.diagonal()
        union = confusion.sum(0) + confusion.sum(1) - right
        return {
            "mIoU": 100 * (right / union)[union > 0].mean().item(),
            "pixel accuracy": 100 * (right.sum() / confusion.sum()).item(),
        }

    def each(self, measured: Tensor) -> tuple[str, list[float]]:
        """Return the intersection over union of each class."""
        classes = round(measured.shape[1] ** 0.5)
        confusion = measured.double().sum(0).view(classes, classes)
        right = confusion.diagonal()
        return "IoU, %", (100 * right / (confusion.sum(0) + confusion.sum(1) - right)).tolist()

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the share of each image's labelled pixels that are right."""
        classes = round(measured.shape[1] ** 0.5)
        confusion = measured.view(-1, classes, classes)
        return confusion.diagonal(dim1=1, dim2=2).sum(1) / confusion.sum((1, 2))

    def blind(self, labels: Tensor, outputs: int) -> Tensor:
        """Return the shares of the classes; the largest class is predicted at every pixel."""
        return _log_shares(labels, VOID, outputs)[None, :, None, None]


@dataclass(frozen=True)
class Depth(LabelMap):
    """One distance per pixel, above 0; labels float `[N, H, W]`, outputs `[N, 1, H, W]`.

    `mean` and `deviation` are those of the training pool's labels. The network learns the
    standardised distance, as a `Regression` does. Scores are in `unit`.
    """

    name: ClassVar[str] = "depth"
    answered: ClassVar[str] = "distances `[N, H, W]` in the label's unit"

    unit: str = "m"
    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, labels: Tensor, unit: str = "m") -> Self:
        """Return the task type for a training pool with these labels, `[N, H, W]`."""
        return cls(unit, *_moments(labels))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Absolute error, and error as a share of the distance, over all pixels."""
        return (
            Metric("absolute error", self.unit, higher_is_better=False),
            Metric("relative error", "%", higher_is_better=False),
        )

    def known(self, labels: Tensor) -> Tensor:
        """Return which images have a pixel with a known distance."""
        return ~labels.flatten(1).isnan().all(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean absolute error per pixel, in standard deviations of the distance."""
        standardised = ((targets - self.mean) / self.deviation).nan_to_num()
        return _mean_of_known((outputs[:, 0] - standardised).abs(), ~targets.isnan())

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sums of both errors, and the number of pixels in them."""
        known = ~targets.isnan()
        error = (outputs[:, 0] * self.deviation + self.mean - targets).abs()
        sums = [torch.where(known, e, 0).flatten(1).sum(1) for e in (error, error / targets)]
        return torch.stack([*sums, known.flatten(1).sum(1).float()], dim=1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return the distances in the label's unit."""
        return outputs[:, 0] * self.deviation + self.mean

    def in_words(self, answer: Tensor, classes: Sequence[str]) -> str:
        """Return the mean distance with its unit."""
        return f"{answer.mean():.4g} {self.unit} on average"

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return all metrics."""
        absolute, relative, pixels = measured.double().sum(0).tolist()
        return {"absolute error": absolute / pixels, "relative error": 100 * relative / pixels}

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the mean absolute error of each image."""
        return measured[:, 0] / measured[:, 2]

    def blind(self, labels: Tensor, outputs: int) -> Tensor:
        """Return the mean distance."""
        return (_mean_known(labels[:, None]) - self.mean) / self.deviation


class SurfaceNormals(LabelMap):
    """One direction per pixel; labels unit vectors `[N, 3, H, W]`, outputs of the same shape.

    x points to the right of the image, so mirroring changes its sign. A pixel is missing where any
    of its three numbers is.
    """

    name = "normals"
    answered = "unit vectors `[N, 3, H, W]`"

    #: Angles are counted to a tenth of a degree; the median is read off the counts.
    _BINS: ClassVar[int] = 1800
    _WITHIN: ClassVar[tuple[float, ...]] = (11.25, 22.5, 30.0)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Mean and median angle over all pixels, and the shares of pixels within three angles."""
        within = (
            Metric(f"within {angle:g}°", "%", higher_is_better=True) for angle in self._WITHIN
        )
        return (
            Metric("mean angle", "°", higher_is_better=False),
            Metric("median angle", "°", higher_is_better=False),
            *within,
        )

    def known(self, labels: Tensor) -> Tensor:
        """Return which images have a pixel with a known direction."""
        return ~labels.isnan().any(1).flatten(1).all(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of 1 − cos of the angle between both directions."""
        cosine = F.cosine_similarity(outputs, targets.nan_to_num(), dim=1)
        return _mean_of_known(1 - cosine, ~targets.isnan().any(1))

    def measure(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of the angles, their counts within three angles, their number, and a
        histogram of them.
        """
        known = ~targets.isnan().any(1)
        cosine = F.cosine_similarity(outputs, targets.nan_to_num(), dim=1).clamp(-1, 1)
        angle = torch.rad2deg(torch.acos(cosine))
        count = len(angle)
        # A NaN output has no bin, but it shows in the sum of the angles.
        bins = (angle.nan_to_num(180.0) * (self._BINS / 180)).long().clamp(max=self._BINS - 1)
        bins = bins + self._BINS * torch.arange(count, device=bins.device)[:, None, None]
        histogram = torch.bincount(bins[known], minlength=count * self._BINS)
        parts = [torch.where(known, angle, 0), *((angle < a) & known for a in self._WITHIN), known]
        sums = torch.stack([part.flatten(1).sum(1).float() for part in parts], dim=1)
        return torch.cat([sums, histogram.view(count, self._BINS).float()], dim=1)

    def answers(self, outputs: Tensor) -> Tensor:
        """Return directions of length 1."""
        return F.normalize(outputs, dim=1)

    def scores(self, measured: Tensor) -> dict[str, float]:
        """Return all metrics; the median lies in the middle of its tenth of a degree."""
        totals = measured.double().sum(0)
        shares = len(self._WITHIN)
        total, *within, pixels = totals[: shares + 2].tolist()
        middle = int(torch.searchsorted(totals[shares + 2 :].cumsum(0), pixels / 2))
        found = {
            "mean angle": total / pixels,
            "median angle": (middle + 0.5) * 180 / self._BINS,
        }
        for angle, count in zip(self._WITHIN, within, strict=True):
            found[f"within {angle:g}°"] = 100 * count / pixels
        return found

    def example_scores(self, measured: Tensor) -> Tensor:
        """Return the mean angle of each image."""
        return measured[:, 0] / measured[:, len(self._WITHIN) + 1]

    def blind(self, labels: Tensor, outputs: int) -> Tensor:
        """Return the mean direction."""
        return _mean_known(labels)

    def mirrored(self, labels: Tensor) -> Tensor:
        """Return the labels with the sign of x flipped."""
        return labels * labels.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
