"""Predictor: images and prompts in, label maps out (paper 3.1).

Nothing is remembered between calls: `encode` gives an image as a value, `support` a support set as
one, and `predict` takes the two. Each is made once and used in any order and number.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import safetensors
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from la.data.geometry import Frame
from la.data.prompts import collate_prompts
from la.errors import MissingFile, UserError
from la.files import write_whole
from la.learn.checkpoints import as_bytes
from la.model.backbone import build_backbone
from la.model.label_anything import LabelAnything
from la.model.prototypes import Pairs, Support
from la.predict import prompts_file
from la.predict.drawing import annotate
from la.predict.photos import Photo, Prompt, open_photo, to_drawn
from la.predict.prediction import Prediction, segment_folder
from la.types import ModelCard, to_device


@dataclass(frozen=True)
class EncodedImage:
    """An image after the backbone; `Predictor` takes it wherever it takes an image."""

    image: Image.Image  # RGB, upright, at the original size
    frame: Frame
    embeddings: Tensor  # (1, D, h, w), after backbone and neck


Examples = Sequence[tuple[Photo | EncodedImage, Mapping[str, Sequence[Prompt]]]]


@dataclass(frozen=True)
class SupportSet:
    """Prototypes of named classes, and the class-example embeddings that they are the means of."""

    class_names: tuple[str, ...]  # of rows 1, 2, ...; row 0 is background
    model: str  # hash of the weights that made it
    value: Support

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the names as JSON in its metadata; whole or not at all."""
        about = json.dumps({"class_names": self.class_names, "model": self.model})
        pairs = {f"pairs.{name}": x for name, x in vars(self.value.pairs).items()}
        tensors = {k: v for k, v in (vars(self.value) | pairs).items() if isinstance(v, Tensor)}
        write_whole(Path(path), as_bytes(tensors, {"la_support": about}))

    @classmethod
    def load(cls, path: str | Path) -> "SupportSet":
        """The inverse of `save`; raises ValueError if the file is no support set."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["la_support"])
            tensors = load_file(path)
            pairs = Pairs(**{f.name: tensors.pop(f"pairs.{f.name}") for f in fields(Pairs)})
            value = Support(**tensors, pairs=pairs)
            return cls(tuple(about["class_names"]), about["model"], value)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no saved support set: {error!r}") from None


class Predictor:
    """A model for images of any size and origin; prompts are in original pixels.

    Paths, PIL images, arrays and tensors (see `open_photo`) and what `encode` gave are all images.
    Calls do not change the predictor, so threads may share it; it runs where the weights are. A
    model without a backbone gets the pretrained one that its configuration names. `bfloat16` is
    autocast; what it costs in accuracy is in the README.
    """

    def __init__(
        self, model: LabelAnything, card: ModelCard | None = None, *, bfloat16: bool = False
    ) -> None:
        self.model, self.bfloat16 = model, bfloat16
        self.card = card or model.card or _unnamed(model)
        self.device = next(model.parameters()).device
        self._backbone = (model.backbone or build_backbone(model.config)).to(self.device).eval()

    def describe(self) -> dict[str, str]:
        """Name, hash (twelve digits) and training data of the weights."""
        card = self.card
        return {"name": card.name, "hash": card.sha256[:12], "trained_on": card.trained_on}

    @torch.inference_mode()
    def encode(self, image: Photo | EncodedImage) -> EncodedImage:
        """The image through the frozen backbone: nearly all of the work, once.

        Raises FileNotFoundError or ValueError if it is no image, as `open_photo`.
        """
        if isinstance(image, EncodedImage):
            return image
        photo, config = open_photo(image), self.model.config
        frame = Frame((photo.height, photo.width), config.image_size, config.resize)
        pixels = frame.image(photo)[None].to(self.device)
        with self._autocast():
            embeddings = self.model.encode_features(self._backbone(pixels))
        return EncodedImage(photo, frame, embeddings)

    def support(self, examples: Examples) -> SupportSet:
        """The support set of `[(image, {"dog": [Box(..), Point(..)], "cat": [mask]}), ...]`.

        Classes get their rows in the order in which they first appear. Raises a ValueError that
        says which prompt does not fit its image, or that nothing is prompted.
        """
        return self._support(None, examples)

    def extend(self, support: SupportSet, examples: Examples) -> SupportSet:
        """A support set with further images; they may bring further classes.

        The same as one made of all examples at once, except for `exact` weights: with their quirks
        an example's embedding depends on what else is in the batch. Raises as `support` and, for a
        set that other weights made, ValueError.
        """
        return self._support(self._checked(support), examples)

    @torch.inference_mode()
    def predict(self, image: Photo | EncodedImage, support: SupportSet) -> Prediction:
        """Segment an image into the classes of a support set; raises as `encode` and `extend`."""
        value, query = self._checked(support).value, self.encode(image)
        with self._autocast():
            logits = self.model.decode(query.embeddings, value).float()
        logits[:, 0] += self.card.bias
        rows = query.frame.original_logits(logits)[0].max(0).indices  # argmax is ten times slower
        labels = rows.to(torch.uint8).cpu().numpy()
        return Prediction(labels, support.class_names, query.image, query.frame, logits[0].cpu())

    @torch.inference_mode()
    def _support(self, known: SupportSet | None, examples: Examples) -> SupportSet:
        config, encoder = self.model.config, self.model.prompt_encoder
        given = [(s, *item) for s, (_, found) in enumerate(examples) for item in found.items()]
        earlier = known.class_names if known else ()
        names = tuple(dict.fromkeys([*earlier, *(name for _, name, _ in given)]))
        most = min(255, (config.token_pool or 256) - 1)
        if not examples or not names:
            raise UserError("a support set needs a prompt for at least one class on one image")
        if len(names) > most:
            raise UserError(f"{len(names)} classes; this model supports at most {most} classes")
        images = [self.encode(image) for image, _ in examples]
        annotated, supports, rows = [], [], []
        for s, name, marks in given:
            where, frame = f"class {name!r} of support image {s + 1}", images[s].frame
            annotated.append((frame, to_drawn(marks, frame.size, where)))
            supports.append(s)
            rows.append(names.index(name) + 1)
        collated = collate_prompts(annotated, supports, rows, config.mask_size)
        embeddings = torch.cat([image.embeddings for image in images])
        episode = torch.zeros(len(images), dtype=torch.int64, device=self.device)
        token_rows = torch.arange(len(names) + 1, device=self.device)[None]  # drawn in training
        prompts = to_device(collated, self.device)
        with self._autocast():
            pairs = encoder.encode(embeddings, prompts, episode, token_rows)
            if known:
                old = known.value.pairs
                pairs = old.joined(replace(pairs, support=pairs.support + old.support.max() + 1))
            value = encoder.combine(pairs, torch.ones_like(token_rows, dtype=torch.bool))
        return SupportSet(names, self.card.sha256, value)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _checked(self, support: SupportSet) -> SupportSet:
        """The support set where the weights are."""
        if support.model != self.card.sha256:
            both = f"{support.model[:12]}, these are {self.card.sha256[:12]}"
            raise UserError(f"the support set was made by the weights {both}; make it anew")
        return to_device(support, self.device)


def _unnamed(model: LabelAnything) -> ModelCard:
    """The card of a model that was not loaded from a file, known by the hash of its weights."""
    return ModelCard(
        "unnamed", sha256(as_bytes(model.state_dict())).hexdigest(), trained_on="unknown data"
    )


def read_support(predictor: Predictor, path: str | Path) -> SupportSet:
    """The support set of a `prompts.json` file (`la.predict.prompts_file`), or one that was saved.

    Raises FileNotFoundError if the file or an image in it is missing, ValueError for a wrong entry.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFile(f"no file {path}; draw_prompts.ipynb saves a prompts.json")
    if path.suffix == ".safetensors":
        return SupportSet.load(path)
    drawing = prompts_file.read(path)
    pairs = zip(drawing.images, annotate(drawing), strict=True)
    return predictor.support([(path.parent / i.file_name, found) for i, found in pairs if found])


def predict_folder(
    predictor: Predictor, support: SupportSet, images: Path, out: Path, *, progress: bool = True
) -> Path:
    """`segment_folder` with a predictor; a second call goes on where the first one stopped.

    Raises ValueError if `out` holds predictions for another support set or from other weights.
    """
    kept = out / "support.safetensors"
    if not kept.exists():
        support.save(kept)
    before = SupportSet.load(kept)
    same = (before.class_names, before.model) == (support.class_names, support.model)
    pair = before.value.prototypes, support.value.prototypes.cpu()
    if not same or not torch.allclose(*pair, rtol=1e-3, atol=1e-3):  # other threads, other digits
        raise UserError(f"{out} holds predictions for another support set; give another folder")

    def segment(path: Path) -> np.ndarray:
        return predictor.predict(path, support).labels

    return segment_folder(segment, support.class_names, images, out, progress=progress)
