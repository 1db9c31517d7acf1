"""Many measurements at once: trained, evaluated and stored, on every core or on one GPU."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import torch

from la.experiment.job import Job, listed
from la.experiment.methods import Method, label
from la.experiment.setup.drawable import drawable
from la.experiment.setup.measurements import Measurement, Result, Store
from la.experiment.setup.workbench import Report, Workbench
from la.files import progress_bar
from la.learn.cost import cost
from la.learn.device import to_device
from la.types import Segmenter
from la.wording import counted

log = logging.getLogger(__name__)


def compute(
    bench: Workbench,
    table: str,
    measurements: Sequence[Measurement],
    *,
    recompute: bool = False,
) -> list[Result]:
    """The results of a table; missing ones are trained, evaluated and stored in its file.

    Results of other tables are used again. On a CPU each core takes one training at a time with
    one thread, so that the numbers do not depend on the number of cores. An interrupted call
    resumes where it stopped.

    Args:
        table: the name of the file in `measurements/` that keeps the results.
        recompute: compute again what was computed, or trained, by other code than today's.

    Raises:
        UserError: a setting cannot be drawn from the data; with the user's own data, none can.
    """
    if bench.source is not None:
        measurements = drawable(bench, measurements)
    jobs = {job.key: job for job in (Job(bench, m) for m in measurements)}
    codes = {key: job.code for key, job in jobs.items()}
    store = Store(bench.results / "measurements")
    reused = store.find(jobs, table, codes)
    bench.ranks.wait_for_everyone()  # before any rank writes a file that another rank looks for
    outdated = {key for key, result in reused.items() if not jobs[key].is_current(result)}
    if outdated and recompute:
        for run in {jobs[key].run for key in outdated}:
            if run is not None:
                bench.once(run.set_aside)
        reused = {key: result for key, result in reused.items() if key not in outdated}
    missing = {key: job for key, job in jobs.items() if key not in reused}
    asked = counted(len(jobs), "measurement")
    log.warning("%s: %s, %d stored, %d to compute", table, asked, len(reused), len(missing))
    if outdated and not recompute:
        log.warning(
            "%s of %s computed by other code than today's, or by models that it trained; "
            "--recompute, or RECOMPUTE=1 for make, computes what is outdated again",
            counted(len(outdated), "stored result"),
            table,
        )
    # One episode of each setting is drawn, so that an impossible one stops the run at once.
    for setting in dict.fromkeys(job.measurement.one_episode for job in missing.values()):
        bench.episodes(setting)
    if missing:
        _compute(bench, table, list(missing.values()))
    results = store.find(jobs, table, codes)
    bench.once(lambda: store.complete(table, results))
    return [results[key] for key in jobs]


def stored(bench: Workbench, measurements: Iterable[Measurement]) -> list[Result]:
    """The results of those measurements that have been computed; nothing is computed."""
    jobs = {job.key: job for job in (Job(bench, m) for m in dict.fromkeys(measurements))}
    codes = {key: job.code for key, job in jobs.items()}
    results = Store(bench.results / "measurements").find(jobs, codes=codes)
    return [results[key] for key in jobs if key in results]


def score(
    bench: Workbench, name: str, segmenter: Segmenter, measurements: Iterable[Measurement]
) -> list[Result]:
    """The results of a segmenter of your own on the same episodes, for any table.

    Nothing is fitted or stored, because a file could not distinguish two versions of your code.
    """
    lists = dict.fromkeys(replace(m, method=name) for m in measurements)
    method = Method(name, build=lambda model: segmenter)
    return [Job(bench, m, method).measure() for m in lists]


def rejudged(bench: Workbench, results: Iterable[Result], truth: str) -> list[Result]:
    """The predictions of these results, counted against the truth of the protocol `truth`.

    Episodes and prompts stay those of the measurement. Nothing is stored.
    """
    rejudged_results = []
    with bench.one_thread():
        for result in results:
            job = Job(bench, result.measurement)
            other = job.count(job.fitted(), truth=bench.rules(truth))
            named = replace(result.measurement, protocol=truth)
            rejudged_results.append(replace(other, measurement=named))
    return rejudged_results


def histories(bench: Workbench, names: Iterable[str], fold: int) -> dict[str, pd.DataFrame]:
    """Step, loss, gradient norm and learning rate of the first training of methods, by label.

    A model that is not here is trained: stored results may come from another machine.
    """
    with bench.one_thread():
        runs = {name: Job(bench, Measurement(name, fold, 1, 1, 0, 1)).run for name in names}
        paths = {label(name): run.train() for name, run in runs.items() if run is not None}
    return {
        name: pd.read_json(path.with_name("history.jsonl"), lines=True)
        for name, path in paths.items()
    }


def costs(bench: Workbench, measurements: Iterable[Measurement], n_queries: int) -> pd.DataFrame:
    """Time and memory of each method and setting: ms per query, peak MB.

    On one thread, each query with its whole support set; reading features and scoring do not
    count. No model is trained: a network with initial weights costs as much as a trained one.
    """
    rows = {}
    for m in measurements:
        key = (label(m.method), m.n_ways, m.k_shots)
        if key not in rows:
            queries = listed(bench, replace(m, episodes=n_queries))
            batches = [
                to_device(queries.load([episode]), bench.device) for episode in queries.episodes
            ]
            rows[key] = asdict(cost(Job(bench, m).untrained(), batches))
    names = ["method", "n_ways", "k_shots"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index=names).reset_index()


def _compute(bench: Workbench, table: str, jobs: list[Job]) -> None:
    """Train, count and store, in groups of jobs that share a training.

    Trained methods come first, because they take longest.
    """
    groups: dict[tuple[str, int], list[Job]] = {}
    steps: dict[str, int] = {}  # of each training
    for job in sorted(jobs, key=lambda job: job.run is None):
        name = job.measurement.method
        if job.run is not None:
            name = job.run.folder.name
            steps[name] = job.run.config.train.steps
        groups.setdefault((name, job.measurement.fold), []).append(job)
    if steps:
        log.warning("%s to load, or to train if missing", counted(len(steps), "model"))
    n_episodes = sum(job.measurement.episodes for job in jobs)
    units = sum(steps.values()) + n_episodes
    with progress_bar(total=units, desc="steps and episodes", unit="") as bar:

        def report(n_units: int) -> None:
            bar.update(n_units)

        alone = bench.device.type == "cuda" or bench.ranks.num_processes > 1
        if alone or len(groups) == 1:
            with bench.one_thread():
                for group in groups.values():
                    _run_group(bench, table, _measurements(group), report)
        else:
            _in_processes(bench, table, [_measurements(g) for g in groups.values()], report)


def _measurements(jobs: Iterable[Job]) -> list[Measurement]:
    return [job.measurement for job in jobs]


def _run_group(
    bench: Workbench, table: str, measurements: list[Measurement], report: Report | None = None
) -> None:
    """Train one model if it is missing, then count all measurements of it and store them."""
    report = report or _count_units
    jobs = [Job(bench, m) for m in measurements]
    if jobs[0].run is not None:
        jobs[0].run.train(report=report)
    results = {job.key: job.measure(report) for job in jobs}
    store = Store(bench.results / "measurements")
    bench.once(lambda: store.add(table, results))


def _in_processes(
    bench: Workbench, table: str, groups: list[list[Measurement]], report: Report
) -> None:
    """Run the groups in one process per core; an exception in a worker is raised here."""
    context = multiprocessing.get_context("spawn")
    units = context.Value("q", 0)
    pool = ProcessPoolExecutor(os.cpu_count(), context, _start_worker, (units,))
    pending = {pool.submit(_run_group, bench, table, group) for group in groups}
    n_reported = 0
    try:
        while pending:
            done, pending = wait(pending, timeout=0.5)
            n_done = units.get_obj().value  # not locked, as a killed worker may hold the lock
            report(n_done - n_reported)
            n_reported = n_done
            for future in done:
                future.result()
    finally:
        pool.shutdown(cancel_futures=True, wait=not pending)


_UNITS: Any = None  # in a worker: the count of steps and episodes that the parent reports


def _start_worker(units: Any) -> None:
    global _UNITS
    _UNITS = units
    torch.set_num_threads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _count_units(n_units: int) -> None:
    with _UNITS.get_lock():
        _UNITS.value += n_units


def _exit_with_parent() -> None:
    """Exit when the parent dies; the next run resumes from the saved state."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
