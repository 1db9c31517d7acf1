"""Numbers of annotation files, which exporters also write as text."""

import math
from collections.abc import Iterable


def to_number(value: object) -> float:
    """A number, which may be written as text; NaN for anything else."""
    if type(value) not in (int, float, str):
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return math.nan


def not_finite(values: Iterable[object]) -> str:
    """The first value that is not a finite number, with these words; "" if there is none."""
    for value in values:
        if not math.isfinite(to_number(value)):
            return f"{value!r:.40}, which is not a finite number"
    return ""
