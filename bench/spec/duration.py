"""Times as users give them, such as 10m."""

import re

from bench.errors import UserError, shortened

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds_of(text: str, flag: str = "--within") -> float:
    """Return a time such as 30m, 2h or 1h30m in seconds. Raises `UserError` for anything else."""
    plain = text.strip().lower()
    parts = re.findall(r"(\d{1,6}(?:\.\d{1,3})?)([hms])", plain)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not parts or "".join(n + u for n, u in parts) != plain or total < 1:
        raise UserError(f"{flag} {shortened(text)}: give a time such as 10m, 2h or 1h30m")
    return total
