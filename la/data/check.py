"""A report on the user's own folder: its content, each fault with its fix, possible episodes.

`la data FOLDER` prints it. Because of a fault an entry is left out or a run stops; a note states
how data are read.
"""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from la.config import Config, Protocol
from la.data.check_images import Finding, image_findings, unlisted_images
from la.data.coco.index import CocoIndex
from la.data.dataset import Data
from la.data.pictures.images import DRAWING_SCALE
from la.data.sampling import folds
from la.data.sampling.episodes import presence
from la.wording import counted, listed

NAMED = 3  # entries that are named for each finding; the others are counted
LISTED = 100  # classes that are listed
SHOTS = (1, 5)
USUAL_WAYS = 5  # the largest N of Table 2
LEFT_OUT = "entries that are left out"


@dataclass(frozen=True)
class Report:
    """What was found in a folder."""

    classes: tuple[str, ...]  # lines of a table
    findings: tuple[Finding, ...]
    possible: tuple[str, ...]  # which episodes can be drawn, and what to do next
    can_be_scored: bool  # an episode can be drawn

    @property
    def is_usable(self) -> bool:
        """Whether no fault was found and an episode can be drawn."""
        return self.can_be_scored and not any(finding.is_fault for finding in self.findings)

    def __str__(self) -> str:
        lines = list(self.classes)
        for finding in self.findings:
            lines += _described(finding)
        return "\n".join([*lines, *self.possible])

    def to_csv(self) -> str:
        """Every entry of every finding, one a line."""
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["kind", "file", "what", "entry"])
        for finding in self.findings:
            kind = "fault" if finding.is_fault else "note"
            for entry in finding.entries or ("",):
                writer.writerow([kind, finding.file, finding.what, entry])
        return table.getvalue()


def check(
    data: Data,
    folder: Path,
    config: Config,
    shipped: Sequence[str],
) -> Report:
    """The report.

    Args:
        folder: what was opened as `data`.
        config: the profile under which the folder is to be used.
        shipped: the profiles of which the package has a trained model.
    """
    findings: list[Finding] = []
    for index in data.files:
        findings += _entry_findings(index)
        findings += image_findings(index)
    findings += unlisted_images(data.files, folder)
    most_ways, possible = _possible(data, config.evaluation.folds)
    command = _scoring_command(data, folder, config, shipped)
    next_step = _next_step(data, folder, command, most_ways, findings)
    return Report(
        classes=tuple(_classes(data)),
        findings=tuple(findings),
        possible=(*possible, next_step),
        can_be_scored=most_ways > 0,
    )


def _described(finding: Finding) -> list[str]:
    """A finding with its first entries."""
    head = f"{'fault' if finding.is_fault else 'note'}: {finding.file}: {finding.what}"
    mend = f"; {finding.mend}" if finding.mend else ""
    if not finding.entries:
        return [head + mend]
    if finding.is_of_annotations:
        n_entries = len(finding.entries)
        lines = [f"{head}: {n_entries}{', such as' if n_entries > NAMED else ''}"]
        return lines + [f"    {entry}" for entry in finding.entries[:NAMED]]
    named = listed([_on_one_line(entry) for entry in finding.entries], NAMED)
    return [f"{head}: {len(finding.entries)} ({named}){mend}"]


def _on_one_line(name: str) -> str:
    """The name; with escapes if it holds line breaks or the like."""
    return name if name.isprintable() else repr(name)


def _entry_findings(index: CocoIndex) -> list[Finding]:
    """The entries that cannot be used, and what was noticed about others."""
    file = f"{index.source.parent.name}/{index.source.name}"
    findings = []
    for reason, entries in index.described.items():
        what = f"entries are left out ({reason})"
        findings.append(Finding(file, what, tuple(entries), is_of_annotations=True))
    for note in index.notes:
        findings.append(Finding(file, note, is_fault=False))
    return findings


def _classes(data: Data) -> list[str]:
    """A line for each class: the images in which it can be support or query, and its instances."""
    ids = tuple(data.test.category_ids.tolist())
    protocol = Protocol(small_area=data.small_area)
    train, test = (presence(index, ids, protocol).sum(0) for index in (data.train, data.test))
    instances = np.zeros(len(ids), np.int64)
    regions = np.zeros(len(ids), np.int64)
    for index in (data.train, data.test):
        crowd, category = index.annotation_crowd, index.annotation_category
        instances += np.bincount(category[~crowd], minlength=len(ids))
        regions += np.bincount(category[crowd], minlength=len(ids))
    lines = [f"{'class':30}{'train images':>13}{'test images':>12}{'instances':>10}{'unscored':>9}"]
    order = np.argsort(test, kind="stable") if len(ids) > LISTED else np.arange(len(ids))
    for row in order[:LISTED].tolist():
        class_id, name = ids[row], data.test.category_names[row]
        label = f"{class_id} {_on_one_line(name)}"
        lines.append(
            f"{label[:29]:30}{train[row]:13}{test[row]:12}{instances[row]:10}{regions[row]:9}"
        )
    if len(ids) > LISTED:
        lines.append(
            f"and {counted(len(ids) - LISTED, 'class')} with "
            f"{counted(int(test[order[LISTED]]), 'test image')} or more"
        )
    return lines


