"""Drawing episodes: ids only, no pixel is read (paper 3.3 for training, 4.1 for the test).

Episode i of a seed depends on (seed, i), its shape, the classes and their images, and on nothing
else: not on the order in which episodes are drawn, nor on workers, processes or devices.
"""

import hashlib
from bisect import insort
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice, repeat

import numpy as np

from la.config import EpisodeConfig, Protocol
from la.data.coco.index import CocoIndex
from la.errors import UserError
from la.rng import stream
from la.types import Episode, Example, PromptKind
from la.wording import counted, listed

Kinds = tuple[PromptKind, ...]
NAMED = 10  # how many of the classes with too few images a message lists
_BLOCK = 256  # episodes that share one stream: seeding one costs more than drawing an episode


class EpisodeSampler:
    """Draws episodes for the given classes from the images of an index.

    A class that has fewer than K + 1 images is left out of K-shot episodes. Too few classes are
    reported when the sampler is built, not at episode 4,000.

    Args:
        shapes: the (n_ways, k_shots) that will be drawn.

    Raises:
        UserError: fewer than `n_ways` classes have `k_shots` + 1 images.
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
        leaves_out = protocol.small_instances != "keep" or protocol.image_filter == "class_area"
        self._smallest_area = protocol.small_area if leaves_out else 0
        # Below, an image is a row of `_shown` and a class is a column.
        self._shown = presence(index, self.class_ids, protocol)  # (n_images, n_classes) bool
        self._images = [np.flatnonzero(column) for column in self._shown.T]  # of each class
        for n_ways, k_shots in shapes:
            self._drawable_classes(n_ways, k_shots)

    def image_ids(self) -> list[int]:
        """The images that show one of the classes; no episode uses another image."""
        return self._index.image_ids[self._shown.any(axis=1)].tolist()

    def left_out(self, k_shots: int) -> dict[str, int]:
        """Names of the classes that cannot be drawn at K shots, with their number of images."""
        too_few = {}
        for class_id, images in zip(self.class_ids, self._images, strict=True):
            if len(images) <= k_shots:
                too_few[self._index.class_name(class_id)] = len(images)
        return too_few

    def _drawable_classes(self, n_ways: int, k_shots: int) -> list[int]:
        """The classes that have K + 1 images; raises a UserError if there are fewer than N."""
        if n_ways < 1 or k_shots < 1:
            raise UserError(f"n_ways={n_ways} and k_shots={k_shots} must be at least 1")
        drawable = [c for c, images in enumerate(self._images) if len(images) > k_shots]
        if n_ways > len(drawable):
            raise UserError(self._too_few_classes(n_ways, k_shots, len(drawable)))
        return drawable

    def _too_few_classes(self, n_ways: int, k_shots: int, n_drawable: int) -> str:
        """Why an N-way K-shot episode cannot be drawn, and what to do."""
        too_few = listed([f"{name} ({n})" for name, n in self.left_out(k_shots).items()], NAMED)
        most = n_drawable or max(map(len, self._images), default=0) - 1
        option = "n_ways <= {} (--ways)" if n_drawable else "k_shots <= {} (--shots)"
        way_out = f"use {option.format(most)}, or annotate" if most > 0 else "annotate"
        text = (
            f"{n_drawable} of {counted(len(self.class_ids), 'class')} can be drawn, as "
            f"{k_shots}-shot needs {k_shots + 1} images, so n_ways={n_ways} is not possible; "
            f"{way_out} more images of a class (too few images: {too_few or 'none'})"
        )
        if self._smallest_area:
            text += f"; objects below {self._smallest_area:g} square pixels do not count here"
        return text

    def evaluation_episode(
        self, i: int, *, n_ways: int, k_shots: int, seed: int, kinds: Kinds
    ) -> Episode:
        """Test episode i: the first class is uniform, and so is the query among its images.

        The other N - 1 are uniform without replacement, whether or not the query shows them.

        Raises:
            UserError: fewer than `n_ways` classes have `k_shots` + 1 images.
        """
        drawable = self._drawable_classes(n_ways, k_shots)
        n_draws = n_ways * (k_shots + 1) + 2
        draws = iter(_uniforms(seed, f"test {n_ways}-way {k_shots}-shot", i, n_draws))
        classes = [drawable[p] for p in _distinct(draws, len(drawable), n_ways)]
        candidates = self._images[classes[0]]
        query = int(candidates[int(next(draws) * len(candidates))])
        supports = self._supports(draws, query, classes, k_shots)
        return self._episode(query, classes, supports, repeat(kinds), next(draws))

    def training_episode(
        self, i: int, *, n_ways: int, k_shots: int, seed: int, config: EpisodeConfig
    ) -> Episode:
        """Training episode i (Sec. 3.3): a coin toss decides whether the query must show all N.

        Where no image shows them all, the last class is dropped until one does: N may shrink,
        or with `config.keep_ways` what the query must show.

        Raises:
            UserError: fewer than `n_ways` classes have `k_shots` + 1 images.
        """
        drawable = self._drawable_classes(n_ways, k_shots)
        n_draws = n_ways * (k_shots + 1) + 4 + n_ways**2 * k_shots
        draws = iter(_uniforms(seed, f"training {n_ways}-way {k_shots}-shot", i, n_draws))
        classes = [drawable[p] for p in _distinct(draws, len(drawable), n_ways)]
        coin, which_class, which_image, prompt_seed = (next(draws) for _ in range(4))
        if coin < config.all_classes_probability:
            shown, candidates = self._images_with_all(classes)
            classes = classes if config.keep_ways else shown
        else:
            candidates = self._images[classes[int(which_class * n_ways)]]
        query = int(candidates[int(which_image * len(candidates))])
        supports = self._supports(draws, query, classes, k_shots)
        subsets = prompt_subsets(config.kinds)
        kinds = (subsets[int(draw * len(subsets))] for draw in draws)
        return self._episode(query, classes, supports, kinds, prompt_seed)

    def _images_with_all(self, classes: list[int]) -> tuple[list[int], np.ndarray]:
        """The longest prefix of `classes` that some image shows completely, and those images."""
        images = self._images[classes[0]]
        for n in range(1, len(classes)):
            also_with_next = images[self._shown[images, classes[n]]]
            if not len(also_with_next):
                return classes[:n], images
            images = also_with_next
        return classes, images

    def _supports(
        self, draws: Iterator[float], query: int, classes: list[int], k_shots: int
    ) -> list[int]:
        """K images of each class, distinct within the class and never the query.

        An image that two classes draw is listed once, so there may be fewer than N * K.
        """
        supports: list[int] = []
        for c in classes:
            images = self._images[c]
            query_position = [int(images.searchsorted(query))] if self._shown[query, c] else []
            positions = _distinct(draws, len(images), k_shots, without=query_position)
            supports += images[positions].tolist()
        return list(dict.fromkeys(supports))

    def _episode(
        self,
        query: int,
        classes: list[int],
        supports: list[int],
        kinds: Iterator[Kinds],
        prompt_seed: float,
    ) -> Episode:
        """A support image has an example of each of the episode's classes that it shows."""
        classes = sorted(classes)
        shown = self._shown[supports][:, classes]  # (L, N)
        examples = []
        for support, column in np.argwhere(shown).tolist():
            examples.append(Example(support, column + 1, next(kinds)))
        image_ids = self._index.image_ids
        return Episode(
            query_id=int(image_ids[query]),
            class_ids=tuple(self.class_ids[c] for c in classes),
            support_ids=tuple(image_ids[supports].tolist()),
            examples=tuple(examples),
            seed=int(prompt_seed * 2**53),
        )


