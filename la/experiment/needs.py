"""What measurements need before anything is counted: images with features, trainings, lists."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product

from la.data.sampling.episodes import EpisodeSampler
from la.data.sampling.folds import N_FOLDS
from la.errors import UserError
from la.experiment.job import Job
from la.experiment.methods import method
from la.experiment.runs import START_IMAGES, Run
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.experiment.validation import validation_list
from la.learn.weights.states import STATES


@dataclass(frozen=True)
class Training:
    """A model that is to be trained."""

    fold: int
    steps: int  # that have not been taken yet


@dataclass
class Needs:
    """What a set of measurements needs, calibration included."""

    trainings: list[Training] = field(default_factory=list)
    n_episodes: int = 0  # to be scored, including those for calibration
    n_examples: int = 0  # N x K of each of these episodes
    groups: set[tuple[str, int, int]] = field(default_factory=set)  # method, fold and training
    train_images: set[int] = field(default_factory=set)
    test_images: set[int] = field(default_factory=set)

    @property
    def steps(self) -> int:
        """The training steps of all models together."""
        return sum(training.steps for training in self.trainings)


def needs_of(bench: Workbench, measurements: Iterable[Measurement], *, here: bool) -> Needs:
    """What the measurements need.

    Args:
        here: whether the data are on this machine. Without them no image is listed and nothing can
            have been done.
    """
    needs = Needs()
    measurements = list(measurements)
    needs.trainings = _trainings(bench, measurements, here)
    for m in measurements:
        _add_lists(needs, bench, m)
    if not here or bench.reads_pixels:
        return needs
    lists = {_list_of(m) for m in measurements}
    for m in measurements:
        if method(m.method).biases:  # calibrated on a list of its own
            lists.add(_list_of(Job(bench, m).fitting))
    folds = {training.fold for training in needs.trainings}
    for fold in folds:
        lists.add(validation_list(bench, fold))
    for setting in lists:
        with suppress(UserError):  # the run says which lists cannot be drawn
            needs.test_images |= bench.images_of(bench.episodes(setting))
    for fold in folds:
        needs.train_images |= _training_images(bench, fold)
    return needs


def listed_images(bench: Workbench, episodes: int) -> set[int]:
    """The test images of the first episodes of the 1-, 2- and 5-way 1-shot lists."""
    images: set[int] = set()
    for fold, n_ways, seed in product(range(N_FOLDS), (1, 2, 5), bench.config.evaluation.seeds):
        setting = Measurement("", fold, n_ways, 1, seed, episodes)
        images |= bench.images_of(bench.episodes(setting))
    return images


def _add_lists(needs: Needs, bench: Workbench, measurement: Measurement) -> None:
    """Count the episodes of a measurement, and those on which its method is calibrated.

    Calibration lists are counted for each seed that has its own training.
    """
    chosen, evaluation = method(measurement.method), bench.config.evaluation
    n_episodes = measurement.episodes
    trainings = _trainings_of(bench, measurement)
    has_own_fit = measurement.seed in evaluation.seeds[:trainings]
    if chosen.biases and has_own_fit:
        n_episodes += evaluation.seen_episodes * max(1, len(chosen.options))
    needs.groups.add((measurement.method, measurement.fold, measurement.seed % trainings))
    needs.n_episodes += n_episodes
    needs.n_examples += n_episodes * measurement.n_ways * measurement.k_shots


def _trainings_of(bench: Workbench, measurement: Measurement) -> int:
    """How many models of a method there are in each fold; 1 for one that is not trained."""
    is_trained = method(measurement.method).configure is not None
    return bench.config.evaluation.trainings if is_trained else 1


def _trainings(bench: Workbench, measurements: Iterable[Measurement], here: bool) -> list[Training]:
    """Each training that the measurements need and that is not done."""
    trainings = bench.config.evaluation.trainings
    models = {}
    for m in measurements:
        if method(m.method).configure is not None:
            models[method(m.method).trains_as, m.fold, m.seed % trainings] = m
    left = []
    for m in models.values():
        chosen = method(m.method)
        if not here:
            assert chosen.configure is not None
            left.append(Training(m.fold, chosen.configure(bench.config).train.steps))
            continue
        run = Run.of(bench, chosen, m.fold, m.seed)
        if not run.model.exists():
            done = [int(path.name.split("-")[1]) for path in run.folder.glob(STATES)]
            left.append(Training(m.fold, run.config.train.steps - max(done, default=0)))
    return left


def _training_images(bench: Workbench, fold: int) -> set[int]:
    """The images that show a seen class, and those whose features set the start of the weights."""
    index, config = bench.data.train, bench.config
    rules = bench.rules(config.evaluation.protocol)
    sampler = EpisodeSampler(index, bench.classes(fold, seen=True), rules, ())
    images = set(sampler.image_ids())
    if config.model.start == "agreeing":
        images |= set(index.image_ids[:START_IMAGES].tolist())
    return images


def _list_of(measurement: Measurement) -> Measurement:
    """Names the list of episodes of a measurement, which is the same for every method."""
    return replace(measurement, method="", supports="own")
