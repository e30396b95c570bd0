"""What holds for every aggregation of the registry, and for some of them TorchJD as a reference.

A new file is tested by existing. Only claims of single methods are named here. TorchJD is
other people's code for the same papers; where it is not installed, what asks it is skipped.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import combinations, product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.cli.list import listing
from bench.contracts import Aggregation, UserError
from bench.spec.experiment import Recipe
from bench.spec.registry import parse_strategy, strategy_components
from bench.task_types import Classification
from bench.tasks import Task, TaskData
from bench.train.batches import Batches
from bench.train.loop import TrainingState
from bench.train.pricing import count, count_flops

PARTS = {
    name: part
    for name, part in strategy_components().found.items()
    # What tells tasks by their roles is no function of gradients and weights alone.
    if issubclass(part, Aggregation) and not part.needs_auxiliary
}
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            any(find_spec(package) is None for package in part.packages),
            reason=f"{', '.join(part.packages)} is not installed",
        ),
    )
    for name, part in PARTS.items()
]
every = pytest.mark.parametrize("name", [*NAMES, "mgda@l2", "graddrop@0.3", "cagrad@0.9"])

#: The direction is at no obtuse angle to any task's gradient, with any number of tasks.
HARMS_NO_TASK = ["mgda", "nash-mtl", "upgrad"]
#: The same, with two tasks only.
HARMS_NEITHER_OF_TWO = [*HARMS_NO_TASK, "imtl-g", "pcgrad"]
#: The direction does not depend on how long the gradients are.
IGNORES_LENGTHS = ["imtl-g", "nash-mtl"]
#: Its solver has tolerances that are not relative to the gradients.
ABSOLUTE = ["torchjd"]


def merge_of(
    name: str, weights: Sequence[float], seed: int = 0, losses: Sequence[float] | None = None
) -> Callable[[Tensor], Tensor]:
    """Build an aggregation for tasks with these weights, and losses of 1 where none are given."""
    aggregation = parse_strategy(name).aggregation
    assert aggregation is not None
    tasks = [Task(str(i), Classification(), 2, weight) for i, weight in enumerate(weights)]
    merge = aggregation.build(tasks, torch.Generator().manual_seed(seed))

    def merged_rows(rows: Tensor) -> Tensor:
        share = torch.tensor(weights, dtype=rows.dtype) / sum(weights)
        each = torch.tensor(losses or [1.0] * len(weights), dtype=rows.dtype)
        return merge(rows, each.to(rows.device), share.to(rows.device))

    return merged_rows


def merged(name: str, own: Tensor, weights: Sequence[float] | None = None, seed: int = 0) -> Tensor:
    """Aggregator the tasks' own gradients `[T, P]`, weighted as the training loop does."""
    weights = [1.0] * len(own) if weights is None else weights
    share = torch.tensor(weights, dtype=own.dtype) / sum(weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return merge_of(name, weights, seed)(own * share[:, None])


def drawn(tasks: int, parameters: int = 12, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, parameters, dtype=torch.float64, generator=generator)


def chance(name: str, own: Tensor, weights: Sequence[float] | None = None) -> bool:
    """Return whether the direction depends on what is drawn."""
    first, *others = (merged(name, own, weights, seed) for seed in range(8))
    return any(not torch.equal(first, other) for other in others)


def cosine(a: Tensor, b: Tensor) -> float:
    return torch.cosine_similarity(a, b, dim=0).item()


# ------------------------------------------------------------------------------ all of them


@every
@pytest.mark.parametrize("weights", [[1.0], [1, 1], [1, 0.3], [1, 0], [1, 0.3, 2], [1.0] * 5])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-7), (torch.float32, 1e-4)])
def test_equal_gradients_give_what_their_weighted_sum_gives(
    name: str, weights: list[float], dtype: torch.dtype, rtol: float
) -> None:
    """The one convention for the scale of losses, docs/protocol.md. One task is a case of it."""
    gradient = drawn(1).to(dtype)
    direction = merged(name, gradient.repeat(len(weights), 1), weights)
    torch.testing.assert_close(direction, gradient[0], rtol=rtol, atol=0)


@every
@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_the_direction_is_a_new_contiguous_vector_of_the_gradients_type(
    name: str, tasks: int
) -> None:
    for dtype in (torch.float32, torch.float64):
        gradients = drawn(tasks).to(dtype)
        before = gradients.clone()
        direction = merge_of(name, [1.0] * tasks)(gradients)
        assert direction.shape == gradients.shape[1:]
        assert direction.dtype == dtype
        assert direction.is_contiguous()
        assert torch.equal(gradients, before)


