"""Drawing episodes: ids only, no pixel is read (paper 3.3 for training, 4.1 for the test).

Episode i of a seed depends on (seed, i), its shape, the classes and their images, and on nothing
else: not on the order in which episodes are asked for, nor on workers, processes or devices.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import repeat

import numpy as np

from la.config import EpisodeConfig, Protocol
from la.data.index import CocoIndex
from la.errors import UserError
from la.rng import stream
from la.types import Episode, Example, PromptKind

_example = lru_cache(maxsize=2**14)(Example)  # equal ones are one object
_BLOCK = 256  # episodes that share one stream: seeding one costs more than drawing an episode


class EpisodeSampler:
    """Draws episodes for the given classes from the images of an index.

    A class that has fewer than K + 1 images cannot be drawn at K shots; it is left out, and
    what the remaining classes cannot serve is refused here, not at episode 4,000.

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
        columns = np.ascontiguousarray(shown.T)
        self._images = [np.flatnonzero(column).tolist() for column in columns]  # rows, per class
        self._shown = _integers(columns)  # per class, bit i for row i
        self._holds = _integers(shown)  # per row, bit c for class c
        self._drawable: dict[int, list[int]] = {}
        for n_ways, k_shots in shapes:
            self._classes_for(n_ways, k_shots)

    def left_out(self, k_shots: int) -> dict[str, int]:
        """Names of the classes that cannot be drawn at K shots, with their number of images."""
        names = (self._index.class_name(c) for c in self.class_ids)
        counts = ((name, len(images)) for name, images in zip(names, self._images, strict=True))
        return {name: n for name, n in counts if n <= k_shots}

    def _classes_for(self, n_ways: int, k_shots: int) -> list[int]:
        """Positions of the classes that can be drawn at K shots; refuses what they cannot serve."""
        if n_ways < 1 or k_shots < 1:
            raise UserError(f"n_ways={n_ways} and k_shots={k_shots} must be at least 1")
        if k_shots not in self._drawable:
            enough = [c for c, images in enumerate(self._images) if len(images) > k_shots]
            self._drawable[k_shots] = enough
        drawable = self._drawable[k_shots]
        if n_ways > len(drawable):
            few = ", ".join(f"{name} ({n})" for name, n in self.left_out(k_shots).items()) or "none"
            raise UserError(
                f"{len(self.class_ids)} classes are given and {len(drawable)} of them have the "
                f"{k_shots + 1} images that {k_shots}-shot needs, so n_ways={n_ways} cannot be "
                f"drawn; use n_ways <= {len(drawable)} (too few images: {few})"
            )
        return drawable

    def evaluation_episode(
        self, i: int, *, n_ways: int, k_shots: int, seed: int, kinds: tuple[PromptKind, ...]
    ) -> Episode:
        """Test episode i: the first class is uniform, and so is the query among its images.

        The other N - 1 are uniform without replacement, whether the query shows them or not.

        Raises:
            ValueError: fewer than `n_ways` classes have `k_shots` + 1 images.
        """
        drawable = self._classes_for(n_ways, k_shots)
        numbers = _draws(seed, f"test {n_ways}-way {k_shots}-shot", i, n_ways * (k_shots + 1) + 2)
        draws = iter(numbers)
        classes = _distinct(draws, drawable, n_ways)
        candidates = self._images[classes[0]]
        query = candidates[int(next(draws) * len(candidates))]
        return self._episode(query, classes, k_shots, draws, repeat(kinds), numbers[-1])

    def training_episode(
        self, i: int, *, n_ways: int, k_shots: int, seed: int, config: EpisodeConfig
    ) -> Episode:
        """Training episode i (Sec. 3.3): the coin decides if the query must hold all N classes.

        Where no image holds them all, the last class is dropped until one does, so N may shrink.

        Raises:
            ValueError: fewer than `n_ways` classes have `k_shots` + 1 images.
        """
        drawable = self._classes_for(n_ways, k_shots)
        width = n_ways * (k_shots + 1) + 4 + n_ways**2 * k_shots
        draws = iter(_draws(seed, f"training {n_ways}-way {k_shots}-shot", i, width))
        classes = _distinct(draws, drawable, n_ways)
        coin, which, draw, prompts = (next(draws) for _ in range(4))
        if coin < config.all_classes_probability:
            classes, query = self._query_with_all(classes, draw)
        else:
            candidates = self._images[classes[int(which * n_ways)]]
            query = candidates[int(draw * len(candidates))]
        subsets = _subsets(config.kinds)
        kinds = (subsets[int(uniform * len(subsets))] for uniform in draws)
        return self._episode(query, classes, k_shots, draws, kinds, prompts)

    def _query_with_all(self, classes: list[int], draw: float) -> tuple[list[int], int]:
        """The longest head of `classes` that some image holds whole, and one of its images."""
        bits = self._shown[classes[0]]
        for n, class_row in enumerate(classes[1:], 1):
            both = bits & self._shown[class_row]
            if not both:
                classes = classes[:n]
                break
            bits = both
        return classes, _nth_bit(bits, int(draw * bits.bit_count()))

    def _episode(
        self,
        query: int,
        classes: list[int],
        k_shots: int,
        draws: Iterator[float],
        kinds: Iterator[tuple[PromptKind, ...]],
        seed: float,
    ) -> Episode:
        """K images of each class, distinct within the class and never the query, are supports.

        A support image carries the annotations of all the episode's classes that it shows.
        """
        holds, ids, shown = self._holds, self._ids, self._holds[query]
        supports: dict[int, None] = {}  # keeps the order, drops what two classes both drew
        for c in classes:
            images = self._images[c]
            taken = [bisect_left(images, query)] if shown >> c & 1 else []
            for _ in range(k_shots):
                position = int(next(draws) * (len(images) - len(taken)))
                for other in taken:  # ascending
                    position += position >= other
                insort(taken, position)
                supports[images[position]] = None
        classes = sorted(classes)
        row_of = {1 << c: n for n, c in enumerate(classes, 1)}
        wanted = sum(row_of)
        examples = []
        for position, support in enumerate(supports):
            held = holds[support] & wanted
            while held:
                lowest = held & -held
                examples.append(_example(position, row_of[lowest], next(kinds)))
                held ^= lowest
        class_ids = tuple([self.class_ids[c] for c in classes])
        support_ids = tuple([ids[s] for s in supports])
        return Episode(ids[query], class_ids, support_ids, tuple(examples), int(seed * 2**53))


