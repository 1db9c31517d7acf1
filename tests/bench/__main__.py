"""`python -m tests.bench [--quick] [--threads 2]`: prints the table, writes bench.json, bench.md.

All of it takes about half an hour on two cores, `--quick` under three minutes. Times are CPU times
of one thread, which other programs disturb little, or with more threads wall times. Writing to
disk, where waiting counts, is always wall time.
"""

import argparse
import math
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from la.provenance import processor
from tests.bench.coco_size import write_annotations, write_pictures
from tests.bench.loading import loading_records
from tests.bench.memory import peak_mb
from tests.bench.reading import cache_records, collate_records, index_records, mask_records
from tests.bench.records import HEAD, Bar, Clock, Record, interleaved, line, record, write
from tests.bench.sizes import QUICK, Sizes
from tests.bench.steps import (
    MAE,
    SAM,
    SIDE,
    config_of,
    dense,
    episodes,
    learner,
    matmul,
    operations,
    our_logits,
    profiled,
    reference_logits,
    step,
)
from tests.bench.using import precision_records, predictor_records

REPOSITORY = Path(__file__).resolve().parents[2]
PHOTOGRAPHS = Path("coco-real") / "annotations" / "instances_visible.json"
TOO_LARGE = 200  # pairs of the reference above which it does not train: 11 GB, and a minute a step
BARS = {
    ("forward", MAE, (1, 20, 1)): Bar("ratio", ">=", 6),
    ("forward", MAE, (1, 5, 1)): Bar("ratio", ">=", 2.5),
    ("forward", MAE, (1, 1, 1)): Bar("ratio", ">=", 1.3),
    ("forward", SAM, (1, 5, 1)): Bar("ratio", ">=", 2.5),
    ("forward + backward", MAE, (4, 2, 2)): Bar("ratio", ">=", 1.5),
    ("forward + backward", MAE, (16, 1, 1)): Bar("ratio", ">=", 1.5),
    ("forward memory", MAE, (1, 20, 1)): Bar("ratio", ">=", 8),
    ("forward memory", SAM, (1, 5, 1)): Bar("ours", "<=", 4000),
}


def step_records(
    sizes: Sizes, clock: Clock, profiles: dict[str, str], *, train: bool
) -> Iterator[Record]:
    """Time and operations of steps; what misses its bar is profiled into `profiles`."""
    kind, ours_at = "forward + backward" if train else "forward", {}
    for name, shape in sizes.train if train else sizes.forward:
        work, bar = f"{kind}, {name} {_words(shape)}", BARS.get((kind, name, shape))
        model = learner(config_of(name, "ours"))
        batch = episodes(config_of(name, "ours"), shape)
        ours = step(our_logits(model, batch), model, train=train)
        arms, note = {"matmul": matmul(), "ours": ours}, ""
        if train and _pairs(shape) > TOO_LARGE:
            note = "reference left out: it takes 11 GB and over a minute"
        else:
            logits = reference_logits(model, dense(batch), train=train)
            arms["reference"] = step(logits, model, train=train)
        if name == SAM:
            masked = learner(config_of(name, "masked"))
            arms["masked"] = step(our_logits(masked, batch), masked, train=train)
        taken = interleaved(arms, clock, seconds=sizes.seconds, least=1 if train else sizes.least)
        reference = taken.get("reference", ())
        found = record(work, "s", taken["ours"], reference, bar, note)
        yield found
        if "masked" in taken:
            note = "the paper's form, in which absent pairs are not attended"
            yield record(f"{work}, masked", "s", taken["masked"], reference, bar, note)
        counted = {n: operations(arms[n]) for n in ("ours", "reference") if n in arms}
        yield from _operation_records(work, {n: flop for n, (flop, _) in counted.items()}, taken)
        if not train and (name, shape[0], shape[2]) == (MAE, 1, 1):
            ours_at[shape[1]] = taken["ours"], reference
        if not train:
            ours_made, reference_made = (logits for _, logits in counted.values())
            error = [(ours_made - reference_made).abs().max().item()]
            yield record(f"{work}, largest difference", "logit", error, bar=Bar("ours", "<=", 1e-5))
        if found.met is False:
            profiles[work] = profiled(ours)
    if len(ours_at) > 1:
        yield _exponent(ours_at)


def _operation_records(
    work: str, flop: dict[str, int], taken: dict[str, list[float]]
) -> Iterator[Record]:
    """Operations in a step, and how near it comes to the pace of a plain matrix product."""
    pace = [2 * SIDE**3 / seconds / 1e9 for seconds in taken["matmul"]]  # GFLOP/s
    counts = {name: count / 1e9 for name, count in flop.items()}
    shares = {
        name: [100 * gflop / s / p for s, p in zip(taken[name], pace, strict=True)]
        for name, gflop in counts.items()
    }
    needed = [[counts[n]] if n in counts else () for n in ("ours", "reference")]
    yield record(f"{work}, operations", "GFLOP", *needed)
    note = f"of {sorted(pace)[len(pace) // 2]:.0f} GFLOP/s, a product of {SIDE} x {SIDE} matrices"
    of_pace = shares["ours"], shares.get("reference", ())
    yield record(f"{work}, share of the matmul rate", "%", *of_pace, note=note)