@every
@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_merging_needs_no_value_from_the_device(name: str, tasks: int) -> None:
    direction = merge_of(name, [1.0] * tasks)(torch.empty(tasks, 7, device="meta"))
    assert direction.is_meta
    assert direction.shape == (7,)


@every
def test_the_gramian_is_billed_and_little_beside_it(name: str) -> None:
    tasks, parameters = 2, 100_000
    costs = []
    for device in ("cpu", "meta"):
        with FlopCounterMode(display=False) as counter:
            merge_of(name, [1.0] * tasks)(torch.empty(tasks, parameters, device=device).zero_())
        costs.append(counter.get_total_flops())
    gramian = 2 * tasks**2 * parameters
    assert costs[0] == pytest.approx(costs[1], rel=0.001)
    assert costs[0] == 0 or gramian <= costs[0] <= 1.6 * gramian


@every
def test_a_lane_takes_steps_and_its_price_is_what_it_costs(
    name: str, toy: Callable[[str], TaskData], recipe: Recipe
) -> None:
    strategy, data = parse_strategy(name), [toy("row"), toy("column")]
    state = TrainingState(strategy, data, recipe, 1.0, 0, torch.device("cpu"))
    batch = next(iter(Batches(data, recipe, 0, torch.device("cpu"))))
    assert state.step(batch).isfinite().all()
    flops = count(strategy, data, recipe, 1.0)[0].flops
    assert count_flops(state, batch) == pytest.approx(flops, rel=0.005)
    assert all(p.isfinite().all() for p in state.network.parameters())


@every
def test_scaling_all_losses_scales_the_direction(name: str) -> None:
    for tasks in (2, 3, 5):
        gradients = drawn(tasks, seed=tasks)
        for scale in (3.0,) if name in ABSOLUTE else (3.0, 1e-8, 1e8):
            torch.testing.assert_close(
                merged(name, scale * gradients), scale * merged(name, gradients), rtol=1e-6, atol=0
            )


@every
@pytest.mark.parametrize("weights", [[1.0, 1.0], [1.0, 0.3, 2.0], [1.0, 0.5, 0.5, 2.0]])
def test_the_order_of_the_tasks_does_not_matter(name: str, weights: list[float]) -> None:
    """Where the method draws, on average over draws."""
    gradients = drawn(len(weights))
    draws = 300 if chance(name, gradients, weights) else 2
    one, other = (
        torch.stack([merged(name, g, w, seed) for seed in range(draws)])
        for g, w in ((gradients, weights), (gradients.flip(0), weights[::-1]))
    )
    error = ((one.var(0) + other.var(0)) / draws).sqrt()
    assert ((one.mean(0) - other.mean(0)).abs() <= 5 * error + 1e-6).all()


@every
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_task_without_a_gradient_takes_no_part(name: str, position: int) -> None:
    """Its weight is 0, or the batch has none of its labels: the plain sum loses its share."""
    weights = [1.0, 0.4, 0.6]
    gradients = drawn(3)
    gradients[position] = 0
    others = [t for t in range(3) if t != position]
    kept = [weights[t] for t in others]
    expected = merged(name, gradients[others], kept) * (sum(kept) / sum(weights))
    rtol = 1e-3 if name in ABSOLUTE else 1e-6
    torch.testing.assert_close(merged(name, gradients, weights), expected, rtol=rtol, atol=1e-9)


@every
def test_a_partner_of_weight_zero_changes_no_bit(name: str) -> None:
    gradients = drawn(2).float()
    if name not in ABSOLUTE:
        assert torch.equal(merged(name, gradients, [1.0, 0.0]), gradients[0])


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_gradients_give_finite_directions(name: str, dtype: torch.dtype) -> None:
    gradient = drawn(1)[0].to(dtype)
    for factors in (
        [0.0],
        [0.0, 0.0],
        [0.0, 1.0],
        [1.0, -1.0],
        [1.0, -3.0],
        [1.0, 1e-4],
        [1.0, -1.0, 1.0],
        [2.0, -1.0, 0.0],
        [1.0, 1.0, 1.0, -1e-3, 0.0],
    ):
        gradients = gradient * torch.tensor(factors, dtype=dtype)[:, None]
        longest = gradients.norm(dim=1).max()
        direction = merged(name, gradients)
        assert direction.isfinite().all(), factors
        assert direction.norm() <= 1.001 * longest, factors


