"""A plugin that does not import."""

raise ImportError("planted: this plugin is broken")
