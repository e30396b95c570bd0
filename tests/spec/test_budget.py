import pytest

from bench.errors import UserError
from bench.spec.budget import Audit, Budget, Price, steps_bought

PRICE = Price(flops=1e6, samples=32, peak_bytes=10, parameters=5, seconds=0.1)


@pytest.mark.parametrize(
    ("text", "amount", "axis"),
    [
        ("2e12flop", 2e12, "flop"),
        ("500gflop", 5e11, "flop"),
        ("1.5 TFLOPs", 1.5e12, "flop"),
        ("30s", 30, "s"),
        ("500steps", 500, "steps"),
        ("64000samples", 64000, "samples"),
    ],
)
def test_a_budget_is_read_by_its_unit(text: str, amount: float, axis: str) -> None:
    assert Budget.parse(text) == Budget(amount, axis)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["500steps", "2e+12flop", "0.125s", "333333333333flop"])
def test_a_budget_is_written_as_it_is_read(text: str) -> None:
    budget = Budget.parse(text)
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("500", "an amount and a unit"),
        ("many", "an amount and a unit"),
        ("500stepz", "did you mean 'step"),
        ("0steps", "above zero"),
        ("-5s", "an amount and a unit"),
        ("1e999flop", "above zero"),
        ("1.2.3s", "not a number"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_with_its_mend(text: str, fix: str) -> None:
    with pytest.raises(UserError, match=fix):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("budget", "steps"),
    [("5e6flop", 5), ("5.9e6flop", 5), ("0.3s", 3), ("7steps", 7), ("64samples", 2)],
)
def test_a_budget_buys_the_floor_of_amount_over_price(budget: str, steps: int) -> None:
    assert steps_bought(Budget.parse(budget), [PRICE], [1.0], "arm") == (steps,)


def test_a_budget_that_buys_no_step_names_the_price() -> None:
    with pytest.raises(UserError, match=r"one step costs 1e\+06 flop"):
        steps_bought(Budget.parse("10flop"), [PRICE], [1.0], "arm")


def test_an_audit_allows_half_a_percent_of_flops_and_five_of_seconds() -> None:
    assert Audit("flop", 1.0049, 1.0).passed
    assert not Audit("flop", 1.0051, 1.0).passed
    assert Audit("s", 0.951, 1.0).passed
    assert not Audit("s", 0.949, 1.0).passed
    assert not Audit("flop", 1.0, 0.0).passed
