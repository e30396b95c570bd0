"""A plugin that raises what is no `Exception`."""

raise GeneratorExit("planted")
