"""The one composer: many cells at once, trained, evaluated and counted on every core or one GPU."""

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing.managers import SyncManager
from queue import Empty

import pandas as pd
import torch

from la.experiment.methods import label, method
from la.experiment.results import Cell, CellResult, load_cell
from la.experiment.runs import train
from la.experiment.scoring import Fitted, cell_path, fitted, measure, run_cell
from la.experiment.workbench import Report, Workbench
from la.files import progress_bar
from la.learn.cost import cost
from la.types import Segmenter, to_device

log = logging.getLogger(__name__)


def compute(bench: Workbench, cells: Sequence[Cell]) -> list[CellResult]:
    """The results of all cells; missing ones are trained and evaluated, with one progress bar.

    Without a GPU each core takes one (method, fold) at a time with one thread, so that the numbers
    do not depend on how many cores there are. Stopped at any moment, the same call goes on.
    """
    cells = list(dict.fromkeys(cells))
    missing = [cell for cell in cells if not cell_path(bench, cell).exists()]
    reused = len(cells) - len(missing)
    log.warning("%d cells: %d reused, %d to compute", len(cells), reused, len(missing))
    if missing:
        for cell in dict.fromkeys(replace(c, method="", seed=0, episodes=1) for c in missing):
            bench.episodes(cell)  # refuses what cannot be drawn before the work
        jobs: dict[tuple[str, int], list[Cell]] = {}
        for cell in sorted(missing, key=lambda c: method(c.method).configure is None):
            name = method(cell.method).trains_as or cell.method
            jobs.setdefault((name, cell.fold), []).append(cell)
        first = [method(job[0].method) for job in jobs.values()]
        steps = [m.configure(bench.config).train.steps for m in first if m.configure]
        if steps:
            log.warning("%d models to train, or to take as they are", len(steps))
        units = sum(steps) + sum(cell.episodes for cell in missing)
        with progress_bar(total=units, desc="steps and episodes", unit="") as bar:
            if bench.device.type == "cuda" or len(jobs) == 1 or bench.ranks.num_processes > 1:
                with _one_thread():
                    for job in jobs.values():
                        _job(bench, job, bar.update)
            else:
                _in_processes(bench, list(jobs.values()), bar.update)
    return [run_cell(bench, cell) for cell in cells]


def stored(bench: Workbench, cells: Iterable[Cell]) -> list[CellResult]:
    """The results of those cells that have been computed; nothing is computed."""
    paths = [cell_path(bench, cell) for cell in dict.fromkeys(cells)]
    return [load_cell(path) for path in paths if path.exists()]


def score(
    bench: Workbench, name: str, segmenter: Segmenter, cells: Iterable[Cell]
) -> list[CellResult]:
    """The results of a segmenter of your own on the very episodes of these cells, for any table.

    Nothing is fitted, and nothing stored: a file could not tell two versions of your code apart.
    """
    lists = dict.fromkeys(replace(cell, method=name) for cell in cells)
    return [measure(bench, cell, Fitted(segmenter)) for cell in lists]


def rejudged(bench: Workbench, results: Iterable[CellResult], truth: str) -> list[CellResult]:
    """The very predictions of these results, counted against what protocol `truth` calls true.

    Episodes and prompts stay those of the cell. Nothing is stored.
    """
    again = []
    with _one_thread():
        for result in results:
            cell, chosen = result.cell, fitted(bench, result.cell)
            found = measure(bench, cell, chosen, truth=bench.rules(truth))
            cell = replace(cell, protocol=truth)
            again.append(replace(result, cell=cell, confusion=found.confusion))
    return again


def histories(bench: Workbench, names: Iterable[str], fold: int) -> dict[str, pd.DataFrame]:
    """Step, loss, gradient norm and learning rate of the runs of trained methods, by label.

    What is not trained yet is: stored cells may come from another machine, without their models.
    """
    with _one_thread():
        paths = {label(name): train(bench, name, fold) for name in names}
    return {
        name: pd.read_json(path.with_name("history.jsonl"), lines=True)
        for name, path in paths.items()
    }


def costs(bench: Workbench, cells: Iterable[Cell], n_queries: int = 8) -> pd.DataFrame:
    """Time and memory of each method and setting among the cells: ms per query, peak MB.

    On one thread, each query with its whole support set; reading features and scoring do not count.
    """
    rows = {}
    for cell in cells:
        key = (label(cell.method), cell.n_ways, cell.k_shots)
        if key not in rows:
            loader = bench.loader(bench.data.test, cell.fold, cell.protocol)
            episodes = bench.episodes(replace(cell, episodes=n_queries))
            batches = [to_device(loader([e]), bench.device) for e in episodes]
            rows[key] = asdict(cost(fitted(bench, cell).segmenter, batches))
    names = ["method", "n_ways", "k_shots"]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index=names).reset_index()


def _in_processes(bench: Workbench, jobs: list[list[Cell]], report: Report) -> None:
    """A job at a time in each of as many processes as there are cores; the first failure raises."""
    context = multiprocessing.get_context("spawn")
    manager = SyncManager(ctx=context)
    manager.start(_watch_parent)
    with manager:
        queue = manager.Queue()
        pool = ProcessPoolExecutor(os.cpu_count(), context, _start_worker, (queue,))
        try:
            open_jobs = [pool.submit(_job, bench, job) for job in jobs]
            while open_jobs or not queue.empty():
                with suppress(Empty):
                    report(queue.get(timeout=0.5))
                for done in [job for job in open_jobs if job.done()]:
                    open_jobs.remove(done)
                    done.result()
        finally:
            pool.shutdown(cancel_futures=True, wait=not open_jobs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread on the CPU, as each worker process has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_QUEUE = None  # of the parent's progress bar; set in worker processes only


def _start_worker(queue) -> None:
    global _QUEUE
    _QUEUE = queue
    torch.set_num_threads(1)
    _watch_parent()


def _watch_parent() -> None:
    """A killed run leaves no process behind: what they had saved is where the next one goes on."""

    def end_with_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _job(bench: Workbench, cells: list[Cell], report: Report | None = None) -> None:
    """Train one method on one fold if it must be, then compute its cells."""
    report = report or _QUEUE.put
    if method(cells[0].method).configure is not None:
        train(bench, cells[0].method, cells[0].fold, report=report)
    for cell in cells:
        run_cell(bench, cell, report)