def _possible(data: Data, rule: folds.Rule) -> tuple[int, list[str]]:
    """The largest N of 1-shot episodes in every fold, and which N and K the test images allow."""
    ids = data.test.category_ids
    protocol = Protocol(small_area=data.small_area)
    n_images = presence(data.test, tuple(ids.tolist()), protocol).sum(0)
    lines = []
    for k_shots in SHOTS:
        ways = _most_ways(ids, n_images, k_shots, rule)
        most = ", ".join(map(str, ways))
        of_folds = " in folds 0, 1, 2, 3" if len(ways) > 1 else ""
        lines.append(f"{k_shots}-shot episodes: N is at most {most or 0}{of_folds}")
    few = []
    for name, n in zip(data.test.category_names, n_images.tolist(), strict=True):
        if n < 2:
            few.append(name)
    if few:
        lines.append(f"too few test images for an episode (2 are needed): {listed(few, NAMED)}")
    return min(_most_ways(ids, n_images, 1, rule), default=0), lines


def _next_step(
    data: Data,
    folder: Path,
    command: str,
    most_ways: int,
    findings: Sequence[Finding],
) -> str:
    """What to do next, as it follows from what was found.

    Args:
        command: scores the folder; without N.
        most_ways: the largest N of 1-shot episodes in every fold.
        findings: all that was found.
    """
    place = shlex.quote(str(folder))
    faults: Counter[str] = Counter()  # in two annotation files the same kind may occur
    for finding in findings:
        if finding.is_fault:
            what = LEFT_OUT if finding.is_of_annotations else finding.what
            faults[what] += len(finding.entries)
    mend = " and ".join(f"the {what} ({n})" for what, n in faults.items())
    is_annotated = any(len(index.annotation_image) for index in data.files)
    if faults and (set(faults) != {LEFT_OUT} or not is_annotated):
        return f"next: mend {mend}, and check again: python -m la data {place}"
    start = f"next: mend {mend}, and " if faults else "next: "
    if data.test.annotation_crowd.all() and len(data.test.annotation_crowd):
        file = shlex.quote(str(data.test.source))
        return (
            f"{start}add masks, without which nothing can be scored, or set iscrowd to 0 where a "
            "mask is that of one object; boxes can be prompts: "
            f"python -m la prompts {file} --images {place}"
        )
    if len(data.files) > 1 and not len(data.test.image_ids):
        train, test = (index.source.name for index in data.files)
        return (
            f"{start}annotate images in {test}, which has none to test on, or take it away, so "
            f"that {train} is split by image"
        )
    if not most_ways:
        return (
            f"{start}annotate more images of each class, or score a fixed set of examples: "
            f"python -m la evaluate --data {place} --support prompts.json"
        )
    start = f"next: mend {mend}, or go on without them" if faults else "next"
    if most_ways > USUAL_WAYS:  # hundreds would take hours
        start += f", with N = {USUAL_WAYS} as in Table 2"
    return f"{start}: {command} --ways {min(most_ways, USUAL_WAYS)}"


def _scoring_command(
    data: Data,
    folder: Path,
    config: Config,
    shipped: Sequence[str],
) -> str:
    """The command that scores the folder, with profile `photos` if its own is for drawings only."""
    profile = config.profile
    largest_drawing = DRAWING_SCALE * config.model.image_size
    n_larger = (data.test.sizes.max(1) > largest_drawing).sum()
    if config.data == "embedded" and 2 * n_larger > len(data.test.sizes):
        profile = "photos"
    words = ["python", "-m", "la", "evaluate", "--data", str(folder)]
    if profile != "quick":  # the default
        words += ["--profile", profile]
    if profile in shipped:
        words += ["--checkpoint", profile]
    return shlex.join(words)


def _most_ways(ids: np.ndarray, n_images: np.ndarray, k_shots: int, rule: folds.Rule) -> list[int]:
    """For each fold the number of classes with K + 1 images; one number without folds."""
    if not len(ids):
        return []
    n_folds = 1 if folds.holds_none_out(ids) else folds.N_FOLDS
    ways = []
    for fold in range(n_folds):
        rows = ids.searchsorted(folds.unseen(ids, fold, rule))
        ways.append(int((n_images[rows] > k_shots).sum()))
    return ways
