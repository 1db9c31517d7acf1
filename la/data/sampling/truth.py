"""Which annotations of an image count as truth under a protocol (docs/scoring.md).

Annotations are numbered as in the index. Targets are painted from `painted_rows`, and prompts are
drawn from `instances_of`.
"""

import numpy as np

from la.config import Protocol
from la.data.coco.index import CocoIndex
from la.types import IGNORE


def instances_of(
    index: CocoIndex,
    protocol: Protocol,
    image_id: int,
    class_id: int,
) -> list[int]:
    """The annotations of a class on an image that can be prompted, in file order.

    Crowds cannot be prompted, small instances only if the protocol keeps them.
    """
    annotations = index.annotations_of(image_id)
    of_image = slice(annotations.start, annotations.stop)
    category = index.category_ids.searchsorted(class_id)
    counts = index.annotation_category[of_image] == category
    counts &= ~index.annotation_crowd[of_image]
    if protocol.small_instances != "keep":
        counts &= index.annotation_area[of_image] >= protocol.small_area
    return (annotations.start + np.flatnonzero(counts)).tolist()


def painted_rows(
    index: CocoIndex,
    protocol: Protocol,
    image_id: int,
    class_ids: tuple[int, ...],
    fold_class_ids: tuple[int, ...],
) -> list[tuple[int, int]]:
    """(annotation, row of C) of each instance that a target shows, in the order of painting.

    Crowds come first, so that single instances are painted on top of them.

    Args:
        class_ids: the episode's classes; class_ids[n] is row n + 1.
        fold_class_ids: the classes of the fold, for `protocol.extra_unseen`.
    """
    row_of_category = np.zeros(len(index.category_ids), dtype=np.int64)
    if protocol.extra_unseen == "exclude":
        row_of_category[index.category_ids.searchsorted(fold_class_ids)] = IGNORE
    episode_categories = index.category_ids.searchsorted(class_ids)
    row_of_category[episode_categories] = range(1, 1 + len(class_ids))

    annotations = index.annotations_of(image_id)
    of_image = slice(annotations.start, annotations.stop)
    rows = row_of_category[index.annotation_category[of_image]]
    crowd = index.annotation_crowd[of_image]
    small = ~crowd & (index.annotation_area[of_image] < protocol.small_area)
    row_by_rule = {"ignore": IGNORE, "background": 0, "drop": 0}
    for which, rule in ((crowd, protocol.crowd), (small, protocol.small_instances)):
        if rule in row_by_rule:
            rows[which & (rows != 0)] = row_by_rule[rule]
    crowds_first = np.argsort(~crowd, kind="stable")
    painted = crowds_first[rows[crowds_first] != 0]
    numbers = annotations.start + painted
    return list(zip(numbers.tolist(), rows[painted].tolist(), strict=True))
