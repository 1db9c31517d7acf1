"""Time and memory beside reference implementations: `python -m tests.bench`."""
