"""What `list pairs` says of a data set is what it loads."""

from pathlib import Path

import pytest

from bench.contracts import DataSource
from bench.spec.registry import datasets, declared_pairs, parse_dataset
from bench.task_types import Classification


@pytest.mark.parametrize(
    "name", ["creatures", "creatures@disjoint=true", "linear", "teachers", "blocks", "toy", "mnist"]
)
def test_kinds_and_images_are_those_that_are_declared(name: str, root: Path) -> None:
    dataset = parse_dataset(name)
    data = dataset.load(DataSource(root))
    assert list(data) == list(dataset.tasks)
    for task, its in data.items():
        assert type(its.task.type) is type(dataset.task_types.get(task, Classification()))
    if "@" in name:
        return  # what is listed is the data set at its defaults
    said = dataset.images
    for pair in declared_pairs(dataset):
        texts = {said if isinstance(said, str) else said[task] for task in pair.tasks}
        assert len(texts) == len({id(data[task].images) for task in pair.tasks})


def test_every_data_set_says_how_many_images_it_has_and_what_it_needs() -> None:
    for name, plugin in datasets().found.items():
        assert plugin.summary, name
        assert plugin.needs, name
        if plugin.takes_path or name == "toy":
            continue
        dataset = plugin()
        for task in dataset.tasks:
            said = dataset.images if isinstance(dataset.images, str) else dataset.images[task]
            assert any(sign.isdigit() for sign in said), f"{name}: {task}"
