import torch

from bench.randomness import seeded, stream, stream_key


def test_a_stream_depends_on_its_seed_and_on_every_part_of_its_role() -> None:
    keys = {
        stream_key(0, "init", "trunk"),
        stream_key(1, "init", "trunk"),
        stream_key(0, "init", "head", "a"),
        stream_key(0, "init", "head", "b"),
    }
    assert len(keys) == 4


def test_the_key_of_a_stream_never_changes() -> None:
    # Written down once: a change here would silently change every result.
    assert stream_key(0, "init", "trunk") == 4161309924215694477


def test_the_same_stream_gives_the_same_draws() -> None:
    first, second = (torch.rand(5, generator=stream(3, "order", "x")) for _ in range(2))
    assert torch.equal(first, second)


def test_seeding_leaves_the_global_generator_as_it_was() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    with seeded(0, "init"):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)