def memory_records(sizes: Sizes, threads: int, *, train: bool) -> Iterator[Record]:
    """Peak memory of steps above the weights, each step in a process of its own."""
    kind = "forward + backward memory" if train else "forward memory"
    for name, shape in sizes.train_memory if train else sizes.memory:
        work, bar = f"{kind}, {name} {_words(shape)}", BARS.get((kind, name, shape))
        above, note = peak_mb(name, "ours", shape, train=train, threads=threads)
        note = f"whole process {note:,.0f} MB"
        reference = ()
        if train and _pairs(shape) > TOO_LARGE:
            note += "; reference left out: it takes 11 GB"
        else:
            reference = peak_mb(name, "reference", shape, train=train, threads=threads)[:1]
        yield record(work, "MB", [above], reference, bar, note)
        if name == SAM:
            above, whole = peak_mb(name, "masked", shape, train=train, threads=threads)
            note = f"whole process {whole:,.0f} MB"
            yield record(f"{work}, masked", "MB", [above], reference, bar, note)


def _exponent(taken: dict[int, tuple[list[float], list[float]]]) -> Record:
    """How the time grows from the fewest to the most ways."""
    few, many = min(taken), max(taken)

    def slope(arm: int) -> list[float]:
        pairs = zip(taken[few][arm], taken[many][arm], strict=False)
        return [math.log(b / a) / math.log(many / few) for a, b in pairs]

    work = f"forward, {MAE}, 1-shot: exponent of time from N = {few} to {many}"
    return record(work, "exponent", slope(0), slope(1), Bar("ours", "<=", 1.15))


def run(sizes: Sizes, out: Path, threads: int = 1) -> list[Record]:
    """Measure, print and write everything to `out`; the records."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _run(sizes, out, threads)
    finally:
        torch.set_num_threads(before)


def _run(sizes: Sizes, out: Path, threads: int) -> list[Record]:
    clock = time.process_time if threads == 1 else time.perf_counter
    records, profiles, began = [], {}, time.perf_counter()
    print(HEAD)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in (
            step_records(sizes, clock, profiles, train=False),
            step_records(sizes, clock, profiles, train=True),
            memory_records(sizes, threads, train=False),
            memory_records(sizes, threads, train=True),
            index_records(sizes, folder, clock),
            photograph_records(sizes, folder, clock, profiles),
            cache_records(sizes, folder, clock),
            predictor_records(sizes, clock),
            precision_records(sizes),
        ):
            for found in part:
                records.append(found)
                print(line(found), flush=True)
    about = (
        f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}, float32, "
        f"Python {platform.python_version()}, PyTorch {torch.__version__}; "
        f"{(time.perf_counter() - began) / 60:.0f} minutes. Medians of repeated runs, interleaved, "
        "with the least and the most in brackets; the ratio says how many times ours is better. "
        f"Times are {'CPU times of one thread' if threads == 1 else 'wall times'}; that of writing"
        " to disk is wall time. Steps of the model: random weights and "
        "features, one mask per support image; their reference is the published computation "
        "written plainly (`tests/dense_reference.py`)."
    )
    shown = "".join(
        f"\n## Profile: {work}\n\n```\n{text}\n```\n" for work, text in profiles.items()
    )
    write(records, about, shown, out)
    return records


def photograph_records(
    sizes: Sizes, folder: Path, clock: Clock, profiles: dict[str, str]
) -> Iterator[Record]:
    """On photographs of COCO where they are at hand, else on annotations that are generated."""
    path = Path(os.environ.get("LA_SHARED", REPOSITORY.parent / "shared")) / PHOTOGRAPHS
    if not path.exists():
        path = write_annotations(folder / "instances_drawn.json", 325, 2_400)
        write_pictures(path)
    yield from mask_records(sizes, path, clock)
    yield from collate_records(sizes, path, folder, clock, profiles)
    yield from loading_records(sizes, path, folder)


def _words(shape: tuple[int, int, int]) -> str:
    return "(B, N, K) = ({}, {}, {})".format(*shape)


def _pairs(shape: tuple[int, int, int]) -> int:
    """(support image, class) pairs that the reference computes."""
    n_episodes, n_ways, k_shots = shape
    return n_episodes * n_ways * k_shots * (n_ways + 1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repeats, 3 minutes")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (default: 1)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "results", help="a folder")
    given = parser.parse_args()
    run(QUICK if given.quick else Sizes(), given.out, given.threads)


if __name__ == "__main__":
    main()
