"""What the tests of real clusters compare with."""

import pytest

from tests.launch.real_clusters import commands, ended, gains


@pytest.fixture(scope="session", name="found_here")
def _found_here(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return `gains.json` as this machine alone makes it."""
    folder = tmp_path_factory.mktemp("here")
    with commands(folder, {}) as begin:
        ended(begin("run", "toy.toml", "--results", "results", "--workers", 1))
    return gains(folder / "results")
