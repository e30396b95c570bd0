"""From paired gains to a decision: one model for several tasks, or one for each."""
