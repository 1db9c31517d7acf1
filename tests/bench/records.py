"""A measurement: what was done, by us and by a reference, in which unit, with which spread."""

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

Clock = Callable[[], float]
MORE_IS_BETTER = ("/s", "%")  # ends of such units; of all others less is better


@dataclass(frozen=True)
class Bar:
    """What a record must reach, e.g. Bar("ratio", ">=", 6)."""

    of: Literal["ratio", "ours"]
    sign: Literal[">=", "<="]
    value: float

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.value:g}"

    def met(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value >= self.value if self.sign == ">=" else value <= self.value


@dataclass(frozen=True)
class Record:
    """One line of the table. `ratio` says how many times ours is better, whatever the unit."""

    work: str
    ours: float | None  # None where it could not be measured; `note` says why
    reference: float | None
    ratio: float | None
    unit: str
    spread: tuple[float, float] | None  # of ours, least and most of the repeated runs
    reference_spread: tuple[float, float] | None
    runs: int  # of ours
    bar: str
    met: bool | None
    note: str


def record(
    work: str,
    unit: str,
    ours: Sequence[float],
    reference: Sequence[float] = (),
    bar: Bar | None = None,
    note: str = "",
) -> Record:
    """A record of repeated runs: their medians. No runs, no number."""
    a, b = (median(runs) if len(runs) else None for runs in (ours, reference))
    ratio = None
    if a and b:
        ratio = a / b if unit.endswith(MORE_IS_BETTER) else b / a
    judged = {"ratio": ratio, "ours": a}[bar.of] if bar else None
    return Record(
        work,
        a,
        b,
        ratio,
        unit,
        (min(ours), max(ours)) if len(ours) else None,
        (min(reference), max(reference)) if len(reference) else None,
        len(ours),
        str(bar or ""),
        None if judged is None else bar.met(judged),
        note,
    )


def interleaved(
    arms: Mapping[str, Callable[[], object]], clock: Clock, *, seconds: float, least: int
) -> dict[str, list[float]]:
    """Seconds of each arm in repeated runs A B A B, for about `seconds` or `least` rounds.

    Where there is time for more rounds than `least`, one before them is not counted: it warms up.
    """
    began = time.perf_counter()
    rounds = [_round(arms, clock)]
    first = time.perf_counter() - began
    if first * (least + 1) <= seconds:
        rounds.clear()
    while len(rounds) < least or time.perf_counter() - began + first < seconds:
        rounds.append(_round(arms, clock))
    return {name: [one[name] for one in rounds] for name in arms}


def _round(arms: Mapping[str, Callable[[], object]], clock: Clock) -> dict[str, float]:
    taken = {}
    for name, arm in arms.items():
        gc.collect()
        started = clock()
        result = arm()
        taken[name] = clock() - started
        del result
    return taken


def line(found: Record) -> str:
    """One line of the printed table, and a Markdown row."""
    cells = [
        found.work,
        _number(found.ours) + _range(found.spread),
        _number(found.reference) + _range(found.reference_spread),
        _number(found.ratio),
        found.unit,
        {None: "", True: f"{found.bar}: met", False: f"{found.bar}: MISSED"}[found.met],
        found.note,
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = "| work | ours | reference | ratio | unit | bar | note |\n|---|---|---|---|---|---|---|"


def write(records: Sequence[Record], about: str, profiles: str, folder: Path) -> None:
    """bench.json, the list of records, and bench.md, the same as a table with what is to know."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [asdict(found) for found in records]
    (folder / "bench.json").write_text(json.dumps(plain, indent=1, allow_nan=False) + "\n")
    table = "\n".join([HEAD, *map(line, records)])
    (folder / "bench.md").write_text(f"# Speed\n\n{about}\n\n{table}\n{profiles}")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0 or abs(value) < 1e-3:
        return f"{value:.1e}" if value else "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _range(spread: tuple[float, float] | None) -> str:
    if spread is None or spread[0] == spread[1]:
        return ""
    return f" ({_number(spread[0])}-{_number(spread[1])})"
