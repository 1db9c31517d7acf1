"""`make verify`: computes a table again in a folder of its own and compares it with the stored one.

A part of a table is enough: FOLDS=0 SEEDS=0. On the same processor with the same packages every
number must be equal. Elsewhere rounding differs and training amplifies it, so means over folds may
differ by `TOLERANCE`, and those of trained methods by their stored interval as well.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from la.code import accept, is_todays, training_code
from la.commands import options
from la.experiment.job import Job
from la.experiment.methods import METHODS
from la.experiment.planning.plan import auto_profile
from la.experiment.run import compute, stored
from la.experiment.setup.measurements import Result
from la.experiment.setup.workbench import Workbench
from la.report.pages.notebooks import plan_of
from la.report.scores.tables import scores

TOLERANCE = 0.5  # points of mIoU*, on another processor or with other packages
KEYS = ["prompts", "method", "setting", "fold"]
TRAINED = {method.label for method in METHODS.values() if method.configure}


def main(words: Sequence[str] | None = None) -> int:
    """Verify one table; the exit status is 1 if a number differs."""
    parser = argparse.ArgumentParser("python -m tests.verify", description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--unseen")
    parser.add_argument("--folds", type=_numbers)
    parser.add_argument("--seeds", type=_numbers)
    parser.add_argument("--accept", action="store_true", help="note that equal numbers came out")
    arguments = parser.parse_args(words)
    part = {"folds": arguments.folds, "seeds": arguments.seeds}
    chosen = {name: numbers for name, numbers in part.items() if numbers}
    profile = auto_profile()[0] if arguments.profile == "auto" else arguments.profile
    bench = Workbench.open(profile, arguments.data, options.names(arguments.unseen))
    return verify(bench, arguments.table, chosen, accepting=arguments.accept)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def verify(
    bench: Workbench,
    table: str,
    part: dict[str, list[int]] | None = None,
    *,
    accepting: bool = False,
) -> int:
    """Compute a table again and print PASS, or the numbers that differ from the stored ones.

    An interrupted verification resumes: its folder is removed only when the comparison is done.

    Args:
        part: `folds` and `seeds` of the table; all without it.
        accepting: if every count is equal, note that the code behind the stored results gives the
            numbers of today's code.

    Returns:
        0 if all numbers agree, 1 if some differ, 2 if none are stored.
    """
    _, measurements = plan_of(table, bench.config.profile, part or {})
    before = stored(bench, measurements)
    missing = len(measurements) - len(before)
    if missing:
        print(
            f"{missing} of {len(measurements)} results of {table} are not stored; "
            f"make reproduce-{table} computes them"
        )
        return 2
    folder = bench.home / "build" / "verify" / table
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cache").exists():
        (folder / "cache").symlink_to((bench.home / "cache").resolve())
    again = compute(replace(bench, home=folder), table, measurements)
    differing = compare(before, again)
    if made_alike(before, again):
        rule = "same processor and packages, so all numbers must be equal"
    else:
        rule = (
            "another processor or other packages, so means over folds may differ by "
            f"{TOLERANCE} points, or by the stored interval of a trained method if that is larger"
        )
    print(f"{table}: {len(measurements)} results computed again; {rule}.")
    shutil.rmtree(folder)
    if len(differing):
        print(differing.to_string(index=False))
        print(f"FAIL: {len(differing)} numbers differ")
        return 1
    print("PASS")
    if accepting:
        _accept(bench, table, before, again)
    return 0


def _accept(
    bench: Workbench, table: str, before: Sequence[Result], again: Sequence[Result]
) -> None:
    """Note pairs of digests whose counts are all equal, of scores and of trainings."""
    evidence = f"{bench.config.profile} {table}"
    pairs: dict[tuple[str, str], bool] = {}
    for older, newer in zip(before, again, strict=True):
        pair = older.code, newer.code
        equal = np.array_equal(older.confusion, newer.confusion)
        equal &= np.array_equal(older.raw_confusion, newer.raw_confusion)
        pairs[pair] = pairs.get(pair, True) and equal
        run = Job(bench, older.measurement).run
        if run is not None and run.trained_by:
            pair = run.trained_by, training_code()
            pairs[pair] = pairs.get(pair, True) and equal
    for (older, newer), equal in pairs.items():
        if equal and not is_todays(older, newer):
            accept(older, newer, evidence)
            print(f"code {newer} gives the numbers of code {older}")


def compare(before: Sequence[Result], again: Sequence[Result]) -> pd.DataFrame:
    """The numbers of `scores` that differ by more than is allowed, a line each.

    Columns: those of `KEYS`; number ("value", with the bias, or "raw"); stored, again, allowed, in
    points of mIoU*.
    """
    pairs = scores(before).merge(scores(again), on=KEYS, suffixes=("", "_again"), validate="1:1")
    if made_alike(before, again):
        pairs["allowed"] = 0.0
    else:
        pairs = pairs[pairs["fold"] == "mean"]
        interval = pairs["half_width"].fillna(0).where(pairs["method"].isin(TRAINED), 0)
        pairs = pairs.assign(allowed=interval.clip(lower=TOLERANCE))
    numbers = []
    for number in ("value", "raw"):
        frame = pairs[[*KEYS, "allowed"]].assign(
            number=number, stored=pairs[number], again=pairs[f"{number}_again"]
        )
        numbers.append(frame)
    compared = pd.concat(numbers)[[*KEYS, "number", "stored", "again", "allowed"]]
    return compared[(compared["again"] - compared["stored"]).abs() > compared["allowed"]]


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
