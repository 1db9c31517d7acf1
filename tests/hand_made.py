"""Measurement results made by hand, for tests of tables and reports: no model, no data."""

import numpy as np

from la.experiment.setup.measurements import Fit, Measurement, Result

CLASSES = (3, 7, 11)


def result(
    method="la", fold=0, seed=0, confusion=((90, 10), (20, 30)), ids=((3,),), shots=1, **fields
) -> Result:
    """One confusion for each list of class ids; a single one is used for every episode."""
    confusion = np.asarray(confusion, np.int64)
    if confusion.ndim == 2:
        confusion = np.repeat(confusion[None], len(ids), axis=0)
    measurement = Measurement(method, fold, len(ids[0]), shots, seed, len(ids), **fields)
    return Result(
        measurement=measurement,
        classes=CLASSES,
        class_ids=np.array(ids),
        confusion=confusion,
        raw_confusion=confusion,
        fit=Fit(0.0),
        episodes_sha256="e" * 64,
        checkpoint_sha256="",
        data="by hand 0",
        code="c0de",
        seconds=6.0,
        provenance={"commit": "abc"},
    )


def with_iou(percent: int, **fields) -> Result:
    """A result whose one class has this IoU in percent."""
    return result(confusion=((100, 0), (100 - percent, percent)), **fields)


def scored(method, n_ways, percent, shots=1):
    """A result whose N classes have this IoU in percent."""
    confusion = np.zeros((n_ways + 1, n_ways + 1), int)
    confusion[0, 0] = 100
    for row in range(1, n_ways + 1):
        confusion[row, row], confusion[row, 0] = percent, 100 - percent
    ids = (CLASSES[:n_ways],)
    return result(method=method, confusion=confusion, ids=ids, shots=shots)
