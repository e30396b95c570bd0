"""Every kind's loss and metrics against torchmetrics or plain numpy, with labels missing."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional import mean_absolute_error, r2_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from bench.task_types import (
    MISSING,
    VOID,
    Classification,
    Depth,
    MultiLabel,
    Reconstruction,
    Regression,
    Segmentation,
    SurfaceNormals,
    TaskType,
)

NAN = float("nan")


def _gap(labels: Tensor, value: float, share: float = 0.3) -> Tensor:
    """Return labels of which a random share is missing."""
    return labels.masked_fill(torch.rand(labels.shape) < share, value)


def _absent(labels: Tensor) -> float:
    """Return the value of a label that is missing."""
    return NAN if labels.is_floating_point() else VOID if labels.dtype == torch.uint8 else MISSING


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)


def _normals(share: float) -> Tensor:
    """Return directions `[6, 3, 8, 10]`, a share of which is missing in all three numbers."""
    gone = torch.rand(6, 1, 8, 10) < share
    return _unit(torch.randn(6, 3, 8, 10)).masked_fill(gone, NAN)


#: Outputs and labels of each kind on six examples, of which the given share is missing.
CASES: dict[str, tuple[TaskType, Callable[[float], tuple[Tensor, Tensor]]]] = {
    "classification": (
        Classification(),
        lambda share: (torch.randn(6, 4), _gap(torch.randint(0, 4, (6,)), MISSING, share)),
    ),
    "multi-label": (
        MultiLabel(),
        lambda share: (torch.randn(6, 5), _gap(torch.randint(0, 2, (6, 5)).float(), NAN, share)),
    ),
    "regression": (
        Regression("kg", 50.0, 12.0),
        lambda share: (torch.randn(6, 1), _gap(50 + 12 * torch.randn(6), NAN, share)),
    ),
    "segmentation": (
        Segmentation(),
        lambda share: (
            torch.randn(6, 4, 8, 10),
            _gap(torch.randint(0, 4, (6, 8, 10)), VOID, share).byte(),
        ),
    ),
    "depth": (
        Depth("m", 3.0, 1.5),
        lambda share: (torch.randn(6, 1, 8, 10), _gap(0.5 + torch.rand(6, 8, 10), NAN, share)),
    ),
    "normals": (
        SurfaceNormals(),
        lambda share: (torch.randn(6, 3, 8, 10), _normals(share)),
    ),
}


def _case(name: str, share: float) -> tuple[TaskType, Tensor, Tensor]:
    torch.manual_seed(3)
    kind, make = CASES[name]
    outputs, labels = make(share)
    return kind, outputs, labels


def _targets(kind: TaskType, labels: Tensor) -> Tensor:
    return kind.targets(torch.empty(0), labels)


def _scores(kind: TaskType, outputs: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the scores as a run makes them: in batches, and of the labelled examples only."""
    parts: Sequence[tuple[Tensor, Tensor]] = list(
        zip(outputs.split(4), labels.split(4), strict=True)
    )
    measured = torch.cat([kind.measure(o, _targets(kind, t)) for o, t in parts])
    return kind.scores(measured[kind.known(_targets(kind, labels))])


# --------------------------------------------------------------------------------------- losses


