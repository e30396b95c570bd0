"""The hash that names runs, prices and cached data."""

import hashlib
import json


def digest(*parts: object) -> str:
    """Return the hexadecimal SHA-256 of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
