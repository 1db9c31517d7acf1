"""Cell results made by hand, for tests of tables and reports: no model, no data."""

import numpy as np

from la.experiment.results import Cell, CellResult

CLASSES = (3, 7, 11)


def result(
    method="la", fold=0, seed=0, confusion=((90, 10), (20, 30)), ids=((3,),), shots=1, **fields
) -> CellResult:
    """A cell of one confusion a list of class ids; one confusion is used for every episode."""
    confusion = np.asarray(confusion, np.int64)
    if confusion.ndim == 2:
        confusion = np.repeat(confusion[None], len(ids), axis=0)
    cell = Cell(method, fold, len(ids[0]), shots, seed, len(ids), **fields)
    return CellResult(
        cell=cell,
        classes=CLASSES,
        class_ids=np.array(ids),
        confusion=confusion,
        episodes_sha256="e" * 64,
        checkpoint_sha256="",
        data="by hand 0",
        bias=0.0,
        seconds=6.0,
        provenance={"commit": "abc"},
    )


def with_iou(percent: int, **fields) -> CellResult:
    """A cell whose one class has this IoU in percent."""
    return result(confusion=((100, 0), (100 - percent, percent)), **fields)