def _loss_by_hand(name: str, outputs: Tensor, labels: Tensor) -> float:
    """Return the mean over what is labelled, value by value in plain Python."""
    found = []
    if name == "classification":
        for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
            if label != MISSING:
                found.append(math.log(sum(map(math.exp, row))) - row[label])
    elif name == "multi-label":
        for x, y in zip(outputs.flatten().tolist(), labels.flatten().tolist(), strict=True):
            if not math.isnan(y):
                p = 1 / (1 + math.exp(-x))
                found.append(-math.log(p if y else 1 - p))
    elif name == "regression":
        for x, y in zip(outputs[:, 0].tolist(), labels.tolist(), strict=True):
            if not math.isnan(y):
                found.append((x - (y - 50) / 12) ** 2)
    elif name == "segmentation":
        rows = outputs.movedim(1, -1).reshape(-1, 4).tolist()
        for row, label in zip(rows, labels.flatten().tolist(), strict=True):
            if label != VOID:
                found.append(math.log(sum(map(math.exp, row))) - row[label])
    elif name == "depth":
        for x, y in zip(outputs.flatten().tolist(), labels.flatten().tolist(), strict=True):
            if not math.isnan(y):
                found.append(abs(x - (y - 3) / 1.5))
    else:
        vectors = outputs.movedim(1, -1).reshape(-1, 3).double().numpy()
        normals = labels.movedim(1, -1).reshape(-1, 3).numpy()
        for vector, normal in zip(vectors, normals, strict=True):
            if not np.isnan(normal).any():
                found.append(1 - vector @ normal / np.linalg.norm(vector))
    return float(np.mean(found))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_loss_is_the_mean_over_what_is_labelled(name: str, share: float) -> None:
    kind, outputs, labels = _case(name, share)
    found = kind.loss(outputs, _targets(kind, labels)).item()
    assert found == pytest.approx(_loss_by_hand(name, outputs, labels), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_missing_label_gives_no_gradient_and_breaks_none(name: str) -> None:
    kind, outputs, labels = _case(name, 0.4)
    outputs.requires_grad_()
    kind.loss(outputs, _targets(kind, labels)).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert outputs.grad.any()
    missing = labels.isnan() if labels.is_floating_point() else labels == _absent(labels)
    if name == "normals":
        missing = missing.any(1, keepdim=True)
    elif outputs.dim() > missing.dim():
        missing = missing.unsqueeze(1)
    assert not outputs.grad[missing.expand_as(outputs)].any()


@pytest.mark.parametrize("name", CASES)
def test_a_batch_without_a_label_has_loss_0_and_a_finite_gradient(name: str) -> None:
    kind, outputs, labels = _case(name, 1.1)
    assert not kind.known(labels).any()
    outputs.requires_grad_()
    loss = kind.loss(outputs, _targets(kind, labels))
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()


@pytest.mark.parametrize("name", CASES)
def test_an_example_is_known_where_anything_of_it_is_labelled(name: str) -> None:
    kind, _, labels = _case(name, 0.0)
    labels[1] = _absent(labels)
    if labels.dim() > 1:
        labels[2].view(-1)[0] = _absent(labels)  # one value of many
    assert kind.known(labels).tolist() == [True, False, True, True, True, True]


def test_a_vector_of_zeros_has_a_finite_gradient() -> None:
    outputs = torch.zeros(2, 3, 4, 4, requires_grad=True)
    SurfaceNormals().loss(outputs, _unit(torch.randn(2, 3, 4, 4))).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


# -------------------------------------------------------------------------------------- metrics


def test_classification_scores_are_those_of_torchmetrics_on_the_labelled_images() -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(200, 5), _gap(torch.randint(0, 4, (200,)), MISSING)
    found = _scores(Classification(), outputs, labels)
    known = labels != MISSING
    right = outputs.argmax(1)[known] == labels[known]
    recalls = [right[labels[known] == c].float().mean().item() for c in range(4)]
    assert found["accuracy"] == pytest.approx(100 * right.float().mean().item())
    # Class 4 never occurs, so it has no recall and no part in the mean.
    assert found["balanced accuracy"] == pytest.approx(100 * np.mean(recalls))
    nll = torch.nn.functional.cross_entropy(outputs[known], labels[known])
    assert found["nll"] == pytest.approx(nll.item(), rel=1e-5)
    every = multiclass_accuracy(outputs, labels, 5, average="micro", ignore_index=MISSING)
    assert found["accuracy"] == pytest.approx(100 * every.item())
    f1 = multiclass_f1_score(outputs, labels, 5, average="macro", ignore_index=MISSING)
    assert found["macro F1"] == pytest.approx(100 * f1.item())


def test_macro_f1_counts_a_class_that_occurs_or_is_predicted_and_no_other() -> None:
    outputs = torch.eye(5)[[0, 0, 1, 1]]  # class 2 is missed, 1 guessed once for it, 3 and 4 unused
    found = _scores(Classification(), outputs, torch.tensor([0, 0, 1, 2]))
    assert found["macro F1"] == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)


def _average_precision(true: np.ndarray, score: np.ndarray) -> float:
    """Return the mean, over the positives, of the precision down to each (no two scores tie)."""
    ranked = true[np.argsort(-score)]
    precision = ranked.cumsum() / np.arange(1, len(ranked) + 1)
    return float(precision[ranked == 1].mean())


