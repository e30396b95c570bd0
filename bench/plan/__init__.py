"""From an experiment to runs: rows, prices, steps and tuning."""
