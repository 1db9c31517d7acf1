"""What two annotation files, or two entries of one file, say about the same thing.

Classes are the same if their names are equal; ids do not matter. Pictures are the same if their
pixels are equal; ids and file names do not matter.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from la.data.coco.entries import row_of_name, same_spelling
from la.data.coco.index import CocoIndex
from la.data.pictures.contents import BLANK
from la.errors import UserError
from la.wording import are, counted, listed


def with_common_classes(train: CocoIndex, test: CocoIndex) -> tuple[CocoIndex, CocoIndex, str]:
    """Both indexes with one list of classes, and what was changed as a phrase, "" for nothing.

    A class has the id of the test file. A class that one file does not list is a class without
    annotations there; if the test file uses its id for another class, it gets the next free id.

    Raises:
        UserError: two classes of one file have the same name, or an id has a different name in each
            file and neither name occurs in the other file, so that a misspelling is likely.
    """
    id_in_train, id_in_test = ids_by_name(train), ids_by_name(test)
    if id_in_train == id_in_test:
        return train, test, ""
    common = dict(id_in_test)
    unused = max([0, *id_in_test.values(), *id_in_train.values()])
    name_in_test = {class_id: name for name, class_id in id_in_test.items()}
    for name, class_id in id_in_train.items():
        if name in common:
            continue
        other = name_in_test.get(class_id)
        if other is not None and other not in id_in_train:
            raise UserError(
                f"class {class_id} is {name!r} in {train.source} and {other!r} in {test.source}, "
                "and neither file lists the other name; give the class one name in both files"
            )
        if other is not None:
            unused += 1
            class_id = unused
        common[name] = class_id
    moved = [name for name, class_id in id_in_train.items() if common[name] != class_id]
    absent = {
        train.source.name: [name for name in common if name not in id_in_train],
        test.source.name: [name for name in common if name not in id_in_test],
    }
    notes = []
    if moved:
        notes.append(f"{counted(len(moved), 'class')} of {train.source.name} renumbered by name")
    for file, names in absent.items():
        if names:
            classes = counted(len(names), "class")
            notes.append(f"{classes} {are(len(names))} not in {file} ({listed(names)})")
    return _renumbered(train, common), _renumbered(test, common), "; ".join(notes)


def without_repetitions(index: CocoIndex) -> CocoIndex:
    """The index with one image for each picture: the one of the lowest id.

    It gets the annotations of all entries of the picture, without duplicates. Images without a
    file, and pictures of one colour, are not merged.
    """
    row_of: dict[tuple, int] = {}  # by picture and stated size
    kept_row = np.arange(len(index.image_ids))
    for row, picture in enumerate(index.pictures):
        if identifies(picture):
            key = (picture, *index.sizes[row].tolist())
            kept_row[row] = row_of.setdefault(key, row)
    rows = np.flatnonzero(kept_row == np.arange(len(kept_row)))
    if len(rows) == len(kept_row):
        return index
    image = kept_row[index.annotation_image]
    moved = image != index.annotation_image
    seen = set()
    kept = []
    for a in np.lexsort((moved, image)).tolist():  # an image's own annotations come first
        key = (image[a], index.annotation_category[a], index.annotation_area[a])
        key += tuple(index.annotation_box[a])
        if not moved[a] or key not in seen:
            kept.append(a)
        seen.add(key)
    fields = {
        name: value[kept] for name, value in vars(index).items() if name.startswith("annotation_")
    }
    fields["annotation_image"] = image[kept]
    return replace(index, **fields).subset(index.image_ids[rows])


def without_absent(index: CocoIndex) -> tuple[CocoIndex, str]:
    """The index without images that lack a file and annotations, and words that complete a note.

    No episode needs them. An image that has annotations and no file stays, and is reported when an
    episode needs it.
    """
    annotated = set(index.annotation_image.tolist())
    kept = []
    for row, picture in enumerate(index.pictures):
        if picture or row in annotated:
            kept.append(row)
    n_absent = len(index.image_ids) - len(kept)
    if not n_absent:
        return index, ""
    note = (
        f"; {counted(n_absent, 'image')} of {index.source.name} without a file or annotations "
        f"{are(n_absent)} left out"
    )
    return index.subset(index.image_ids[kept]), note


def without_empty_classes(indexes: Sequence[CocoIndex]) -> tuple[list[CocoIndex], str]:
    """Indexes with one list of classes, without the unused ones, and words that complete a note.

    A list of COCO's 80 classes often comes with annotations of three: folds are made of the three.
    """
    rows = np.unique(np.concatenate([index.annotation_category for index in indexes]))
    n_empty = len(indexes[0].category_ids) - len(rows)
    if not n_empty or not len(rows):
        return list(indexes), ""
    reduced = []
    for index in indexes:
        names = tuple(index.category_names[row] for row in rows.tolist())
        reduced.append(
            replace(
                index,
                category_ids=index.category_ids[rows],
                category_names=names,
                annotation_category=rows.searchsorted(index.annotation_category),
            )
        )
    classes = counted(n_empty, "listed class")
    return reduced, f"; {classes} without an annotation {are(n_empty)} left out"


def identifies(picture: str) -> bool:
    """Whether two images with this digest show the same thing; two blank images need not."""
    return picture != "" and not picture.endswith(BLANK)


def ids_by_name(index: CocoIndex) -> dict[str, int]:
    """The class ids of a file by `same_spelling` of their names.

    Raises:
        UserError: two classes have the same name.
    """
    rows = row_of_name(index.category_names, index.source)
    ids = index.category_ids.tolist()
    return {name: ids[row] for name, row in rows.items()}


def _renumbered(index: CocoIndex, id_of_name: dict[str, int]) -> CocoIndex:
    """The index with this longer list of classes, which includes its own."""
    name_of_id = {class_id: name for name, class_id in id_of_name.items()}
    ids = np.array(sorted(name_of_id), np.int64)
    own_ids = [id_of_name[same_spelling(name)] for name in index.category_names]
    new_row = ids.searchsorted(own_ids)
    return replace(
        index,
        category_ids=ids,
        category_names=tuple(name_of_id[class_id] for class_id in ids.tolist()),
        annotation_category=new_row[index.annotation_category],
    )
