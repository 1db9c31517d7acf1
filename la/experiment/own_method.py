"""A reader's own method that has weights: trained like a comparator, and not stored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from la.comparators.learned import Learned
from la.config import Config
from la.experiment.methods import RIVALS
from la.experiment.runs import Run
from la.experiment.setup.workbench import Workbench
from la.learn.weights import checkpoints


@dataclass(frozen=True)
class _Shortened:
    """A change of the profile that also sets the number of training steps."""

    configure: Callable[[Config], Config]
    steps: int

    def __call__(self, profile: Config) -> Config:
        config = self.configure(profile)
        warmup = min(config.train.warmup_steps, self.steps // 10)
        train = replace(config.train, steps=self.steps, warmup_steps=warmup)
        return replace(config, train=train)


def trained(
    bench: Workbench,
    network: type[Learned],
    *,
    fold: int,
    steps: int | None = None,
) -> Learned:
    """A network trained on the seen classes of a fold, in evaluation mode, for `score`.

    Its episodes, optimiser and losses are those of the trained comparators. The weights are
    not stored, because a file could not distinguish two versions of your code.

    Args:
        network: its class, which is constructed from a `ModelConfig`.
        steps: None takes as many as the profile trains.
    """
    # Any trained comparator gives the changes of the profile; only the network is replaced.
    method = replace(RIVALS["panet"], label=network.__name__, network=network)
    if steps is not None:
        assert method.configure is not None
        method = replace(method, configure=_Shortened(method.configure, steps))
    run = Run.of(bench, method, fold, seed=0)
    with TemporaryDirectory() as folder:
        path = replace(run, folder=Path(folder)).train()
        model, _ = checkpoints.load_comparator(network, path)
    return model.to(bench.device)
