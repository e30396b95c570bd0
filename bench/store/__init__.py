"""The documents of the results folder, and where their numbers come from."""
