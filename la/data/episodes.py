"""Drawing episodes: ids only, no pixel is read (paper 3.3 for training, 4.1 for the test).

Episode i of a seed depends on (seed, i), the classes and their images, and on nothing else: not on the
order in which episodes are asked for, nor on workers, processes or devices.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from la.config import SMALL_AREA, EpisodeConfig, Protocol
from la.data.index import CocoIndex
from la.rng import stream
from la.types import Episode, Example, PromptKind

_BLOCK = 256  # test episodes that share one stream: seeding one costs more than drawing an episode


class EpisodeSampler:
    """Draws episodes for the given classes from the images of an index.

    A class that has fewer than K + 1 images cannot be drawn at K shots; it is left out (`left_out`), and a
    request that the remaining classes cannot serve is refused here, not at episode 4,000.

    Args:
        shapes: the (n_ways, k_shots) that will be asked for.

    Raises:
        ValueError: fewer than `n_ways` classes have `k_shots` + 1 images.
    """

    def __init__(
        self,
        index: CocoIndex,
        class_ids: Iterable[int],
        protocol: Protocol,
        shapes: Iterable[tuple[int, int]],
    ) -> None:
        self.class_ids = tuple(sorted(class_ids))
        self._index = index
        shown = presence(index, self.class_ids, protocol)  # (n_images, n_classes)
        self._ids = index.image_ids.tolist()
        self._images = [np.flatnonzero(column).tolist() for column in shown.T]  # rows, per class
        self._shown = np.packbits(shown, axis=0).T.copy()  # (n_classes, n_images / 8)
        self._holds = [sum(1 << c for c in np.flatnonzero(row).tolist()) for row in shown]
        self._drawable: dict[int, list[int]] = {}
        for n_ways, k_shots in shapes:
            self._check(n_ways, k_shots)

    def left_out(self, k_shots: int) -> dict[str, int]:
        """Names of the classes that cannot be drawn at K shots, with their number of images."""
        names = (self._index.class_name(c) for c in self.class_ids)
        counts = ((name, len(images)) for name, images in zip(names, self._images, strict=True))
        return {name: n for name, n in counts if n <= k_shots}

    def _check(self, n_ways: int, k_shots: int) -> None:
        if n_ways < 1 or k_shots < 1:
            raise ValueError(f"n_ways={n_ways} and k_shots={k_shots} must be at least 1")
        drawable = [c for c, images in enumerate(self._images) if len(images) > k_shots]
        if n_ways > len(drawable):
            few = ", ".join(f"{name} ({n})" for name, n in self.left_out(k_shots).items()) or "none"
            raise ValueError(
                f"{len(self.class_ids)} classes are given and {len(drawable)} of them have the "
                f"{k_shots + 1} images that {k_shots}-shot needs, so n_ways={n_ways} cannot be drawn; "
                f"use n_ways <= {len(drawable)} (too few images: {few})"
            )
        self._drawable[k_shots] = drawable

    def evaluation_episode(
        self, i: int, *, n_ways: int, k_shots: int, seed: int, kinds: tuple[PromptKind, ...]
    ) -> Episode:
        """Test episode i: the first class is uniform, and so is the query among its images.

        The other N - 1 classes are uniform without replacement, whether the query shows them or not.
        """
        if k_shots not in self._drawable or n_ways > len(self._drawable[k_shots]):
            self._check(n_ways, k_shots)
        width = n_ways + 1 + n_ways * k_shots + 1
        name = f"test {n_ways}-way {k_shots}-shot"
        uniforms = _uniforms(seed, name, i // _BLOCK, width)[i % _BLOCK]
        drawable = self._drawable[k_shots]
        taken: list[int] = []
        classes = [drawable[_pick(uniforms[n], len(drawable), taken)] for n in range(n_ways)]
        candidates = self._images[classes[0]]
        query = candidates[int(uniforms[n_ways] * len(candidates))]
        supports = self._supports(classes, query, uniforms[n_ways + 1 : -1])
        return self._episode(query, sorted(classes), supports, [kinds], int(uniforms[-1] * 2**53))

    def training_episode(
        self, i: int, *, n_ways: int, k_shots: int, seed: int, config: EpisodeConfig
    ) -> Episode:
        """Training episode i (Sec. 3.3): the coin decides if the query must hold all N classes.

        Where no image holds them all, the last class is dropped until one does, so N may shrink.
        """
        rng = stream(seed, "training episodes", i)
        drawable = self._drawable[k_shots]
        classes = [drawable[c] for c in rng.permutation(len(drawable))[:n_ways].tolist()]
        if rng.random() < config.all_classes_probability:
            classes, rows = self._holding_all(classes)
        else:
            rows = self._images[classes[int(rng.integers(n_ways))]]
        query = int(rows[int(rng.integers(len(rows)))])
        supports = self._supports(classes, query, rng.random(len(classes) * k_shots).tolist())
        subsets = _subsets(config.kinds)
        sets = rng.integers(len(subsets), size=len(supports) * len(classes)).tolist()
        kinds = [subsets[s] for s in sets]
        return self._episode(query, sorted(classes), supports, kinds, int(rng.integers(2**53)))

    def _holding_all(self, classes: list[int]) -> tuple[list[int], np.ndarray]:
        n_images = len(self._ids)
        for n_ways in range(len(classes), 0, -1):
            bits = np.bitwise_and.reduce(self._shown[classes[:n_ways]], axis=0)
            if bits.any():
                return classes[:n_ways], np.flatnonzero(np.unpackbits(bits, count=n_images))
        raise AssertionError("a drawable class has images")

    def _supports(self, classes: list[int], query: int, uniforms: list[float]) -> list[int]:
        """Rows of K images of each class, distinct within the class and never the query."""
        k_shots = len(uniforms) // len(classes)
        supports: dict[int, None] = {}  # keeps the order, drops what two classes both drew
        for n, class_row in enumerate(classes):
            images = self._images[class_row]
            at = bisect_left(images, query)
            taken = [at] if at < len(images) and images[at] == query else []
            for uniform in uniforms[n * k_shots : (n + 1) * k_shots]:
                supports[images[_pick(uniform, len(images), taken)]] = None
        return list(supports)

    def _episode(
        self,
        query: int,
        classes: list[int],
        supports: list[int],
        kinds: list[tuple[PromptKind, ...]],
        seed: int,
    ) -> Episode:
        """Every support image carries the annotations of all the episode's classes that it shows."""
        examples = []
        for position, support in enumerate(supports):
            holds = self._holds[support]
            for n, class_row in enumerate(classes):
                if holds >> class_row & 1:
                    examples.append(Example(position, n + 1, kinds[len(examples) % len(kinds)]))
        return Episode(
            query_id=self._ids[query],
            class_ids=tuple(self.class_ids[c] for c in classes),
            support_ids=tuple(self._ids[s] for s in supports),
            examples=tuple(examples),
            seed=seed,
        )


