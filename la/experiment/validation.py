"""The score that is computed while a model trains: on *seen* classes, never on test classes."""

from collections.abc import Callable

from torch import nn

from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.evaluation import count, miou

VALIDATION_SEED = 2_000  # of lists of seen classes; far from any evaluation seed


def validation_list(bench: Workbench, fold: int) -> Measurement:
    """The list of 1-way 1-shot episodes of seen classes in test images, with masks."""
    usual = bench.config.evaluation
    return Measurement(
        "",
        fold,
        n_ways=1,
        k_shots=1,
        seed=VALIDATION_SEED,
        episodes=usual.validation_episodes,
        protocol=usual.protocol,
        classes="seen",
    )


def validation(bench: Workbench, fold: int | None) -> Callable[[nn.Module], float] | None:
    """mIoU* of a model on the validation episodes.

    None where the profile asks for none, or all images are trained on.
    """
    usual = bench.config.evaluation
    if fold is None or not usual.validation_episodes:
        return None
    episodes = bench.episodes(validation_list(bench, fold))
    images = bench.images_of(episodes)
    loader = bench.loader(bench.data.test, fold, usual.protocol, images=images)

    def validate(model: nn.Module) -> float:
        counts = count(
            model,
            episodes,
            loader,
            model=bench.config.model,
            batch_size=usual.batch_size,
            device=bench.device,
        )
        return miou(episodes, counts[0])

    return validate
