"""A profile at work on a data set: features, trained models, and the result of one cell.

What exists is not computed again. A trained model is known by the digest of its configuration, its
data and its backbone; a cell by that and its own fields. Nothing knows which table asks.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import reduce

from la import checkpoints
from la import config as configs
from la.config import PROTOCOLS, Config, Protocol, digest
from la.data import folds
from la.data.atomic import atomic_write
from la.data.dataset import Data, open_data
from la.data.download import coco_folder, weights_files
from la.data.episodes import EpisodeSampler, episode_list, list_sha256
from la.data.features import FeatureKey, FeatureStore
from la.data.geometry import Frame
from la.data.index import CocoIndex
from la.data.loader import BatchLoader, TrainingBatches
from la.evaluation import best_value, count, miou
from la.methods import BIAS, method
from la.model.backbone import build_backbone, weights_sha256
from la.model.label_anything import LabelAnything
from la.results import Cell, CellResult, load_cell, provenance, save_cell
from la.training import fit
from la.types import Episode, PromptKind, Segmenter

Report = Callable[[int], None]
HOME = Path(os.environ.get("LA_HOME", Path(__file__).resolve().parent.parent))
FITTING_SEED = 1_000  # of lists of seen classes; far from any evaluation seed
VALIDATION_SEED = 2_000
AT_ONCE = {"sam_vit_b": 1, "mae_vit_b": 16, "tiny": 16}  # images; of SAM each takes gigabytes


@dataclass(frozen=True)
class Fitted:
    """A segmenter as the tables score it."""

    segmenter: Segmenter
    bias: float = 0.0  # added to the background's score
    checkpoint_sha256: str = ""  # "" without weights


@dataclass(frozen=True)
class Workbench:
    """A profile at work on a data set: the COCO-format folder `source`, or the profile's own."""

    config: Config
    source: Path | None = None
    home: Path = HOME

    @classmethod
    def open(cls, profile: str, data: str | Path | None = None) -> "Workbench":
        """The named profile on its own data, or on a COCO-format folder.

        Raises:
            ValueError: there is no such profile.
        """
        return cls(configs.profile(profile), Path(data) if data else None)

    def headline(self) -> str:
        """Profile, device and why, data: the first line of whatever is run."""
        cuda = self.device.type == "cuda"
        device = torch.cuda.get_device_name() if cuda else "the CPU, as no GPU is there"
        text = f"Profile {self.config.profile} on {device}."
        text += f" Data: {self.data.name}, {self.data.note}."
        if self.config.profile in ("quick", "smoke"):
            text += " Generated images or a tiny backbone: **not the paper's setting**."
        return text

    @cached_property
    def data(self) -> Data:
        """The images and annotations; written or indexed on first use."""
        cache = self.home / "cache"
        own = self.config.model.backbone == "tiny"
        return open_data(self.source or (None if own else coco_folder(cache)), cache)

    @property
    def ranks(self) -> PartialState:
        """The processes that work together under torchrun; usually this one alone."""
        return PartialState(cpu=not torch.cuda.is_available())

    @property
    def device(self) -> torch.device:
        """This process's GPU where there is one."""
        return self.ranks.device

    @property
    def _reads_pixels(self) -> bool:
        """Whether the models bring image encoders of their own, so that no features are kept."""
        return self.config.profile == configs.PUBLISHED

    @property
    def results(self) -> Path:
        """`results/<profile>`, or `results/<profile>@<folder>` for somebody's own data."""
        name = self.config.profile
        return self.home / "results" / (f"{name}@{self.data.name}" if self.source else name)

    # ---- episodes

    def classes(self, fold: int, *, seen: bool) -> tuple[int, ...]:
        """Class ids of the fold that are trained on (`seen`) or tested on."""
        rule = folds.seen if seen else folds.unseen
        return rule(self.data.test.category_ids, fold, self.config.evaluation.folds)

    def rules(self, protocol: str) -> Protocol:
        """The named protocol, what counts as small as the data set has it."""
        return replace(PROTOCOLS[protocol], small_area=self.data.small_area)

    def sampler(self, fold: int, shape: tuple[int, int], *, seen: bool = False, protocol="clean"):
        """A sampler of test images for one (n_ways, k_shots).

        Raises:
            ValueError: the fold cannot serve the shape.
        """
        try:
            classes = self.classes(fold, seen=seen)
            return EpisodeSampler(self.data.test, classes, self.rules(protocol), [shape])
        except ValueError as error:
            raise ValueError(f"fold {fold}: {error}") from None

    def episodes(self, cell: Cell, *, seen: bool = False) -> list[Episode]:
        """The episode list of a cell, the same for every method; or one of the `seen` classes."""
        shape = cell.n_ways, cell.k_shots
        return episode_list(
            self.sampler(cell.fold, shape, seen=seen, protocol=cell.protocol), n_ways=cell.n_ways,
            k_shots=cell.k_shots, episodes=cell.episodes, seed=cell.seed, kinds=cell.kinds,
        )  # fmt: skip

    def test_images(self, episodes: int) -> set[int]:
        """The images that the first episodes of the 1-, 2- and 5-way 1-shot lists need."""
        settings = product(range(folds.N_FOLDS), (1, 2, 5), self.config.evaluation.seeds)
        lists = (self.episodes(Cell("", f, n, 1, seed, episodes)) for f, n, seed in settings)
        return images_of(chain.from_iterable(lists))

    def loader(
        self, index: CocoIndex, fold: int, protocol="clean", *, images=None, **options
    ) -> BatchLoader:
        """Loads batches with cached features of all images, or of these; see `features`."""
        return BatchLoader(
            index,
            self.config.model,
            self.config.episodes,
            self.rules(protocol),
            fold_class_ids=self.classes(fold, seen=False),
            read_features=None if self._reads_pixels else self.features(index, images).read,
            **options,
        )

    # ---- features

    @cached_property
    def backbone_sha256(self) -> str:
        """Of the frozen backbone's weights."""
        return weights_sha256(self.config.model)

    @property
    def feature_bytes(self) -> int:
        """Of one image in the feature cache."""
        model = self.config.model
        return 2 * model.backbone_dim * (model.image_size // model.patch_size) ** 2

    def store(self, index: CocoIndex) -> FeatureStore:
        """The feature cache of an index as it is; nothing is computed."""
        m = self.config.model
        key = FeatureKey(m.backbone, self.backbone_sha256, m.image_size, m.resize, "float16")
        return _store(self.home / "cache" / "features" / index.sha256[:12], key)

    def features(self, index: CocoIndex, image_ids: Iterable[int] | None = None) -> FeatureStore:
        """The feature cache with all images of the index, or these; the rest is encoded first."""
        model, store = self.config.model, self.store(index)
        missing = store.missing(index.image_ids if image_ids is None else image_ids)
        if missing:
            backbone = build_backbone(model).to(self.device)

            def load(image_id: int) -> torch.Tensor:
                image = index.read_image(image_id)
                size = image.height, image.width
                return Frame(size, model.image_size, model.resize).image(image)

            def encode(images: torch.Tensor) -> torch.Tensor:
                return backbone(images.to(self.device))

            store.write(missing, load, encode, batch_size=AT_ONCE[model.backbone], progress=True)
        return store

    # ---- training

    def run_folder(self, name: str, fold: int) -> Path:
        """Where a trained method keeps its states, history and weights."""
        config = method(name).configure(self.config)
        identity = {
            "model": config.model, "episodes": config.episodes, "train": config.train,
            "folds": config.evaluation.folds, "data": self.data.fingerprint,
            "backbone": self.backbone_sha256,
        }  # fmt: skip
        key = digest({k: str(v) for k, v in identity.items()})
        run = f"{method(name).trains_as or name}_fold{fold}_{key}".replace(" ", "-")
        return self.home / "runs" / config.profile / run

    def train(
        self,
        name: str,
        fold: int,
        *,
        init: str | None = None,
        stop_after: int | None = None,
        tracker: str | None = None,
        report: Report = lambda n: None,
    ) -> Path:
        """The checkpoint of a method on the seen classes of a fold; trained if it is missing.

        `init` names a model to go on from (fine-tuning); the architecture is then that model's.
        `tracker` is one that accelerate knows, such as tensorboard.

        Raises:
            ValueError: the method is not trained, the fold cannot serve the training shapes, or the
                tracker is not installed.
            Stopped, Diverged: see `la.training.fit`.
        """
        chosen = method(name)
        if chosen.configure is None:
            raise ValueError(f"{name} is not trained; choose la+ or la")
        config, folder = chosen.configure(self.config), self.run_folder(name, fold)
        if init is not None:
            folder = folder / f"from-{Path(init).stem}"
        path = folder / "model.safetensors"
        if self._exists(path):
            report(config.train.steps)
            return path
        if init is None:
            generator = torch.Generator().manual_seed(config.train.seed)
            model = LabelAnything.from_config(config.model, generator)
        else:
            model = checkpoints.load(init)
            frames = [(m.backbone, m.image_size, m.resize) for m in (model.config, config.model)]
            if frames[0] != frames[1]:
                raise ValueError(
                    f"{init} works on features of {frames[0]} and profile {self.config.profile} on "
                    f"those of {frames[1]}; choose the profile that has the model's backbone"
                )
            model.backbone = None  # frozen: its features are cached
        shapes = {(n_ways, k_shots) for _, n_ways, k_shots in config.episodes.shapes}
        rules, seen = self.rules(config.evaluation.protocol), self.classes(fold, seen=True)
        sampler = EpisodeSampler(self.data.train, seen, rules, shapes)
        options = {"target_side": config.train.target_side, "jitter": True}
        loader = self.loader(self.data.train, fold, config.evaluation.protocol, **options)
        batches = TrainingBatches(sampler, loader, config.episodes, config.train.seed)
        fit(
            model, batches.of, config.train, folder, stop_after=stop_after, tracker=tracker,
            report=report, episodes=batches.episodes, validate=self._validation(fold),
        )  # fmt: skip
        if self.ranks.is_main_process:
            trained_on = f"{self.data.name} {self.data.fingerprint}, seen classes of fold {fold}"
            checkpoints.save(model.cpu(), path, trained_on=trained_on)
        self.ranks.wait_for_everyone()
        return path

    def _validation(self, fold: int) -> Callable[[LabelAnything], float] | None:
        """mIoU* on 1-way 1-shot episodes of *seen* classes in test images, with masks."""
        usual = self.config.evaluation
        if not usual.validation_episodes:
            return None
        cell = Cell("", fold, 1, 1, VALIDATION_SEED, usual.validation_episodes)
        episodes = self.episodes(cell, seen=True)
        loader = self.loader(self.data.test, fold, images=images_of(episodes))
        options = {"batch_size": usual.batch_size, "device": self.device}
        return lambda model: miou(episodes, count(model, episodes, loader, **options)[0])

    # ---- scores

    def fitted(self, cell: Cell) -> Fitted:
        """The method of a cell as the tables score it; trained, and fitted on seen classes, once.

        A trained model is fitted to each setting; a method without training has one value a fold,
        whatever the table: that of 2-way 1-shot with masks.
        """
        chosen = method(cell.method)
        if chosen.build:
            found = Fitted(chosen.build(self.config.model))
        else:
            train = self.train if chosen.configure else _published
            found = self.loaded(train(cell.method, cell.fold))
        if chosen.fitted is None:
            return found
        name, values = chosen.fitted
        cell = replace(cell, episodes=self.config.evaluation.seen_episodes, seed=FITTING_SEED)
        if chosen.build:
            masks = (PromptKind.MASK,)
            cell = replace(cell, n_ways=2, k_shots=1, kinds=masks, protocol="clean")
        path = self.results / "fits" / self.path(cell).name
        if not self._exists(path):
            episodes = self.episodes(cell, seen=True)
            if name == BIAS:
                counts = self._count(found.segmenter, episodes, cell, values)
            else:
                tried = (replace(found.segmenter, **{name: value}) for value in values)
                counts = [self._count(segmenter, episodes, cell)[0] for segmenter in tried]
            value = best_value(values, counts, episodes)
            note = {"cell": str(cell), "value": value, "episodes_sha256": list_sha256(episodes)}
            if self.ranks.is_main_process:
                with atomic_write(path) as file:
                    file.write(json.dumps(note, indent=1).encode())
            self.ranks.wait_for_everyone()
        value = json.loads(path.read_text())["value"]
        if name == BIAS:
            return replace(found, bias=value)
        return replace(found, segmenter=replace(found.segmenter, **{name: value}))

    def loaded(self, source: str | Path) -> Fitted:
        """A model that `la.load` can load, with the bias that it brings."""
        model = checkpoints.load(source).to(self.device)
        return Fitted(model, model.card.bias, model.card.sha256)

    def path(self, cell: Cell) -> Path:
        """The file of a cell."""
        chosen = method(cell.method)
        if chosen.configure:
            model = self.run_folder(cell.method, cell.fold).name
        elif chosen.build:
            model = str(self.config.model.image_size)
        else:
            model = _sha256(_published(cell.method, cell.fold))
        backbone = "of the checkpoint" if self._reads_pixels else self.backbone_sha256
        identity = {"data": self.data.fingerprint, "backbone": backbone, "model": model}
        return self.results / "cells" / cell.file_name(digest(identity))

    def run_cell(self, cell: Cell, report: Report = lambda n: None) -> CellResult:
        """The result of a cell; computed only if its file is missing."""
        path = self.path(cell)
        if self._exists(path):
            report(cell.episodes)
            return load_cell(path)
        result = self.measure(cell, self.fitted(cell), report)
        if self.ranks.is_main_process:
            save_cell(result, path)
        self.ranks.wait_for_everyone()
        return result

    def measure(
        self, cell: Cell, fitted: Fitted, report: Report = lambda n: None, **options
    ) -> CellResult:
        """What a segmenter scores on the episodes of a cell; nothing is stored.

        `options` are of the `BatchLoader`.
        """
        episodes, started = self.episodes(cell), time.perf_counter()
        biases = (fitted.bias,)
        counts = self._count(fitted.segmenter, episodes, cell, biases, report, **options)[0]
        return CellResult(
            cell=cell,
            classes=self.classes(cell.fold, seen=False),
            class_ids=np.array([e.class_ids for e in episodes]),
            confusion=counts,
            episodes_sha256=list_sha256(episodes),
            checkpoint_sha256=fitted.checkpoint_sha256,
            data=f"{self.data.name} {self.data.fingerprint}",
            bias=fitted.bias,
            seconds=round(time.perf_counter() - started, 2),
            provenance=provenance(),
        )

    def _count(
        self,
        segmenter: Segmenter,
        episodes: Sequence[Episode],
        cell: Cell,
        biases: Sequence[float] = (0.0,),
        report: Report = lambda n: None,
        **options,
    ) -> np.ndarray:
        """`count`, shared out over the processes, whose counts, whole numbers, are added up."""
        rank, world = self.ranks.process_index, self.ranks.num_processes
        loader = self.loader(self.data.test, cell.fold, cell.protocol, **options)
        mine = count(
            segmenter, episodes[rank::world], loader, biases=biases, device=self.device,
            batch_size=self.config.evaluation.batch_size, report=report,
        )  # fmt: skip
        counts = np.zeros((len(biases), len(episodes), *mine.shape[2:]), mine.dtype)
        counts[:, rank::world] = mine
        return reduce(torch.from_numpy(counts).to(self.device), "sum").cpu().numpy()

    def _exists(self, path: Path) -> bool:
        """Whether a file is there; all processes see the same, before one of them writes it."""
        there = path.exists()
        self.ranks.wait_for_everyone()
        return there


def images_of(episodes: Iterable[Episode]) -> set[int]:
    """Ids of the images that these episodes need."""
    return {i for e in episodes for i in (e.query_id, *e.support_ids)}


def _published(name: str, fold: int) -> Path:
    return weights_files(configs.weights_folder(), "published")[fold]


_store = cache(FeatureStore)
_sha256 = cache(checkpoints.file_sha256)
