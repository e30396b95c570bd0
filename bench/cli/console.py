"""What commands show on standard output."""

from rich.console import Console


def console() -> Console:
    """Return standard output, on which names may hold brackets, as `weight [kg]` does."""
    return Console(markup=False, emoji=False, highlight=False)
