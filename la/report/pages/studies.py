"""Studies on pools of images: two ways to use the examples of a class, on the same queries."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from la.errors import UserError
from la.experiment.chosen_examples import most_images, pools
from la.experiment.job import Job
from la.experiment.methods import label
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.provenance import provenance
from la.types import Segmenter
from la.wording import counted


class Compare(Protocol):
    """Scores two ways on the pools of a fold: a row per class, an IoU in percent for each way."""

    def __call__(
        self,
        bench: Workbench,
        segmenter: Segmenter,
        fold: int,
        *,
        k_shots: int,
        n_candidates: int,
        n_queries: int,
        n_draws: int,
        bias: float,
    ) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Study:
    """A way and the one that it is compared with, by class, and where the numbers come from."""

    way: str  # a column of `classes`
    other: str
    classes: pd.DataFrame  # columns method, k_shots, fold, class_id, and the ways in percent
    facts: Mapping[str, str]  # what a reader needs to compute them again

    @property
    def gain(self) -> pd.Series:
        """What the way gains over the other, in points, for each row of `classes`."""
        return self.classes[self.way] - self.classes[self.other]


def by_class(
    compare: Compare,
    ways: tuple[str, str],
    methods: Sequence[str],
    bench: Workbench,
    folds: Sequence[int],
    shots: Sequence[int],
    *,
    n_candidates: int,
    n_queries: int,
    n_draws: int,
) -> Study:
    """The IoU of each unseen class in both ways.

    Each method has the bias that it has in the tables. Folds in which no class has enough images
    are left out, and so is a K that is not below the number of candidates.

    Args:
        compare: scores the `ways`, its columns.
        ways: the way and the one that it is compared with.
        methods: names of methods of the tables.
        bench: the profile and its data.
        folds: to look for classes in.
        shots: the K.
        n_candidates: images of each class to take examples from.
        n_queries: images of each class to segment, at most.
        n_draws: random draws, whose scores are averaged.

    Raises:
        UserError: no class has more than `n_candidates` images, or a number is too small.
    """
    _check_numbers(n_candidates, n_queries, n_draws)
    possible = _with_pools(bench, bench.distinct(folds), n_candidates)
    frames = []
    models = set()
    codes = set()
    for method in methods:
        for fold in possible:
            for k_shots in (k for k in shots if k < n_candidates):
                job = Job(bench, Measurement(method, fold, 1, k_shots, 0, 1))
                fitted = job.fitted()
                frame = compare(
                    bench,
                    fitted.segmenter,
                    fold,
                    k_shots=k_shots,
                    n_candidates=n_candidates,
                    n_queries=n_queries,
                    n_draws=n_draws,
                    bias=fitted.fit.bias,
                )
                frames.append(frame.assign(method=label(method), k_shots=k_shots, fold=fold))
                codes.add(job.code)
                if fitted.checkpoint_sha256:
                    models.add(f"{fitted.checkpoint_sha256[:16]} (fold {fold})")
    columns = ["method", "k_shots", "fold", "class_id", *ways]
    classes = pd.concat(frames, ignore_index=True)[columns]
    return Study(*ways, classes, _facts(bench, models, codes))


def _facts(bench: Workbench, models: Iterable[str], codes: Iterable[str]) -> dict[str, str]:
    facts = {
        "data": f"{bench.data.name} {bench.data.fingerprint}",
        "checkpoints (SHA-256, first digits)": ", ".join(sorted(models)),
        "scoring code (digest)": ", ".join(sorted(codes)),
    }
    return facts | provenance()


def _with_pools(bench: Workbench, folds: Sequence[int], n_candidates: int) -> list[int]:
    """The folds with a class that has enough images; raises a UserError if there is none."""
    possible = []
    for fold in folds:
        if pools(bench, fold, n_candidates=n_candidates, n_queries=1):
            possible.append(fold)
    if not possible:
        raise UserError(_too_few_images(n_candidates, most_images(bench, folds)))
    return possible


def _check_numbers(n_candidates: int, n_queries: int, n_draws: int) -> None:
    """Raise a UserError that names the parameter which leaves nothing to compare."""
    for name, number, least in (
        ("candidates", n_candidates, 2),
        ("queries", n_queries, 1),
        ("draws", n_draws, 1),
    ):
        if number < least:
            raise UserError(f"{name}={number} is too few; at least {least} are needed")


def _too_few_images(n_candidates: int, most: int) -> str:
    """That no class has enough images, and how many candidates the data allow."""
    text = f"no class has more than {counted(n_candidates, 'test image')} to choose from"
    if most < 3:
        return f"{text}, and 2 candidates and a query are the least; annotate more images"
    advice = f"-p candidates={max(2, most // 2)}"
    return f"{text}, and none more than {most}; lower that number with {advice}"


def basis(headline: str, study: Study, *, n_candidates: int, n_queries: int, n_draws: int) -> str:
    """How the numbers of the page were made, in two lines of Markdown."""
    classes = study.classes
    n_classes = classes.groupby(["fold", "class_id"]).ngroups
    n_folds = classes["fold"].nunique()
    text = (
        f"{counted(n_classes, 'class')} of {counted(n_folds, 'fold')}, 1-way, masks; "
        f"for each class a pool of {counted(n_candidates, 'image')} to choose from, up to "
        f"{counted(n_queries, 'other image')} as queries, and "
        f"{counted(n_draws, 'random choice')}, whose scores are averaged. LA has one training for "
        "each fold. ± is half of the 95 % t-interval of the gain over classes."
    )
    return f"{headline}\n\n{text}"
