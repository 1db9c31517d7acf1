"""`make verify`: computes a table again in a folder of its own and compares it with the stored one.

On the same processor with the same packages every number must be equal. Elsewhere rounding differs
and training amplifies it, so means over folds may differ by `TOLERANCE`, and those of trained
methods by their stored interval as well.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from la.experiment.measurements import Result
from la.experiment.methods import METHODS
from la.experiment.plan import auto_profile
from la.experiment.run import compute, stored
from la.experiment.workbench import Workbench
from la.report.notebooks import plan_of
from la.report.tables import scores

TOLERANCE = 0.5  # points of mIoU*, on another processor or with other packages
KEYS = ["prompts", "method", "setting", "fold"]
TRAINED = {method.label for method in METHODS.values() if method.configure}


def main(words: Sequence[str] | None = None) -> int:
    """Verify one table; the exit status is 1 if a number differs."""
    parser = argparse.ArgumentParser("python -m tests.verify", description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args(words)
    profile = auto_profile()[0] if arguments.profile == "auto" else arguments.profile
    return verify(Workbench.open(profile, arguments.data), arguments.table)


def verify(bench: Workbench, table: str) -> int:
    """Compute a table again and print PASS, or the numbers that differ from the stored ones.

    An interrupted verification resumes: its folder is removed only when the comparison is done.

    Returns:
        0 if all numbers agree, 1 if some differ, 2 if none are stored.
    """
    _, cells = plan_of(table, bench.config.profile, {})
    before = stored(bench, cells)
    if len(before) < len(cells):
        print(f"{len(cells) - len(before)} of {len(cells)} results of {table} are not stored; "
              f"make reproduce-{table} computes them")  # fmt: skip
        return 2
    folder = bench.home / "build" / "verify" / table
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cache").exists():
        (folder / "cache").symlink_to((bench.home / "cache").resolve())
    again = compute(Workbench(bench.config, bench.source, folder), cells)
    differing = compare(before, again)
    same = made_alike(before, again)
    print(f"{table}: {len(cells)} results computed again; " + (
        "same processor and packages, so all numbers must be equal." if same else
        "another processor or other packages, so means over folds may differ by "
        f"{TOLERANCE} points, those of trained methods by their interval as well."
    ))  # fmt: skip
    shutil.rmtree(folder)
    if len(differing):
        print(differing.to_string(index=False))
        print(f"FAIL: {len(differing)} numbers differ")
        return 1
    print("PASS")
    return 0


def compare(before: Sequence[Result], again: Sequence[Result]) -> pd.DataFrame:
    """The numbers of `scores` that differ by more than is allowed, a line each.

    Columns: those of `KEYS`, stored, again, allowed; in points of mIoU*.
    """
    pairs = scores(before).merge(scores(again), on=KEYS, suffixes=("", "_again"), validate="1:1")
    frame = pairs[KEYS].assign(stored=pairs["value"], again=pairs["value_again"], allowed=0.0)
    if not made_alike(before, again):
        is_mean = frame["fold"] == "mean"
        interval = pairs["half_width"].fillna(0).where(frame["method"].isin(TRAINED), 0)
        frame["allowed"] = interval.clip(lower=TOLERANCE)
        frame = frame[is_mean]
    return frame[(frame["again"] - frame["stored"]).abs() > frame["allowed"]]


def made_alike(before: Sequence[Result], again: Sequence[Result]) -> bool:
    """Whether both come from the same processor and package versions."""
    facts = [
        {
            frozenset((k, v) for k, v in result.provenance.items() if k != "commit")
            for result in made
        }
        for made in (before, again)
    ]
    return facts[0] == facts[1] and len(facts[0]) == 1


if __name__ == "__main__":
    sys.exit(main())