@every
@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_scales_far_apart_give_finite_directions_in_float32(name: str, tasks: int) -> None:
    gradients = drawn(tasks).float()
    for scales in product((1e-8, 1.0, 1e8), repeat=tasks):
        assert merged(name, gradients * torch.tensor(scales)[:, None]).isfinite().all(), scales


@every
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_float32_gives_the_direction_of_float64(name: str, tasks: int) -> None:
    gradients = drawn(tasks, 1000)
    if chance(name, gradients):
        pytest.skip("another type may draw other numbers")
    exact = merged(name, gradients)
    assert cosine(merged(name, gradients.float()).double(), exact) > 1 - 1e-6


# ------------------------------------------------------------------------ what some promise


@pytest.mark.parametrize("name", HARMS_NO_TASK)
@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_the_direction_harms_no_task(name: str, tasks: int) -> None:
    for seed in range(40):
        gradients = drawn(tasks, 6, seed)
        assert (gradients @ merged(name, gradients)).min() > -1e-6


@pytest.mark.parametrize("name", HARMS_NEITHER_OF_TWO)
def test_the_direction_harms_neither_of_two_tasks(name: str) -> None:
    for seed in range(40):
        gradients = drawn(2, 4, seed)
        assert (gradients @ merged(name, gradients, [1.0, 0.2])).min() > -1e-9


@pytest.mark.parametrize("name", IGNORES_LENGTHS)
def test_the_direction_does_not_depend_on_the_gradients_lengths(name: str) -> None:
    for tasks in (2, 3, 5):
        gradients = drawn(tasks, seed=tasks)
        scales = torch.logspace(-3, 3, tasks, dtype=torch.float64)[:, None]
        assert cosine(merged(name, gradients), merged(name, scales * gradients)) > 1 - 1e-9


@pytest.mark.parametrize("name", ["mgda", "mgda@l2", *IGNORES_LENGTHS])
def test_methods_that_find_the_weights_do_not_read_the_tasks_own(name: str) -> None:
    gradients = drawn(3)
    torch.testing.assert_close(
        merged(name, gradients, [1.0, 0.1, 3.0]), merged(name, gradients), rtol=1e-9, atol=0
    )


