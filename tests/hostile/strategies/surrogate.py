"""A plugin whose reason is no UTF-8."""

raise RuntimeError("planted \ud800 fault")
