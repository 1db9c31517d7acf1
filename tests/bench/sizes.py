"""How much is measured: everything, or a part in under three minutes."""

from dataclasses import dataclass

from tests.bench.steps import MAE, SAM, Shape

Work = tuple[str, Shape]  # a model and (B, N, K)

_MAE = [(MAE, s) for s in ((1, 1, 1), (1, 2, 1), (1, 5, 1), (1, 10, 1), (1, 20, 1))]
_MAE += [(MAE, s) for s in ((1, 1, 5), (4, 2, 2), (16, 1, 1))]
_ALL = (*_MAE, (SAM, (1, 1, 1)), (SAM, (1, 5, 1)))


@dataclass(frozen=True)
class Sizes:
    """What one run measures, and how often."""

    forward: tuple[Work, ...] = _ALL
    train: tuple[Work, ...] = _ALL
    memory: tuple[Work, ...] = _ALL  # forward
    train_memory: tuple[Work, ...] = _ALL
    seconds: float = 20.0  # of repeated runs of one thing, about
    least: int = 3  # repeats
    annotations: tuple[int, int] = (82_783, 605_000)  # images and instances of COCO train2014
    episodes: int = 20_000  # drawn at a time
    batches: int = 40  # loaded at a time
    ready: int = 40  # batches of paper-sam; fewer would measure the start of the workers
    photographs: int = 325
    masks: int = 3_000
    features: int = 320  # images in the cache, a multiple of 8
    scored_images: int = 400
    scored: int = 400  # episodes


QUICK = Sizes(
    forward=((MAE, (1, 1, 1)), (MAE, (1, 5, 1)), (MAE, (1, 20, 1))),
    train=((MAE, (1, 1, 1)),),
    memory=((MAE, (1, 5, 1)),),
    train_memory=(),
    seconds=4.0,
    least=1,
    annotations=(10_000, 73_000),
    episodes=5_000,
    batches=10,
    masks=1_000,
    features=64,
    scored_images=200,
    scored=100,
)
