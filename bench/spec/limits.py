"""How large what a user asks for may be: every bound stands here.

What is beyond any use is refused. What may be meant, and takes long, is asked about.
"""

from collections.abc import Mapping
from typing import Any

#: A plan of more runs is asked about before anything is loaded.
ASK_ABOVE_RUNS = 50_000
#: No plan has more runs, whoever says yes.
MOST_RUNS = 1_000_000_000
#: Seeds, trials and images.
MOST = 1_000_000_000
MOST_BATCH = 65_536
MOST_CURVE_POINTS = 1_000
MOST_WORKERS = 1_024
#: Steps of a run, whatever buys them.
MOST_STEPS = 100_000_000
#: The largest budget in each unit, and the largest knob.
MOST_COMPUTE: Mapping[str, float] = {
    "flop": 1e24,
    "s": 1e9,
    "steps": MOST_STEPS,
    "samples": 1e12,
    "epochs": 1e6,
}
MOST_KNOB = 1e12
#: Signs of an experiment's name, which names files.
LONGEST_NAME = 100
#: An experiment file: its bytes, the values around a value, and the parts of a dotted key.
MOST_BYTES = 1_000_000
MOST_NESTED = 5
MOST_DOTTED = 8


def nested(value: Any) -> int:
    """Return how many lists and tables lie within each other."""
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list) and part]:
        depth += 1
        level = [
            inner for part in level for inner in (part.values() if isinstance(part, dict) else part)
        ]
    return depth