def test_multi_label_scores_are_the_mean_over_the_labels_that_occur() -> None:
    torch.manual_seed(0)
    outputs, labels = torch.randn(120, 6), (torch.rand(120, 6) < 0.3).float()
    labels[:, 2] = 0  # a label that no image has
    labels = _gap(labels, NAN)
    f1, precision = [], []
    for column in (0, 1, 3, 4, 5):
        known = ~labels[:, column].isnan()
        true = labels[known, column].numpy()
        score = outputs[known, column].numpy()
        predicted = score > 0
        f1.append(2 * (predicted * true).sum() / (predicted.sum() + true.sum()))
        precision.append(_average_precision(true, score))
    found = _scores(MultiLabel(), outputs, labels)
    assert found["macro F1"] == pytest.approx(100 * np.mean(f1), rel=1e-5)
    assert found["mAP"] == pytest.approx(100 * np.mean(precision), rel=1e-5)


def test_multi_label_scores_of_one_label_and_of_none_that_occurs() -> None:
    outputs = torch.tensor([[2.0], [1.0], [-1.0], [-2.0]])
    one = _scores(MultiLabel(), outputs, torch.tensor([[1.0], [0.0], [1.0], [0.0]]))
    assert one["macro F1"] == pytest.approx(50)
    assert one["mAP"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    none = _scores(MultiLabel(), outputs, torch.zeros(4, 1))
    assert all(math.isnan(score) for score in none.values())


def test_regression_scores_are_in_the_unit_of_the_labels() -> None:
    torch.manual_seed(0)
    labels = _gap(30 + 8 * torch.randn(100), NAN)
    kind, outputs, known = Regression.of(labels, "a"), torch.randn(100, 1), ~labels.isnan()
    assert kind.mean == pytest.approx(labels[known].mean().item(), rel=1e-5)
    assert kind.deviation == pytest.approx(labels[known].std(correction=0).item(), rel=1e-5)
    predicted = (outputs[:, 0] * kind.deviation + kind.mean)[known]
    found = _scores(kind, outputs, labels)
    mae = mean_absolute_error(predicted, labels[known])
    assert found["MAE"] == pytest.approx(mae.item(), rel=1e-5)
    assert found["R²"] == pytest.approx(r2_score(predicted, labels[known]).item(), rel=1e-4)


@pytest.mark.parametrize("kind", [Regression, Depth])
def test_numbers_that_do_not_vary_or_are_all_missing_are_no_division_by_zero(
    kind: type[Regression] | type[Depth],
) -> None:
    same, none = kind.of(torch.full((5, 2, 2), 7.0)), kind.of(torch.full((5, 2, 2), NAN))
    assert (same.mean, same.deviation) == (7, 1)
    assert (none.mean, none.deviation) == (0, 1)


def test_segmentation_scores_are_those_of_torchmetrics_over_all_labelled_pixels() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(10, 6, 8, 10)
    outputs[:, 5] = -9  # never predicted, and it never occurs
    labels = _gap(torch.randint(0, 4, (10, 8, 10)), VOID).byte()
    labels[3] = VOID
    found = _scores(Segmentation(), outputs, labels)
    predicted, true = outputs.argmax(1), labels.long()
    each = multiclass_jaccard_index(predicted, true, 6, average="none", ignore_index=VOID)
    # Class 4 is predicted and never right: an intersection of nothing, which counts.
    assert each[4] == 0
    assert found["mIoU"] == pytest.approx(100 * each[:5].mean().item(), rel=1e-5)
    accuracy = multiclass_accuracy(predicted, true, 6, average="micro", ignore_index=VOID)
    assert found["pixel accuracy"] == pytest.approx(100 * accuracy.item(), rel=1e-5)


def test_depth_errors_are_means_over_all_known_pixels_in_the_unit_of_the_labels() -> None:
    torch.manual_seed(0)
    labels = _gap(0.5 + 9 * torch.rand(10, 8, 10), NAN)
    labels[2] = NAN
    kind, outputs = Depth.of(labels), torch.randn(10, 1, 8, 10)
    true = labels.double().numpy()
    predicted = outputs[:, 0].double().numpy() * np.nanstd(true) + np.nanmean(true)
    found = _scores(kind, outputs, labels)
    assert found["absolute error"] == pytest.approx(np.nanmean(abs(predicted - true)), rel=1e-5)
    relative = np.nanmean(abs(predicted - true) / true)
    assert found["relative error"] == pytest.approx(100 * relative, rel=1e-5)


def test_angles_between_normals_are_those_of_numpy_over_all_known_pixels() -> None:
    torch.manual_seed(0)
    labels = _unit(torch.randn(8, 3, 20, 20)).masked_fill(torch.rand(8, 1, 20, 20) < 0.3, NAN)
    labels[1] = NAN
    outputs = 5 * (labels.nan_to_num() + 0.4 * torch.randn(8, 3, 20, 20))  # of any length
    a, b = (x.double().numpy() for x in (outputs, labels))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    angle = np.degrees(np.arccos(cosine[~np.isnan(cosine)]))
    found = _scores(SurfaceNormals(), outputs, labels)
    assert found["mean angle"] == pytest.approx(angle.mean(), rel=1e-4)
    assert found["median angle"] == pytest.approx(np.median(angle), abs=0.1)
    for limit in (11.25, 22.5, 30):
        share = found[f"within {limit:g}°"]
        assert share == pytest.approx(100 * (angle < limit).mean(), abs=0.05)
    assert 5 < found["median angle"] < 60  # the test would say little at an end


def test_normals_that_are_right_or_opposite_are_0_and_180_degrees_off() -> None:
    labels = _unit(torch.randn(2, 3, 4, 4))
    right = _scores(SurfaceNormals(), labels, labels)
    opposite = _scores(SurfaceNormals(), -labels, labels)
    assert right["mean angle"] == pytest.approx(0, abs=0.05)
    assert right["within 11.25°"] == 100
    assert opposite["median angle"] == pytest.approx(180, abs=0.1)


def test_the_score_of_an_example_is_its_own_share_of_the_metric() -> None:
    for name, metric in (
        ("segmentation", "pixel accuracy"),
        ("depth", "absolute error"),
        ("normals", "mean angle"),
    ):
        kind, outputs, labels = _case(name, 0.3)
        measured = kind.measure(outputs, _targets(kind, labels))
        alone = [kind.scores(measured[i : i + 1])[metric] for i in range(6)]
        scale = 100 if metric == "pixel accuracy" else 1
        assert (scale * kind.example_scores(measured)).tolist() == pytest.approx(alone, rel=1e-5)


def test_reconstruction_is_the_mean_squared_error_of_the_images() -> None:
    images, outputs = torch.rand(2, 6, 3, 4, 4).unbind()
    kind = Reconstruction()
    assert kind.targets(images, None) is images
    expected = ((outputs - images) ** 2).mean().item()
    assert kind.loss(outputs, images).item() == pytest.approx(expected)
    assert kind.scores(kind.measure(outputs, images))["mse"] == pytest.approx(expected)


@pytest.mark.parametrize("name", CASES)
def test_every_kind_returns_the_metrics_that_it_declares(name: str) -> None:
    kind, outputs, labels = _case(name, 0.0)
    assert list(_scores(kind, outputs, labels)) == [metric.name for metric in kind.metrics]


def test_mirroring_turns_the_x_of_normals_alone() -> None:
    labels = _unit(torch.randn(2, 3, 4, 4))
    turned = SurfaceNormals().mirrored(labels)
    assert torch.equal(turned[:, 0], -labels[:, 0])
    assert torch.equal(turned[:, 1:], labels[:, 1:])
    depth = torch.rand(2, 4, 4)
    assert torch.equal(Depth().mirrored(depth), depth)


# ------------------------------------------------------------------------------------- the floor


@pytest.mark.parametrize(
    ("kind", "train", "test", "outputs", "metric", "floor"),
    [
        # The largest class of the training pool is 1; half of the test images have it.
        (Classification(), [0, 1, 1, -1], [1, 0, 1, 0, -1], 2, "accuracy", 50.0),
        (Classification(balanced=True), [0, 1, 1], [1, 1, 1, 0], 2, "balanced accuracy", 50.0),
        # The larger class has a precision of 3/4 and is found whole; the other is never guessed.
        (Classification(), [0, 1, 1], [1, 1, 1, 0], 2, "macro F1", 100 * 6 / 7 / 2),
        # Without an image every ranking ties, which leaves the share of images with the label.
        (MultiLabel(), [[1.0], [0.0]], [[1.0], [0.0], [0.0], [0.0]], 1, "mAP", 25.0),
        (Regression("m", 2.0, 3.0), [1.0, 3.0, NAN], [2.0, 5.0, NAN], 1, "MAE", 1.5),
        (Depth("m", 2.0, 3.0), [[[1.0, 3.0]]], [[[2.0, 5.0]]], 1, "absolute error", 1.5),
        (Segmentation(), [[[0, 1, 1, 255]]], [[[1, 1, 0, 255]]], 2, "pixel accuracy", 200 / 3),
        (
            SurfaceNormals(),
            [[[[0.0]], [[0.0]], [[1.0]]]],
            [[[[0.0]], [[1.0]], [[0.0]]]],
            3,
            "mean angle",
            90.0,
        ),
    ],
)
def test_the_floor_is_what_labels_alone_would_score(
    kind: TaskType, train: list[Any], test: list[Any], outputs: int, metric: str, floor: float
) -> None:
    whole = torch.uint8 if isinstance(kind, Segmentation) else torch.int64
    labels, tested = (
        torch.tensor(part).to(whole)
        if not torch.tensor(part).is_floating_point()
        else torch.tensor(part)
        for part in (train, test)
    )
    found = kind.floor(labels, tested, outputs)
    assert found.keys() == {metric.name for metric in kind.metrics}
    assert found[metric] == pytest.approx(floor, abs=1e-3)


def test_a_task_without_labels_or_without_a_test_label_has_no_floor() -> None:
    assert Reconstruction().floor(torch.zeros(2), torch.zeros(2), 1) == {}
    assert Classification().floor(torch.tensor([0, 1]), torch.tensor([-1, -1]), 2) == {}


def test_the_calibration_error_is_how_far_confidence_lies_from_the_truth() -> None:
    sure = torch.tensor([[0.9, 0.1]]).log().repeat(10, 1)
    for wrong, error in ((0, 10), (1, 0), (5, 40)):
        truth = torch.tensor([0] * (10 - wrong) + [1] * wrong)
        found = _scores(Classification(), sure, truth)["calibration error"]
        assert found == pytest.approx(error, abs=1e-3)


def test_every_class_and_label_has_a_score_of_its_own() -> None:
    outputs = torch.eye(3)[[0, 1, 1, 1]]
    recalls = Classification().each(Classification().measure(outputs, torch.tensor([0, 0, 1, 1])))
    assert recalls == ("recall, %", [50.0, 100.0])
    labels = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    what, values = MultiLabel().each(
        MultiLabel().measure(torch.tensor([[2.0, 1.0], [1.0, 0.0]]), labels)
    )
    assert what == "average precision, %"
    assert values[0] == 100
    assert math.isnan(values[1])
    maps = torch.tensor([[[0, 1]]])
    outputs = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])  # class 0 at both pixels
    found = Segmentation().each(Segmentation().measure(outputs, maps))
    assert found == ("IoU, %", [50, 0])


