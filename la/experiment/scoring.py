"""The number of a cell: its segmenter, fitted on seen classes, its counts, and its file.

A cell is known by its own fields and by its model, data and backbone; one whose file exists is not
computed again. Nothing here knows which table asks.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import reduce

from la.config import digest, weights_folder
from la.data.download import published_model
from la.data.episodes import list_sha256
from la.experiment.methods import BIAS, method
from la.experiment.results import Cell, CellResult, load_cell, provenance, save_cell
from la.experiment.runs import run_folder, train
from la.experiment.workbench import Report, Workbench, images_of
from la.files import write_whole
from la.learn import checkpoints
from la.learn.evaluation import best_value, count
from la.types import Episode, PromptKind, Segmenter

FITTING_SEED = 1_000  # of lists of seen classes; far from any evaluation seed


@dataclass(frozen=True)
class Fitted:
    """A segmenter as the tables score it."""

    segmenter: Segmenter
    bias: float = 0.0  # added to the background's score
    checkpoint_sha256: str = ""  # "" without weights


def fitted(bench: Workbench, cell: Cell) -> Fitted:
    """The method of a cell as the tables score it; trained, and fitted on seen classes, once.

    A trained model is fitted to each setting; a method without training has one value a fold,
    whatever the table: that of 2-way 1-shot with masks.
    """
    chosen = method(cell.method)
    if chosen.build:
        found = Fitted(chosen.build(bench.config.model))
    elif chosen.configure:
        found = loaded(bench, train(bench, cell.method, cell.fold))
    else:
        found = loaded(bench, published_model(weights_folder(), cell.fold))
    if chosen.fitted is None:
        return found
    name, values = chosen.fitted
    cell = replace(cell, episodes=bench.config.evaluation.seen_episodes, seed=FITTING_SEED)
    if chosen.build:
        masks = (PromptKind.MASK,)
        cell = replace(cell, n_ways=2, k_shots=1, kinds=masks, protocol="clean")
    path = bench.results / "fits" / cell_path(bench, cell).name
    if not bench.exists(path):
        episodes = bench.episodes(cell, seen=True)
        if name == BIAS:
            counts = _count(bench, found.segmenter, episodes, cell, values)
        else:
            tried = (replace(found.segmenter, **{name: value}) for value in values)
            counts = [_count(bench, segmenter, episodes, cell)[0] for segmenter in tried]
        value = best_value(values, counts, episodes)
        note = {"cell": str(cell), "value": value, "episodes_sha256": list_sha256(episodes)}
        bench.once(lambda: write_whole(path, json.dumps(note, indent=1)))
    value = json.loads(path.read_text())["value"]
    if name == BIAS:
        return replace(found, bias=value)
    return replace(found, segmenter=replace(found.segmenter, **{name: value}))


def loaded(bench: Workbench, source: str | Path) -> Fitted:
    """A model that `la.load` can load, with the bias that it brings."""
    model = checkpoints.load(source).to(bench.device)
    return Fitted(model, model.card.bias, model.card.sha256)


def cell_path(bench: Workbench, cell: Cell) -> Path:
    """The file of a cell."""
    chosen = method(cell.method)
    if chosen.configure:
        model = run_folder(bench, cell.method, cell.fold).name
    elif chosen.build:
        model = str(bench.config.model.image_size)
    else:
        model = _sha256(published_model(weights_folder(), cell.fold))
    backbone = "of the checkpoint" if bench.reads_pixels else bench.backbone_sha256
    identity = {"data": bench.data.fingerprint, "backbone": backbone, "model": model}
    return bench.results / "cells" / cell.file_name(digest(identity))


def run_cell(bench: Workbench, cell: Cell, report: Report = lambda n: None) -> CellResult:
    """The result of a cell; computed only if its file is missing."""
    path = cell_path(bench, cell)
    if bench.exists(path):
        report(cell.episodes)
        return load_cell(path)
    result = measure(bench, cell, fitted(bench, cell), report)
    bench.once(lambda: save_cell(result, path))
    return result


def measure(
    bench: Workbench, cell: Cell, chosen: Fitted, report: Report = lambda n: None, **options
) -> CellResult:
    """What a segmenter scores on the episodes of a cell; nothing is stored.

    `options` are of the `BatchLoader`.
    """
    episodes, started = bench.episodes(cell), time.perf_counter()
    biases = (chosen.bias,)
    counts = _count(bench, chosen.segmenter, episodes, cell, biases, report, **options)[0]
    return CellResult(
        cell=cell,
        classes=bench.classes(cell.fold, seen=False),
        class_ids=np.array([e.class_ids for e in episodes]),
        confusion=counts,
        episodes_sha256=list_sha256(episodes),
        checkpoint_sha256=chosen.checkpoint_sha256,
        data=f"{bench.data.name} {bench.data.fingerprint}",
        bias=chosen.bias,
        seconds=round(time.perf_counter() - started, 2),
        provenance=provenance(),
    )


def _count(
    bench: Workbench,
    segmenter: Segmenter,
    episodes: Sequence[Episode],
    cell: Cell,
    biases: Sequence[float] = (0.0,),
    report: Report = lambda n: None,
    **options,
) -> np.ndarray:
    """`count`, shared out over the processes, whose counts, whole numbers, are added up."""
    rank, world = bench.ranks.process_index, bench.ranks.num_processes
    loader = bench.loader(
        bench.data.test, cell.fold, cell.protocol, images=images_of(episodes), **options
    )
    mine = count(
        segmenter, episodes[rank::world], loader, biases=biases, device=bench.device,
        batch_size=bench.config.evaluation.batch_size, report=report,
    )  # fmt: skip
    counts = np.zeros((len(biases), len(episodes), *mine.shape[2:]), mine.dtype)
    counts[:, rank::world] = mine
    return reduce(torch.from_numpy(counts).to(bench.device), "sum").cpu().numpy()


_sha256 = cache(checkpoints.file_sha256)
