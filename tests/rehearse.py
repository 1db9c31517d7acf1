"""The rehearsal of tests/rehearsal.py at true sizes.

The imports wait, because a process of the rehearsal reads this file before its environment is set.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    from tests.rehearsal import PHOTOS, rehearse

    profile, folder, *notebook = sys.argv[1:]
    commands = rehearse(
        profile, Path(folder).resolve(), PHOTOS / "annotations" / "instances_visible.json",
        PHOTOS / "images", notebook=notebook[0] if notebook else "table2",
    )  # fmt: skip
    for stage, (seconds, megabytes) in commands.items():
        print(f"{stage:24}{seconds:8.1f} s{megabytes:8.0f} MB")
