from pathlib import Path

import pytest

from bench.digest import digest
from bench.errors import UserError
from bench.spec.experiment import load_experiment, shipped_experiments


def _write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text)
    return str(path)


def test_what_is_to_be_held_against_may_be_one_or_many(tmp_path: Path) -> None:
    for text, given in (
        ("", ()),
        ("also-against = 'wide'", ("wide",)),
        ("also-against = ['same-size', 'wide']", ("same-size", "wide")),
    ):
        assert load_experiment(_write(tmp_path, GOOD + text), {}).also_against == given


GOOD = 'pair = "a:b+c"\nstrategy = ["hard"]\nbudget = "5steps"\n'


def test_every_shipped_experiment_is_valid_and_says_what_it_asks() -> None:
    assert {"default", "smoke", "multimnist", "linear", "teachers"} <= shipped_experiments().keys()
    for name in shipped_experiments():
        experiment = load_experiment(name, {})
        assert experiment.name == name
        assert experiment.description


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + "seeds = 3\nbatch-size = 7\n")
    experiment = load_experiment(path, {"seeds": 5, "budget": None})
    assert (experiment.seeds, experiment.batch_size, experiment.budget) == (5, 7, "5steps")
    assert experiment.name == "mine"


def test_asking_for_other_pairs_drops_the_side_questions() -> None:
    assert load_experiment("default", {}).also
    other = load_experiment("default", {"pair": ["mnist"]})
    assert not other.also
    assert other.name == "custom"
    assert load_experiment("default", {"pair": ["mnist"], "name": "mine"}).name == "mine"
    assert load_experiment("default", {"seeds": 3}).name == "default"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "budgett = 3", "unknown key 'budgett': did you mean 'budget'"),
        (GOOD + "[[also]]\npairs = 'x'\nstrategy='y'", "unknown key 'pairs': did you mean 'pair'"),
        (GOOD + "seeds = 0", "seeds: give 1 or more"),
        (GOOD + "seeds = -2", "seeds"),
        (GOOD + "seeds = 'many'", "seeds"),
        (GOOD + "seeds = true", "seeds"),
        (GOOD + "margin = inf", "margin"),
        (GOOD + "learning-rate = nan", "learning-rate"),
        (GOOD + "batch_size = 4\nbatch-size = 8", "'batch-size' is given twice"),
        (GOOD + "name = '../up'", "name"),
        (GOOD + "also-against = 'wdie'", "also-against.0: choose wide or same-size"),
        ("seeds = 3\npair = = 2", r"not valid TOML: .*line 2"),
        ("pair = []\nstrategy='hard'\nbudget='5steps'", "pair: name at least one"),
        (GOOD + "tune = 1", "tune: the first trial is the recipe itself: give 2 or more"),
        ("strategy='hard'\nbudget='5steps'", "pair: is needed"),
        ("pair='a:b'\nstrategy='hard'\nbudget='5 apples'", "unit of budget"),
    ],
)
def test_a_bad_file_is_refused_with_its_mend(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_experiment(_write(tmp_path, text), {})


def test_a_missing_experiment_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'default'"):
        load_experiment("defualt", {})
    with pytest.raises(UserError, match="No such file"):
        load_experiment(str(tmp_path / "none.toml"), {})


def test_a_digest_depends_on_content_and_not_on_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
