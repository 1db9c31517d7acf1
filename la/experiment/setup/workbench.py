"""A profile at work on a data set: its images, classes, episodes and cached features."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from la import profiles
from la.config import PROTOCOLS, Config, ModelConfig, Protocol
from la.data.coco.index import CocoIndex
from la.data.dataset import Data
from la.data.feature_cache.image_features import ImageFeatures
from la.data.feature_cache.packing import Numbers
from la.data.sampling import folds
from la.data.sampling.batches import ids_alone
from la.data.sampling.episodes import EpisodeSampler, episode_list
from la.data.sampling.loader import BatchLoader
from la.errors import UserError
from la.experiment.setup import held_out
from la.experiment.setup.about_data import about_data, data_of
from la.features.cache import FeatureCache
from la.features.encoding import EncodedImages
from la.folders import HOME
from la.types import Episode
from la.wording import counted

if TYPE_CHECKING:  # slow to import, and not needed to check a folder
    from accelerate import PartialState

    from la.experiment.setup.measurements import Measurement

Source = Literal["features", "ids", "pixels"]  # what a batch holds of its images
Report = Callable[[int], None]  # called with a number of steps or episodes


@dataclass(frozen=True)
class Workbench:
    """A profile at work on a data set: the COCO-format folder `source`, or the profile's own."""

    config: Config
    source: Path | None = None
    home: Path = HOME
    rounding: Numbers | None = None  # of features; None: see `FeatureCache.numbers`
    unseen: tuple[str, ...] = ()  # names of classes to hold out in place of the numbered folds

    @classmethod
    def open(
        cls, name: str, data: str | Path | None = None, unseen: Iterable[str] = ()
    ) -> "Workbench":
        """The named profile on its own data, or on a COCO-format folder.

        Raises:
            UserError: there is no such profile, or classes are named without a folder.
        """
        config = profiles.profile(name)
        names = held_out.named(unseen, config, has_folder=bool(data))
        return cls(config, Path(data) if data else None, unseen=names)

    def headline(self) -> str:
        """Profile, device with the reason for it, and data: the first line of every command."""
        cuda = self.device.type == "cuda"
        device = torch.cuda.get_device_name() if cuda else "the CPU (no GPU was found)"
        about = about_data(self.data, self.config, self.source, self.unseen)
        return f"Profile {self.config.profile} on {device}. {about}"

    @cached_property
    def data(self) -> Data:
        """The images and annotations; written or indexed on first use."""
        return data_of(self.config, self.source, self.home)

    @property
    def ranks(self) -> "PartialState":
        """The processes that work together under torchrun; usually only this one."""
        from accelerate import PartialState

        return PartialState(cpu=not torch.cuda.is_available())

    @property
    def device(self) -> torch.device:
        """This process's GPU where there is one."""
        return self.ranks.device

    @property
    def reads_pixels(self) -> bool:
        """Whether the models contain their own image encoders, so that no features are cached."""
        return self.config.profile == profiles.PUBLISHED

    @property
    def results(self) -> Path:
        """`results/<profile>`, or `results/<profile>@<folder>` for the user's own data."""
        name = self.config.profile + (f"@{self.data.name}" if self.source else "")
        name += f"@unseen={held_out.in_a_path(self.unseen)}" if self.unseen else ""
        return self.home / "results" / name

    def classes(self, fold: int | None, *, seen: bool) -> tuple[int, ...]:
        """Class ids of the fold that are trained on (`seen`) or tested on; None holds none out."""
        if fold is None:
            return tuple(self.data.whole.category_ids.tolist()) if seen else ()
        if self.unseen:
            return held_out.classes(self.data.test, self.unseen, fold, seen=seen)
        rule = folds.seen if seen else folds.unseen
        return rule(self.data.test.category_ids, fold, self.config.evaluation.folds)

    @property
    def fold_rule(self) -> str | tuple[str, ...]:
        """What decides which classes are held out: the profile's rule, or their names."""
        return self.unseen or self.config.evaluation.folds

    def distinct(self, numbers: Iterable[int]) -> list[int]:
        """These folds, or the first of them where all folds would test the same classes."""
        too_few = folds.holds_none_out(self.data.test.category_ids)
        return list(numbers)[: 1 if self.unseen or too_few else None]

    def rules(self, protocol: str) -> Protocol:
        """The named protocol, with the data set's own bound of small objects."""
        return replace(PROTOCOLS[protocol], small_area=self.data.small_area)

    def sampler(
        self, fold: int, shape: tuple[int, int], *, seen: bool = False, protocol: str = "clean"
    ) -> EpisodeSampler:
        """A sampler of test images for one (n_ways, k_shots).

        Raises:
            UserError: the fold has too few images for the shape, or a model too few tokens.
        """
        most = (self.config.model.token_pool or 256) - 1  # a token for each class and background
        if shape[0] > most:
            raise UserError(
                f"{shape[0]}-way is not possible: the model distinguishes {counted(most, 'class')}"
            )
        try:
            classes = self.classes(fold, seen=seen)
            return EpisodeSampler(self.data.test, classes, self.rules(protocol), [shape])
        except UserError as error:
            raise UserError(f"fold {fold}: {error}") from None

    def episodes(self, measurement: "Measurement") -> list[Episode]:
        """The episode list of a measurement, the same for every method."""
        sampler = self.sampler(
            measurement.fold,
            (measurement.n_ways, measurement.k_shots),
            seen=measurement.classes == "seen",
            protocol=measurement.protocol,
        )
        return episode_list(
            sampler,
            n_ways=measurement.n_ways,
            k_shots=measurement.k_shots,
            episodes=measurement.episodes,
            seed=measurement.seed,
            kinds=measurement.kinds,
        )

    @staticmethod
    def images_of(episodes: Iterable[Episode]) -> set[int]:
        """Ids of the images that these episodes need."""
        return {i for e in episodes for i in (e.query_id, *e.support_ids)}

    def loader(
        self,
        index: CocoIndex,
        fold: int | None,
        protocol: str = "clean",
        *,
        images: Iterable[int] | None = None,
        target_side: int | None = None,
        jitter: bool = False,
        objects: bool = False,
        truth: Protocol | None = None,
        source: Source = "features",
    ) -> BatchLoader:
        """Loads batches with the features of all images, or of these; or another `source`.

        The other arguments are those of `BatchLoader`.
        """
        return BatchLoader(
            index,
            self.config.model,
            self.config.episodes,
            self.rules(protocol),
            fold_class_ids=self.classes(fold, seen=False),
            read_features=self._reader(index, images, source),
            target_side=target_side,
            jitter=jitter,
            objects=objects,
            truth=truth,
        )

    def _reader(
        self, index: CocoIndex, images: Iterable[int] | None, source: Source
    ) -> Callable[[list[int]], torch.Tensor] | None:
        """What a loader reads for image ids; None for pixels."""
        if source == "pixels" or self.reads_pixels:
            return None
        return ids_alone if source == "ids" else self.features(index, images).read

    @cached_property
    def cache(self) -> FeatureCache:
        """Where features are kept, and how they are rounded."""
        embedded = self.source is None and self.config.data == "embedded"
        folder = self.home / "cache" / "features"
        return FeatureCache(folder, self.config.model, embedded, self.rounding)

    @property
    def numbers(self) -> Numbers:
        """How features are rounded."""
        return self.cache.numbers

    def store(self, index: CocoIndex) -> ImageFeatures:
        """The feature cache of an index as it is; nothing is computed."""
        return self.cache.store(index)

    def features(
        self, index: CocoIndex, image_ids: Iterable[int] | None = None
    ) -> ImageFeatures | EncodedImages:
        """The feature cache, with all images of the index, or these; or what encodes each read."""
        return self.cache.features(index, image_ids, self.device)

    def check_frame(self, model: ModelConfig, name: str) -> None:
        """Check that a model works on the features of this profile's backbone and frame.

        Raises:
            UserError: it does not; the message says which profile to choose.
        """
        own, has = ((m.backbone, m.image_size, m.resize) for m in (model, self.config.model))
        if own != has:
            raise UserError(
                f"{name} works on features of {own} and profile {self.config.profile} on those of "
                f"{has}; choose the profile that has the model's backbone"
            )

    def exists(self, path: Path) -> bool:
        """Whether a file exists; all ranks get the same answer, before one of them writes it."""
        there = path.exists()
        self.ranks.wait_for_everyone()
        return there

    def once(self, write: Callable[[], object]) -> None:
        """Call `write` only on the main process; the other ranks wait until it has returned."""
        if self.ranks.is_main_process:
            write()
        self.ranks.wait_for_everyone()

    @staticmethod
    @contextmanager
    def one_thread() -> Iterator[None]:
        """One thread on the CPU: numbers must not depend on how many cores there are."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
