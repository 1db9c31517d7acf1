"""Checks for a machine with a GPU; `python -m tests.on_gpu` runs them."""
