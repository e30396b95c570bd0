"""Reports as tables, words and JSON."""