def test_weights_of_classes_make_a_rare_class_count_as_much_as_a_common_one() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0] * 9 + [1, MISSING])
    weights = Classification.inverse_shares(labels, 3)
    assert weights == pytest.approx((3 / 19, 27 / 19, 27 / 19))
    kind, outputs = Classification(weights=weights), torch.randn(11, 3, requires_grad=True)
    loss = kind.loss(outputs, labels)
    of_weights = torch.nn.functional.cross_entropy(
        outputs[:10], labels[:10], weight=torch.tensor(weights)
    )
    assert loss.item() == pytest.approx(of_weights.item(), rel=1e-6)
    assert kind.loss_of_known(outputs[:10], labels[:10]).item() == pytest.approx(of_weights.item())
    nothing = kind.loss(outputs, torch.full((11,), MISSING))
    assert nothing.item() == 0
    nothing.backward()
    assert outputs.grad is not None
    assert not outputs.grad.isnan().any()
    assert repr(Classification()) == "Classification()"
    assert repr(kind) != repr(Classification())


@pytest.mark.parametrize(
    ("kind", "outputs", "labels"),
    [
        (Classification(), torch.zeros(3, 2), torch.tensor([0, 1, 1])),
        (MultiLabel(), torch.zeros(3, 2), torch.tensor([[0.0, 1], [1, 0], [1, 1]])),
        (Regression("m"), torch.zeros(3, 1), torch.tensor([0.0, 1, 2])),
        (Segmentation(), torch.zeros(3, 2, 1, 1), torch.tensor([[[0]], [[1]], [[1]]])),
        (Depth("m"), torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1)),
        (SurfaceNormals(), torch.zeros(3, 3, 1, 1), torch.ones(3, 3, 1, 1)),
    ],
)
@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_network_that_diverged_is_scored_all_the_same(
    kind: TaskType, outputs: Tensor, labels: Tensor, bad: float
) -> None:
    measured = kind.measure(outputs + bad, labels)
    assert kind.scores(measured).keys() == {metric.name for metric in kind.metrics}
    _, values = kind.each(measured)
    assert all(isinstance(value, float) for value in values)