@pytest.mark.parametrize("tasks", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("parameters", [2, 12])
def test_mgda_is_the_shortest_point_of_the_hull(tasks: int, parameters: int) -> None:
    """Of a convex set x is the shortest point if no point p has p · x < x · x."""
    for seed in range(20):
        gradients = drawn(tasks, parameters, seed)
        direction = merged("mgda", gradients)
        assert (gradients @ direction).min() >= direction @ direction - 1e-5


def test_mgda_with_unit_gradients_weighs_two_tasks_equally() -> None:
    gradients = drawn(2) * torch.tensor([[1.0], [50.0]], dtype=torch.float64)
    torch.testing.assert_close(merged("mgda@l2", gradients), gradients.mean(0))


@pytest.mark.parametrize("name", ["mgda", "mgda-ub"])
@pytest.mark.parametrize(
    ("normalization", "ratio"), [("none", 1 / 9), ("l2", 1), ("loss", 4 / 9), ("loss-l2", 4)]
)
def test_mgda_divides_by_lengths_losses_or_both_while_weights_are_sought(
    name: str, normalization: str, ratio: float
) -> None:
    # At right angles the weights are as the squared lengths of the other's divided gradient.
    own = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    merge = merge_of(f"{name}@{normalization}", [1.0, 1.0], losses=[2.0, 1.0])
    first = ratio / (1 + ratio)
    expected = torch.tensor([3 * first, 1 - first], dtype=torch.float64)
    torch.testing.assert_close(merge(own / 2), expected)


@pytest.mark.parametrize("tasks", [2, 3, 4])
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_cagrad_has_no_better_direction_for_the_worst_off_task(tasks: int, c: float) -> None:
    """Any direction of its ball around the mean does worse: 2,000 drawn ones, near and far."""
    generator = torch.Generator().manual_seed(0)
    for seed in range(5):
        gradients = drawn(tasks, 3, seed)
        mean = gradients.mean(0)
        radius = c * mean.norm()
        direction = (1 + c) * merged(f"cagrad@{c}", gradients)
        assert (direction - mean).norm() <= radius * (1 + 1e-9)
        noise = torch.randn(2000, 3, dtype=torch.float64, generator=generator)
        tried = direction + noise * torch.logspace(-4, 1, 2000, dtype=torch.float64)[:, None]
        away = tried - mean
        tried = mean + away * (radius / away.norm(dim=1)).clamp_max(1)[:, None]
        assert (tried @ gradients.T).amin(1).max() <= (gradients @ direction).min() + 1e-9


def test_cagrad_without_a_radius_is_the_weighted_mean() -> None:
    gradients, weights = drawn(3), torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    torch.testing.assert_close(merged("cagrad@0", gradients, weights.tolist()), weights @ gradients)


@pytest.mark.parametrize("tasks", [2, 3, 5, 12])
def test_nash_mtl_solves_its_equation_with_weights_that_sum_to_one(tasks: int) -> None:
    """α_t (G α)_t is the same for all tasks: G α = 1 / α up to the scale of α."""
    for seed in range(20):
        gradients = drawn(tasks, 16, seed)
        direction = merged("nash-mtl", gradients)
        alpha = torch.linalg.lstsq(gradients.T, direction[:, None]).solution[:, 0]
        shares = alpha * (gradients @ direction)
        assert alpha.sum().item() == pytest.approx(1)
        torch.testing.assert_close(shares, shares.mean().expand(tasks), rtol=1e-6, atol=0)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_imtl_g_projects_equally_on_all_gradients(tasks: int) -> None:
    gradients = drawn(tasks)
    units = torch.nn.functional.normalize(gradients, dim=1)
    projections = units @ merged("imtl-g", gradients)
    torch.testing.assert_close(projections, projections.mean().expand(tasks), rtol=1e-6, atol=0)


@pytest.mark.parametrize("tasks", [2, 3, 5, 10])
def test_aligned_mtl_averages_the_nearest_orthogonal_gradients(tasks: int) -> None:
    """U and V of the gradients' singular value decomposition, by LAPACK."""
    gradients = drawn(tasks, 16)
    weights = torch.arange(1, tasks + 1, dtype=torch.float64)
    u, s, v = torch.linalg.svd(gradients, full_matrices=False)
    expected = weights / weights.sum() @ (s.min() * u @ v)
    torch.testing.assert_close(
        merged("aligned-mtl", gradients, weights.tolist()), expected, rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_upgrad_is_linear_in_the_length_of_each_gradient(tasks: int) -> None:
    gradients = drawn(tasks, 8)
    one, two = (torch.rand(tasks, 1, dtype=torch.float64) + 0.1 for _ in range(2))
    torch.testing.assert_close(
        merged("upgrad", (one + two) * gradients),
        merged("upgrad", one * gradients) + merged("upgrad", two * gradients),
        rtol=1e-6,
        atol=1e-9,
    )


def test_graddrop_keeps_a_sign_as_often_as_its_share_of_the_coordinate() -> None:
    gradients = torch.tensor([[3.0, 1.0, 2.0], [-1.0, 1.0, -2.0]], dtype=torch.float64)
    directions = torch.stack([merged("graddrop", gradients, seed=s) for s in range(2000)])
    assert torch.equal(directions.unique(dim=0)[:, 1].unique(), torch.tensor([1.0]).double())
    kept = (directions > 0).double().mean(0)
    torch.testing.assert_close(kept, torch.tensor([0.75, 1, 0.5]).double(), rtol=0, atol=0.05)


def test_graddrop_leaks_the_plain_sum_at_most() -> None:
    gradients = drawn(3)
    torch.testing.assert_close(merged("graddrop@1", gradients), gradients.mean(0))


# ---------------------------------------------------------------------- two tasks, one method


def test_parts_have_one_direction_for_two_tasks_exactly_where_they_say_so() -> None:
    # What merges gradients on features has its direction elsewhere: one rule is not one method.
    names = [name for name, part in PARTS.items() if not part.packages and not part.on_features]
    declared = {(n, PARTS[n].same_for_two) for n in names if PARTS[n].same_for_two}
    cases = [
        (drawn(2, seed=s) * torch.tensor([[1.0], [10.0 ** (s % 5 - 2)]]).double(), [1.0, 0.2 + s])
        for s in range(20)
    ]
    found = set()
    for a, b in combinations(names, 2):
        angles = [cosine(merged(a, g, w), merged(b, g, w)) for g, w in cases]
        if min(angles) > 0.99999:
            found |= {(a, b), (b, a)} & declared or {(a, b)}
    assert found == declared


def test_the_list_of_strategies_says_which_are_one_for_two_tasks() -> None:
    rows = {row["strategy"]: row["what it does"] for row in listing("strategies")[0]}
    for name, part in PARTS.items():
        note = f" (with two tasks: the direction of {part.same_for_two})"
        assert rows[name] == part.summary + (note if part.same_for_two else "")


@pytest.mark.parametrize("name", [n for n, part in PARTS.items() if part.same_for_two])
def test_what_is_one_method_for_two_tasks_is_another_for_three(name: str) -> None:
    other = PARTS[name].same_for_two
    draws = [drawn(3, 6, seed) for seed in range(10)]
    assert min(cosine(merged(name, g), merged(other, g)) for g in draws) < 0.99


@pytest.mark.parametrize("name", [n for n, part in PARTS.items() if part.same_for_two])
def test_of_two_tasks_not_the_direction_only_but_the_steps_of_adam_are_the_same(name: str) -> None:
    """It normalises over steps, so it would show a length that differs from step to step."""
    ends = []
    for which in (name, PARTS[name].same_for_two):
        weight = torch.nn.Parameter(torch.zeros(12, dtype=torch.float64))
        adam = torch.optim.Adam([weight], lr=0.1)
        for step in range(50):
            weight.grad = merged(which, drawn(2, seed=step) * (1 + step % 7))
            adam.step()
        ends.append(weight.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-9)


# ---------------------------------------------------------------------------- TorchJD's word


@pytest.fixture
def torchjd() -> Any:
    """The aggregators of TorchJD."""
    return pytest.importorskip("torchjd.aggregation")


#: TorchJD's aggregator for T tasks, and our length over its own. TorchJD gets the tasks' own
#: gradients; ours get them times weights of 1 / T, as in training.
ORACLES: dict[str, tuple[Callable[[Any, int], Any], Callable[[int], float]]] = {
    # TorchJD adds where ours averages. The order of projections is drawn alike.
    "pcgrad": (lambda torchjd, tasks: torchjd.PCGrad(), lambda tasks: 1 / tasks),
    # Frank-Wolfe's iteration, here of many more steps than its default, against the exact answer;
    # near a face of the hull it zigzags, and 5,000 steps leave cosines of 0.9998.
    "mgda": (
        lambda torchjd, tasks: torchjd.MGDA(epsilon=1e-9, max_iters=5000),
        lambda tasks: 1.0,
    ),
    # Ours is divided by 1 + c.
    "cagrad@0.2": (lambda torchjd, tasks: torchjd.CAGrad(c=0.2), lambda tasks: 1 / 1.2),
    "cagrad@0.5": (lambda torchjd, tasks: torchjd.CAGrad(c=0.5), lambda tasks: 1 / 1.5),
    "imtl-g": (lambda torchjd, tasks: torchjd.IMTLG(), lambda tasks: 1.0),
    "aligned-mtl": (lambda torchjd, tasks: torchjd.AlignedMTL(), lambda tasks: 1.0),
    # TorchJD adds 1e-4 of its trace to the diagonal of the Gramian.
    "upgrad": (lambda torchjd, tasks: torchjd.UPGrad(), lambda tasks: 1.0),
    # TorchJD adds where ours averages. Signs are drawn alike.
    "graddrop": (lambda torchjd, tasks: torchjd.GradDrop(), lambda tasks: 1 / tasks),
    "graddrop@0.3": (
        lambda torchjd, tasks: torchjd.GradDrop(leak=torch.full((tasks,), 0.3).double()),
        lambda tasks: 1 / tasks,
    ),
}


@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ORACLES)
def test_torchjd_gives_the_same_direction_and_a_known_length(
    torchjd: Any, name: str, tasks: int
) -> None:
    make, ratio = ORACLES[name]
    for seed in range(20):
        gradients = drawn(tasks, 20, seed)
        ours = merged(name, gradients, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            theirs = make(torchjd, tasks)(gradients)
        assert cosine(ours, theirs) > 0.9999
        assert (ours.norm() / theirs.norm()).item() == pytest.approx(ratio(tasks), rel=2e-3)


@pytest.mark.parametrize("tasks", [3, 4, 5])
@pytest.mark.parametrize(("name", "theirs"), [("aligned-mtl", "AlignedMTL"), ("upgrad", "UPGrad")])
def test_torchjds_preferences_are_the_tasks_weights(
    torchjd: Any, name: str, theirs: str, tasks: int
) -> None:
    weights = torch.arange(1, tasks + 1, dtype=torch.float64)
    weights = weights / weights.sum()
    for seed in range(10):
        gradients = drawn(tasks, 20, seed)
        ours = merged(name, gradients, weights.tolist())
        assert cosine(ours, getattr(torchjd, theirs)(weights)(gradients)) > 0.9999


@pytest.mark.filterwarnings("ignore:You are solving a parameterized problem")
@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_torchjds_nash_mtl_has_our_direction_where_it_solves_its_equation(
    torchjd: Any, tasks: int
) -> None:
    """Its iteration may end elsewhere: with 4 tasks and 12 parameters it did, in 1 of 15 draws.

    No ratio of lengths: its own is the square root of T, capped at 1, whatever the gradients.
    """
    solved = 0
    for seed in range(10):
        gradients = drawn(tasks, 40, seed)
        theirs = torchjd.NashMTL(n_tasks=tasks, optim_niter=100, max_norm=0)(gradients)
        alpha = torch.linalg.lstsq(gradients.T, theirs[:, None]).solution[:, 0]
        shares = alpha * (gradients @ theirs)
        if (shares / shares.mean() - 1).abs().max() < 1e-3:
            solved += 1
            assert theirs.norm().item() == pytest.approx(tasks**0.5, rel=1e-3)
            assert cosine(merged("nash-mtl", gradients), theirs) > 0.9999
    assert solved >= 8


def test_with_two_tasks_config_and_fairgrad_have_imtl_gs_direction_at_other_lengths(
    torchjd: Any,
) -> None:
    """Methods that are not here: the same direction, at a length that differs from step to step."""
    for other in (torchjd.ConFIG(), torchjd.FairGrad(alpha=1.0)):
        ratios = []
        for seed in range(20):
            gradients = drawn(2, 12, seed) * torch.tensor([[1.0], [1 + seed]]).double()
            ours, theirs = merged("imtl-g", gradients), other(gradients)
            assert cosine(ours, theirs) > 0.99999
            ratios.append((ours.norm() / theirs.norm()).item())
        assert max(ratios) > 1.5 * min(ratios)


@pytest.mark.parametrize("aggregator", ["ConFIG", "GradVac", "MGDA", "Mean", "PCD", "Sum"])
def test_torchjds_aggregators_that_add_and_that_average_get_one_scale(
    torchjd: Any, aggregator: str
) -> None:
    gradient = drawn(1)
    for weights in ([1.0], [1, 1], [1, 0.3, 0.5]):
        direction = merged(f"torchjd@{aggregator}", gradient.repeat(len(weights), 1), weights)
        torch.testing.assert_close(direction, gradient[0], rtol=1e-3, atol=0)


# --------------------------------------------------------------------------------- the knobs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mgda@l1", "none, l2, loss, loss-l2, not l1"),
        ("cagrad@-1", "c is a number of at least 0"),
        ("cagrad@inf", "c is a number of at least 0"),
        ("graddrop@2", "between 0 and 1"),
    ],
)
def test_a_knob_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_strategy(text)


@pytest.mark.parametrize("name", ["cagrad", "mgda", "upgrad"])
def test_more_tasks_than_a_solver_can_try_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="at most 10 tasks, not 11"):
        merge_of(name, [1.0] * 11)


@pytest.mark.parametrize("ratio", [1.0, 300.0, 3e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_aligned_mtl_keeps_a_task_whose_gradient_is_much_shorter(
    ratio: float, dtype: torch.dtype
) -> None:
    """Imbalance is what it is for: the shorter task sets the length, and counts as much."""
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(2, 50, generator=generator, dtype=dtype)
    gradients[1] /= ratio
    found = merged("aligned-mtl", gradients).double()
    # By hand in float64: the nearest orthogonal matrix, as long as the smallest singular value.
    u, s, v = torch.linalg.svd(gradients.double(), full_matrices=False)
    expected = s.min() * (u @ v).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.norm()))
    # Without the shorter task the direction would be the longer one's.
    along = torch.nn.functional.cosine_similarity
    longer, shorter = gradients.double()
    kept, dropped = along(found, shorter, dim=0), along(longer, shorter, dim=0)
    assert float(kept) > float(dropped) + 0.3
