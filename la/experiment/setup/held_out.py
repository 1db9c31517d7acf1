"""Classes of the user's own data that are held out by name, in place of the numbered folds."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from la.config import Config, digest
from la.data.coco.entries import same_spelling
from la.data.coco.index import CocoIndex
from la.data.coco.reconcile import ids_by_name
from la.errors import UserError
from la.wording import are, counted, listed

LONGEST = 40  # characters of a folder's name


def classes(
    index: CocoIndex,
    unseen: Sequence[str],
    fold: int,
    *,
    seen: bool,
) -> tuple[int, ...]:
    """Ids of the unseen classes, or of all others (`seen`).

    Raises:
        UserError: there is no such class or fold, or no class is left to train on.
    """
    if fold != 0:
        raise UserError(f"no fold {fold}: --unseen names the classes of one fold, 0")
    id_of_name = ids_by_name(index)
    known = listed(list(id_of_name), 10)
    for name in unseen:
        if name not in id_of_name:
            raise UserError(f"--unseen: no class {name!r}; known: {known}")
    if len(unseen) == len(id_of_name):
        raise UserError(
            f"--unseen names all classes ({known}), so that none is left to train on; name fewer, "
            "or none: fewer than four classes are all trained and tested on"
        )
    ids = [class_id for name, class_id in id_of_name.items() if (name in unseen) != seen]
    return tuple(sorted(ids))


def named(unseen: Iterable[str], config: Config, *, has_folder: bool) -> tuple[str, ...]:
    """The names in one spelling, sorted, each once: their order changes no result.

    Raises:
        UserError: classes are named of a profile's own data.
    """
    names = tuple(sorted({same_spelling(name) for name in unseen}))
    if names and not has_folder and config.data != "folder":
        raise UserError(
            f"--unseen {','.join(names)}: the folds of the data of profile {config.profile} are "
            "fixed by the protocol; give --data FOLDER, or leave out --unseen"
        )
    return names


def described(index: CocoIndex, names: Sequence[str]) -> str:
    """Which classes are held out and why, as the end of a sentence about the data.

    Raises:
        UserError: see `classes`.
    """
    n_seen = len(classes(index, names, 0, seen=True))
    return (
        f"{', '.join(names)} {are(len(names))} held out, as --unseen says, and "
        f"{counted(n_seen, 'other class')} {are(n_seen)} trained on"
    )


def as_option(names: Sequence[str]) -> str:
    """The names as `--unseen` takes them: a name with a comma is quoted, as in a CSV file."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


def in_a_path(names: Sequence[str]) -> str:
    """The names as a part of a folder's name; with a digest where one had to be changed."""
    text = ",".join(re.sub(r"[^\w.-]", "_", name) for name in names)[:LONGEST]
    if text == ",".join(names):
        return text
    return f"{text}-{digest({'unseen': names})[:6]}"