def presence(index: CocoIndex, class_ids: tuple[int, ...], protocol: Protocol) -> np.ndarray:
    """(n_images, n_classes) bool: the image has an instance of the class that counts as truth."""
    countable = ~index.annotation_crowd
    if protocol.small_instances != "keep":
        countable &= index.annotation_area >= protocol.small_area
    column_of_category = np.full(len(index.category_ids), -1)
    column_of_category[np.searchsorted(index.category_ids, class_ids)] = np.arange(len(class_ids))
    column = column_of_category[index.annotation_category]
    counted = np.flatnonzero(countable & (column >= 0))
    image, column = index.annotation_image[counted], column[counted]
    table = np.zeros((len(index.image_ids), len(class_ids)))
    if protocol.image_filter == "class_area":
        np.add.at(table, (image, column), index.annotation_area[counted])
        return table >= protocol.small_area
    table[image, column] = 1
    return table > 0


def episode_list(
    sampler: EpisodeSampler,
    *,
    n_ways: int,
    k_shots: int,
    episodes: int,
    seed: int,
    kinds: Kinds = (PromptKind.MASK,),
) -> list[Episode]:
    """The first `episodes` test episodes of a seed; every method is scored on the same list."""
    return [
        sampler.evaluation_episode(i, n_ways=n_ways, k_shots=k_shots, seed=seed, kinds=kinds)
        for i in range(episodes)
    ]


def list_sha256(episodes: Iterable[Episode]) -> str:
    """SHA-256 of an episode list as JSON lines: equal hashes, equal episodes."""
    lines = "".join(episode.to_json() + "\n" for episode in episodes)
    return hashlib.sha256(lines.encode()).hexdigest()


@lru_cache(maxsize=8)
def prompt_subsets(kinds: Kinds) -> list[Kinds]:
    """All non-empty subsets of `kinds`, in the order of their bit masks."""
    subsets = []
    for number in range(1, 2 ** len(kinds)):
        subsets.append(tuple(kind for bit, kind in enumerate(kinds) if number >> bit & 1))
    return subsets


def _distinct(
    draws: Iterator[float], size: int, n: int, *, without: Iterable[int] = ()
) -> list[int]:
    """n distinct positions below `size`, uniform, in random order, none of them in `without`."""
    taken = sorted(without)
    positions = []
    for draw in islice(draws, n):
        position = int(draw * (size - len(taken)))  # counts the positions that are free
        for other in taken:
            position += position >= other
        insort(taken, position)
        positions.append(position)
    return positions


def _uniforms(seed: int, purpose: str, i: int, n: int) -> list[float]:
    """The n uniform numbers of episode i."""
    return _block(seed, purpose, i // _BLOCK, n)[i % _BLOCK]


@lru_cache(maxsize=32)
def _block(seed: int, purpose: str, block: int, n: int) -> list[list[float]]:
    """The numbers of `_BLOCK` consecutive episodes."""
    return stream(seed, purpose, block).random((_BLOCK, n)).tolist()