def presence(index: CocoIndex, class_ids: tuple[int, ...], protocol: Protocol) -> np.ndarray:
    """(n_images, n_classes) bool: the image has an instance of the class that counts as truth."""
    countable = ~index.annotation_crowd
    if protocol.small_instances != "keep":
        countable &= index.annotation_area >= SMALL_AREA
    columns = np.searchsorted(index.category_ids, class_ids)
    area = np.zeros((len(index.image_ids), len(index.category_ids)))
    rows = (index.annotation_image[countable], index.annotation_category[countable])
    np.add.at(area, rows, np.maximum(index.annotation_area[countable], 1e-9))
    least = SMALL_AREA if protocol.image_filter == "class_area_2048" else 1e-9
    return area[:, columns] >= least


def episode_list(
    sampler: EpisodeSampler,
    *,
    n_ways: int,
    k_shots: int,
    episodes: int,
    seed: int,
    kinds: tuple[PromptKind, ...] = (PromptKind.MASK,),
) -> list[Episode]:
    """The first `episodes` test episodes of a seed; every method is scored on the same list."""
    draw = sampler.evaluation_episode
    return [
        draw(i, n_ways=n_ways, k_shots=k_shots, seed=seed, kinds=kinds) for i in range(episodes)
    ]


def list_sha256(episodes: Iterable[Episode]) -> str:
    """SHA-256 of an episode list as JSON lines: two methods with equal hashes met equal episodes."""
    lines = "".join(episode.to_json() + "\n" for episode in episodes)
    return hashlib.sha256(lines.encode()).hexdigest()


def _pick(uniform: float, n: int, taken: list[int]) -> int:
    """A position in [0, n) that is not in the ascending list `taken`, which it then joins."""
    position = int(uniform * (n - len(taken)))
    for other in taken:
        position += position >= other
    insort(taken, position)
    return position


@lru_cache(maxsize=8)
def _uniforms(seed: int, purpose: str, block: int, width: int) -> list[list[float]]:
    return stream(seed, purpose, block).random((_BLOCK, width)).tolist()


@lru_cache(maxsize=8)
def _subsets(kinds: tuple[PromptKind, ...]) -> list[tuple[PromptKind, ...]]:
    n = len(kinds)
    return [tuple(k for bit, k in enumerate(kinds) if s >> bit & 1) for s in range(1, 2**n)]
