"""How fast and how lean this is, beside what it is to be compared with: `python -m tests.bench`."""