def presence(index: CocoIndex, class_ids: tuple[int, ...], protocol: Protocol) -> np.ndarray:
    """(n_images, n_classes) bool: the image has an instance of the class that counts as truth."""
    countable = ~index.annotation_crowd
    if protocol.small_instances != "keep":
        countable &= index.annotation_area >= protocol.small_area
    column_of = np.full(len(index.category_ids), -1)
    column_of[np.searchsorted(index.category_ids, class_ids)] = np.arange(len(class_ids))
    column = column_of[index.annotation_category]
    kept = np.flatnonzero(countable & (column >= 0))
    size = len(index.image_ids), len(class_ids)
    cell = index.annotation_image[kept] * len(class_ids) + column[kept]
    by_area = protocol.image_filter == "class_area"
    shown = np.bincount(cell, index.annotation_area[kept] if by_area else None, size[0] * size[1])
    return (shown >= (protocol.small_area if by_area else 1)).reshape(size)


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
    """SHA-256 of an episode list as JSON lines: equal hashes, equal episodes."""
    lines = "".join(episode.to_json() + "\n" for episode in episodes)
    return hashlib.sha256(lines.encode()).hexdigest()


def _integers(table: np.ndarray) -> list[int]:
    """Each row of a bool table as one integer, column c its bit c."""
    rows = np.packbits(table, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def _nth_bit(bits: int, n: int) -> int:
    """The position of the set bit that has n set bits below it, by halving."""
    position = 0
    while (length := bits.bit_length()) > 1:
        half = length // 2
        low = bits & ((1 << half) - 1)
        below = low.bit_count()
        if n < below:
            bits = low
        else:
            bits, n, position = bits >> half, n - below, position + half
    return position


def _distinct(draws: Iterator[float], values: list[int], n: int) -> list[int]:
    """n different values, uniformly and in random order."""
    left = values.copy()
    return [left.pop(int(next(draws) * len(left))) for _ in range(n)]


def _draws(seed: int, purpose: str, i: int, n: int) -> list[float]:
    """The n uniform numbers of episode i."""
    return _block(seed, purpose, i // _BLOCK, n)[i % _BLOCK]


@lru_cache(maxsize=32)
def _block(seed: int, purpose: str, block: int, n: int) -> list[list[float]]:
    return stream(seed, purpose, block).random((_BLOCK, n)).tolist()


@lru_cache(maxsize=8)
def _subsets(kinds: tuple[PromptKind, ...]) -> list[tuple[PromptKind, ...]]:
    n = len(kinds)
    return [tuple(k for bit, k in enumerate(kinds) if s >> bit & 1) for s in range(1, 2**n)]
