"""A profile at work on a data set: features, trained models, and the result of one cell.

What exists is not computed again. A trained model is known by the digest of its configuration, its
data and its backbone; a cell by that and its own fields. Nothing knows which table asks.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from la import checkpoints
from la import config as configs
from la.config import PROTOCOLS, Config, Protocol, digest
from la.data import folds
from la.data.atomic import atomic_write
from la.data.batches import TrainingBatches
from la.data.dataset import Data, open_data
from la.data.download import coco_folder, published_folder
from la.data.episodes import EpisodeSampler, episode_list, list_sha256
from la.data.features import FeatureKey, FeatureStore
from la.data.geometry import Frame
from la.data.index import CocoIndex
from la.data.loader import BatchLoader
from la.evaluation import CALIBRATION_SEED, best_of_grid, calibrate, count, original_scores
from la.methods import method
from la.model.backbone import build_backbone, weights_sha256
from la.model.label_anything import LabelAnything
from la.plotting import EpisodePicture, picture
from la.results import Cell, CellResult, load_cell, provenance, save_cell
from la.training import fit
from la.types import Episode, PromptKind, Segmenter, to_device

log = logging.getLogger(__name__)

Report = Callable[[int], None]
HOME = Path(os.environ.get("LA_HOME", Path(__file__).resolve().parent.parent))


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
        text = (
            f"Profile {self.config.profile} on {device}. Data: {self.data.name}, {self.data.note}."
        )
        if self.config.profile in ("quick", "smoke"):
            text += " Generated images or a tiny backbone: **not the paper's setting**."
        return text

    @cached_property
    def data(self) -> Data:
        """The images and annotations; written or indexed on first use."""
        cache = self.home / "cache"
        own = self.config.model.backbone == "tiny"
        return open_data(self.source or (None if own else coco_folder(cache)), cache)

    @cached_property
    def device(self) -> torch.device:
        """This process's GPU where there is one."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))

    @property
    def reads_pixels(self) -> bool:
        """Whether the models bring image encoders of their own, so that no features are kept."""
        return self.config.profile == configs.PUBLISHED

    @cached_property
    def ranks(self) -> PartialState:
        """The processes that work together under torchrun; usually this one alone."""
        return PartialState(cpu=self.device.type == "cpu")

    @property
    def results(self) -> Path:
        """`results/<profile>`, or `results/<profile>@<folder>` for somebody's own data."""
        name = self.config.profile
        return self.home / "results" / (f"{name}@{self.data.name}" if self.source else name)

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

    def episodes(self, cell: Cell) -> list[Episode]:
        """The episode list of a cell; the same for every method."""
        sampler = self.sampler(cell.fold, (cell.n_ways, cell.k_shots), protocol=cell.protocol)
        return _draw(sampler, cell, cell.episodes, cell.seed)

    def loader(
        self, index: CocoIndex, fold: int, protocol: str = "clean", **options
    ) -> BatchLoader:
        """Loads batches of cached features."""
        return BatchLoader(
            index,
            self.config.model,
            self.config.episodes,
            self.rules(protocol),
            fold_class_ids=self.classes(fold, seen=False),
            read_features=None if self.reads_pixels else self.features(index).read,
            **options,
        )

    @cached_property
    def _stores(self) -> dict[str, FeatureStore]:
        return {}

    def store(self, index: CocoIndex) -> FeatureStore:
        """The feature cache of an index as it is; nothing is computed."""
        model = self.config.model
        if index.sha256 not in self._stores:
            key = FeatureKey(
                model.backbone, self.backbone_sha256, model.image_size, model.resize, "float16"
            )
            folder = self.home / "cache" / "features" / index.sha256[:12]
            self._stores[index.sha256] = FeatureStore.open(folder, key)
        return self._stores[index.sha256]

    def features(self, index: CocoIndex, image_ids: Iterable[int] | None = None) -> FeatureStore:
        """The feature cache with all images of the index, or these; the rest is encoded first."""
        model, store = self.config.model, self.store(index)
        missing = store.missing(index.image_ids if image_ids is None else image_ids)
        if missing:
            backbone = build_backbone(model).to(self.device)

            def load(image_id: int) -> torch.Tensor:
                image = index.read_image(image_id)
                return Frame((image.height, image.width), model.image_size, model.resize).image(
                    image
                )

            def encode(images: torch.Tensor) -> torch.Tensor:
                return backbone(images.to(self.device))

            store.write(missing, load, encode, batch_size=16, progress=True)
        return store

    @property
    def feature_bytes(self) -> int:
        """Of one image in the feature cache."""
        model = self.config.model
        return 2 * model.backbone_dim * (model.image_size // model.patch_size) ** 2

    def test_images(self, episodes: int) -> set[int]:
        """The images that the first episodes of the 1-, 2- and 5-way 1-shot lists need."""
        wanted: set[int] = set()
        for fold in range(folds.N_FOLDS):
            for n_ways in (1, 2, 5):
                for seed in self.config.evaluation.seeds:
                    for e in self.episodes(Cell("", fold, n_ways, 1, seed, episodes)):
                        wanted |= {e.query_id, *e.support_ids}
        return wanted

    @cached_property
    def backbone_sha256(self) -> str:
        """Of the frozen backbone's weights."""
        return weights_sha256(self.config.model)

    def run_folder(self, name: str, fold: int) -> Path:
        """Where a trained method keeps its states, history and weights."""
        config = method(name).configure(self.config)
        identity = {
            "model": config.model, "episodes": config.episodes, "train": config.train,
            "folds": config.evaluation.folds, "data": self.data.fingerprint,
            "backbone": self.backbone_sha256,
        }  # fmt: skip
        key = digest({k: str(v) for k, v in identity.items()})
        return (
            self.home
            / "runs"
            / config.profile
            / f"{(method(name).trains_as or name)}_fold{fold}_{key}".replace(" ", "-")
        )

    def train(
        self,
        name: str,
        fold: int,
        *,
        init: str | None = None,
        stop_after: int | None = None,
        report: Report = lambda n: None,
    ) -> Path:
        """The checkpoint of a method on the seen classes of a fold; trained if it is missing.

        `init` names a model to go on from (fine-tuning); the architecture is then that model's.

        Raises:
            ValueError: the method is not trained, or the fold cannot serve the training shapes.
            Stopped, Diverged: see `la.training.fit`.
        """
        chosen = method(name)
        if chosen.configure is None:
            raise ValueError(f"{name} is not trained; choose la+ or la")
        config, folder = chosen.configure(self.config), self.run_folder(name, fold)
        if init is not None:
            folder = folder / f"from-{Path(init).stem}"
        path = folder / "model.safetensors"
        if path.exists():
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
        batches = self.training_batches(config, fold)
        fit(
            model, batches.of, config.train, folder,
            stop_after=stop_after, report=report, episodes=batches.episodes,
        )  # fmt: skip
        if self.ranks.is_main_process:
            trained_on = f"{self.data.name} {self.data.fingerprint}, seen classes of fold {fold}"
            checkpoints.save(model.cpu(), path, trained_on=trained_on)
        self.ranks.wait_for_everyone()
        return path

    def training_batches(self, config: Config, fold: int) -> TrainingBatches:
        """The batches of a run on the seen classes of a fold.

        Raises:
            ValueError: too few classes have the images that a training shape needs.
        """
        protocol = config.evaluation.protocol
        shapes = {(n_ways, k_shots) for _, n_ways, k_shots in config.episodes.shapes}
        classes = self.classes(fold, seen=True)
        sampler = EpisodeSampler(self.data.train, classes, self.rules(protocol), shapes)
        loader = self.loader(
            self.data.train, fold, protocol, target_side=config.train.target_side, jitter=True
        )
        return TrainingBatches(sampler, loader, config.episodes, config.train.seed)

    def segmenter(self, name: str, fold: int) -> tuple[Segmenter, str]:
        """The method ready to segment, and the SHA-256 of its checkpoint ("" without weights)."""
        if method(name).build is not None:
            return method(name).build(self.config.model), ""
        if method(name).configure is None:
            path = published_folder(configs.weights_folder(), fold) / "model.safetensors"
        else:
            path = self.train(name, fold)
        return checkpoints.load(path).to(self.device).eval(), checkpoints.file_sha256(path)

    def path(self, cell: Cell) -> Path:
        """The file of a cell."""
        chosen = method(cell.method)
        weights = published_folder(configs.weights_folder(), cell.fold) / "model.safetensors"
        if chosen.configure:
            model = self.run_folder(cell.method, cell.fold).name
        else:
            model = str(self.config.model.image_size) if chosen.build else _sha256(weights)
        backbone = "of the checkpoint" if self.reads_pixels else self.backbone_sha256
        identity = {"data": self.data.fingerprint, "backbone": backbone, "model": model}
        return self.results / "cells" / cell.file_name(digest(identity))

    def run_cell(self, cell: Cell, report: Report = lambda n: None) -> CellResult:
        """The result of a cell; computed only if its file is missing."""
        path = self.path(cell)
        there = path.exists()
        self.ranks.wait_for_everyone()  # so that all see the same, before one saves
        if there:
            report(cell.episodes)
            return load_cell(path)
        segmenter, checkpoint = self.segmenter(cell.method, cell.fold)
        segmenter, bias = self._fitted(cell, segmenter)
        result = self.measure(cell, segmenter, bias, checkpoint, report)
        if self.ranks.is_main_process:
            save_cell(result, path)
        self.ranks.wait_for_everyone()
        return result

    def measure(
        self,
        cell: Cell,
        segmenter: Segmenter,
        bias=0.0,
        checkpoint="",
        report: Report = lambda n: None,
    ) -> CellResult:
        """What a segmenter scores on the episodes of a cell; nothing is stored.

        Several processes share the list out and add up their counts, which are whole numbers.
        """
        episodes = self.episodes(cell)
        started = time.perf_counter()
        rank, world = self.ranks.process_index, self.ranks.num_processes
        mine = count(
            segmenter, episodes[rank::world], self.loader(self.data.test, cell.fold, cell.protocol),
            batch_size=self.config.evaluation.batch_size, device=self.device, biases=(bias,),
            report=report,
        )[0]  # fmt: skip
        counts = np.zeros((len(episodes), *mine.shape[1:]), mine.dtype)
        counts[rank::world] = mine
        if world > 1:
            shared = torch.from_numpy(counts).to(self.device)
            torch.distributed.all_reduce(shared)
            counts = shared.cpu().numpy()
        return CellResult(
            cell=cell,
            classes=self.classes(cell.fold, seen=False),
            class_ids=np.array([e.class_ids for e in episodes]),
            confusion=counts,
            episodes_sha256=list_sha256(episodes),
            checkpoint_sha256=checkpoint,
            data=f"{self.data.name} {self.data.fingerprint}",
            bias=bias,
            seconds=round(time.perf_counter() - started, 2),
            provenance=provenance(),
        )

    def picture(self, cell: Cell, number: int) -> EpisodePicture:
        """One episode of a cell with the method's prediction, to be looked at."""
        episode = self.episodes(cell)[number]
        loader = self.loader(self.data.test, cell.fold, cell.protocol)
        segmenter, _ = self.segmenter(cell.method, cell.fold)
        segmenter, bias = self._fitted(cell, segmenter)
        batch = to_device(loader([episode]), self.device)
        with torch.inference_mode():
            logits = original_scores(segmenter(batch), batch, self.config.model)[0]
            logits[0] += bias
        return picture(loader, episode, number, logits.argmax(0).cpu().numpy())

    def run_checkpoint(self, cell: Cell, source: str) -> CellResult:
        """What a model that `la.load` can load scores; nothing is stored."""
        model = checkpoints.load(source).to(self.device).eval()
        sha256 = checkpoints.file_sha256(Path(source)) if Path(source).is_file() else ""
        return self.measure(cell, model, checkpoint=sha256)

    def _fitted(self, cell: Cell, segmenter: Segmenter) -> tuple[Segmenter, float]:
        """The segmenter and its background bias, with what is fitted on seen classes, and kept."""
        chosen = method(cell.method)
        grid = getattr(segmenter, "grid", None) if chosen.build else None
        if not chosen.biases and grid is None:
            return segmenter, 0.0
        fitted = replace(cell, episodes=self.config.evaluation.seen_episodes, seed=CALIBRATION_SEED)
        if grid is not None:  # one value a fold, whatever the table: 2-way 1-shot, masks
            masks = (PromptKind.MASK,)
            fitted = replace(fitted, n_ways=2, k_shots=1, kinds=masks, protocol="clean")
        path = self.results / "fits" / self.path(fitted).name
        if not path.exists():
            n_classes = len(self.classes(cell.fold, seen=True))
            shape = (min(fitted.n_ways, n_classes), fitted.k_shots)
            sampler = self.sampler(fitted.fold, shape, seen=True, protocol=fitted.protocol)
            episodes = _draw(sampler, fitted, fitted.episodes, fitted.seed)
            options = {
                "episodes": episodes,
                "loader": self.loader(self.data.test, fitted.fold, fitted.protocol),
                "batch_size": self.config.evaluation.batch_size,
                "device": self.device,
            }
            value = (
                calibrate(segmenter, biases=chosen.biases, **options)
                if chosen.biases
                else best_of_grid(segmenter, **options)
            )
            note = {"cell": str(fitted), "value": value, "episodes_sha256": list_sha256(episodes)}
            with atomic_write(path) as file:
                file.write(json.dumps(note, indent=1).encode())
        value = json.loads(path.read_text())["value"]
        if chosen.biases:
            return segmenter, value
        return replace(segmenter, **{grid[0]: value}), 0.0


@cache
def _sha256(path: Path) -> str:
    return checkpoints.file_sha256(path)


def _draw(sampler: EpisodeSampler, cell: Cell, episodes: int, seed: int) -> list[Episode]:
    return episode_list(
        sampler, n_ways=cell.n_ways, k_shots=cell.k_shots, episodes=episodes, seed=seed,
        kinds=cell.kinds,
    )  # fmt: skip
