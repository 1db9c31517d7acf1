"""Predictor: images and prompts in, label maps out (paper 3.1).

No state is kept between calls: `encode` returns an image as a value, `support` a support set, and
`predict` takes both. Each is computed once and can be used any number of times in any order.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from la.data.pictures.images import DRAWING_SCALE
from la.data.sampling.geometry import Frame
from la.data.sampling.prompts import collate_prompts
from la.errors import UserError
from la.learn.adaptation import adapted_weights, with_decoder
from la.learn.device import to_device
from la.learn.weights.checkpoints import as_bytes
from la.model.backbone import build_backbone
from la.model.backbones import backbone_spec
from la.model.label_anything import LabelAnything
from la.predict.encoded import EncodedImage, Examples, check_adaptable, classes_of
from la.predict.prediction import Prediction
from la.predict.prompts.photos import Photo, open_photo, to_drawn, warn_of_photographs
from la.predict.support_set import SupportSet, joined_pairs, numbered_on
from la.types import ModelCard, Prompts

if TYPE_CHECKING:  # it takes a predictor itself
    from la.predict.scoring import Evaluation


class Predictor:
    """A model for images of any size and origin; prompts are in original pixels.

    Paths, PIL images, arrays and tensors (see `open_photo`) and what `encode` returned are images.
    Calls do not change the predictor, so threads may share it. It runs on the device of the
    weights. A model without a backbone gets the pretrained one that its configuration names.
    `bfloat16` computes under autocast; docs/speed.md says what that costs in accuracy.
    """

    def __init__(
        self, model: LabelAnything, card: ModelCard | None = None, *, bfloat16: bool = False
    ) -> None:
        self.model = model
        self.bfloat16 = bfloat16
        self.card = card or model.card or _unnamed(model)
        self.device = next(model.parameters()).device
        backbone = model.backbone or build_backbone(model.config)
        self._backbone = backbone.to(self.device).eval()

    def describe(self) -> dict[str, str]:
        """Name, hash (twelve digits) and training data of the weights."""
        drawings_only = backbone_spec(self.model.config.backbone).drawings_only
        limits = " (for drawings, not photographs)" if drawings_only else ""
        return {
            "name": self.card.name,
            "hash": self.card.sha256[:12],
            "trained_on": self.card.trained_on + limits,
        }

    @torch.inference_mode()
    def encode(self, image: Photo | EncodedImage, long_side: int | None = None) -> EncodedImage:
        """The image through the frozen backbone, which is nearly all of the work.

        Args:
            image: what `open_photo` takes.
            long_side: predictions for the image, and the image that they hold, have at most
                this many pixels a side; prompts stay in original pixels. When omitted, no limit.

        Raises:
            MissingFile, UserError: it is not an image, see `open_photo`.
        """
        if isinstance(image, EncodedImage):
            return image
        config = self.model.config
        photo = open_photo(image)
        drawings_only = backbone_spec(config.backbone).drawings_only
        if drawings_only and max(photo.size) > DRAWING_SCALE * config.image_size:
            warn_of_photographs(self.card.name)
        frame = Frame((photo.height, photo.width), config.image_size, config.resize)
        pixels = frame.image(photo)[None].to(self.device)  # (1, 3, side, side)
        with self._autocast():
            features = self._backbone(pixels)
            embeddings = self.model.encode_features(features)
        if long_side is not None and max(photo.size) > long_side:
            photo = photo.copy()
            photo.thumbnail((long_side, long_side))
        return EncodedImage(photo, frame, embeddings)

    def support(
        self,
        examples: Examples,
        class_names: Sequence[str] | None = None,
        *,
        adapt_steps: int = 0,
    ) -> SupportSet:
        """The support set of `[(image, {"dog": [Box(..), Point(..)], "cat": [mask]}), ...]`.

        Args:
            examples: at least one image with a prompt.
            class_names: gives the order of the rows; when omitted, the classes have the order in
                which they first appear.
            adapt_steps: gradient steps of the decoder's last layers on the examples, see
                `la.learn.adaptation`; 30 helped with five examples of a class.

        Raises:
            UserError: nothing is prompted, there are more classes than the model supports, or a
                prompt does not fit its image; the message says which. Or the decoder is to be
                adapted and cannot be, see `check_adaptable`.
        """
        return self._support(None, examples, class_names or (), adapt_steps)

    def extend(self, support: SupportSet, examples: Examples) -> SupportSet:
        """A support set with further images; they may bring further classes.

        The same as one made of all examples at once, except for `exact` weights, with which an
        example's embedding depends on what else is in the batch.

        Raises:
            UserError: see `support`; or other weights made the support set, or it is adapted.
        """
        earlier = self._extendable(support)
        return self._support(earlier, examples, earlier.class_names)

    @property
    def examples_interact(self) -> bool:
        """Whether an example's embedding depends on its batch, which rules out `join`."""
        return self.model.config.mode == "exact"

    @torch.inference_mode()
    def join(self, supports: Sequence[SupportSet]) -> SupportSet:
        """One support set of several with the same classes, as made of all examples at once.

        Raises:
            UserError: other weights made one of them, one is adapted, or their classes differ.
        """
        pairs = joined_pairs([self._extendable(support) for support in supports])
        head = supports[0]
        with self._autocast():
            value = self.model.prompt_encoder.combine(pairs, self._checked(head).value.class_valid)
        return SupportSet(head.class_names, self.card.sha256, value)

    @torch.inference_mode()
    def predict(self, image: Photo | EncodedImage, support: SupportSet) -> Prediction:
        """Segment an image into the classes of a support set.

        Raises:
            MissingFile, UserError: see `encode` and `extend`.
        """
        prototypes = self._checked(support).value
        query = self.encode(image)
        model = with_decoder(self.model, support.decoder) if support.decoder else self.model
        with self._autocast():
            logits = model.decode(query.embeddings, prototypes).float()  # (1, C, h, w)
        logits[:, 0] += self.card.bias
        frame = query.frame
        if query.image.size != frame.size[::-1]:
            frame = replace(frame, size=(query.image.height, query.image.width))
        original = frame.original_logits(logits)[0]  # (C, H, W)
        rows = original.max(0).indices  # argmax is ten times slower
        return Prediction(
            labels=rows.to(torch.uint8).cpu().numpy(),
            class_names=support.class_names,
            image=query.image,
            frame=frame,
            logits=logits[0].cpu(),
        )

    def evaluate(
        self,
        prompts: str | Path,
        data: str | Path,
        *,
        adapt_steps: int = 0,
    ) -> "Evaluation":
        """The scores of the support set of a `prompts.json` on a folder in COCO format.

        Raises:
            MissingFile, UserError: see `la.predict.scoring.evaluate_files`.
        """
        from la.predict.scoring import evaluate_files

        return evaluate_files(self, Path(prompts), Path(data), adapt_steps)

    @torch.inference_mode()
    def _support(
        self,
        earlier: SupportSet | None,
        examples: Examples,
        class_names: Sequence[str],
        adapt_steps: int = 0,
    ) -> SupportSet:
        """A support set of the examples, joined to an earlier one."""
        most = min(255, (self.model.config.token_pool or 256) - 1)
        names = classes_of(examples, class_names, most)
        if adapt_steps:
            check_adaptable(examples, adapt_steps, self.model.config)
        images = [self.encode(image) for image, _ in examples]
        prompts = self._collated(images, examples, names)
        embeddings = torch.cat([image.embeddings for image in images])  # (S, D, h, w)
        episode = torch.zeros(len(images), dtype=torch.int64, device=self.device)
        # Training draws the rows of the class token pool; here class n has row n.
        token_rows = torch.arange(len(names) + 1, device=self.device)[None]  # (1, C)
        class_valid = torch.ones_like(token_rows, dtype=torch.bool)
        encoder = self.model.prompt_encoder
        with self._autocast():
            pairs = encoder.encode(embeddings, prompts, episode, token_rows)
            if earlier is not None:
                pairs = numbered_on(earlier.value.pairs, pairs)
            value = encoder.combine(pairs, class_valid)
        decoder = {}
        if adapt_steps:
            decoder = adapted_weights(self.model, embeddings, prompts, adapt_steps)
        return SupportSet(names, self.card.sha256, value, adapt_steps, decoder)

    def _collated(
        self, images: Sequence[EncodedImage], examples: Examples, names: Sequence[str]
    ) -> Prompts:
        """The prompts of all examples as tensors, in input pixels."""
        drawn = []
        supports = []
        rows = []
        for number, (_, prompts_of_class) in enumerate(examples):
            frame = images[number].frame
            for name, prompts in prompts_of_class.items():
                where = f"class {name!r} of support image {number + 1}"
                checked = to_drawn(prompts, frame.size, where)
                drawn.append((frame, checked))
                supports.append(number)
                rows.append(names.index(name) + 1)
        collated = collate_prompts(drawn, supports, rows, self.model.config.mask_size)
        return to_device(collated, self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _extendable(self, support: SupportSet) -> SupportSet:
        """The same as `_checked`; its weights must not depend on the examples that it has."""
        if support.decoder:
            raise UserError("an adapted support set cannot be extended; make it of all examples")
        return self._checked(support)

    def _checked(self, support: SupportSet) -> SupportSet:
        """The support set on the device of the weights that made it."""
        if support.model != self.card.sha256:
            raise UserError(
                f"the support set was made by the weights {support.model[:12]}, these are "
                f"{self.card.sha256[:12]}; make it again"
            )
        return to_device(support, self.device)


def _unnamed(model: LabelAnything) -> ModelCard:
    """The card of a model that was not loaded from a file, with the hash of its weights."""
    weights = sha256(as_bytes(model.state_dict())).hexdigest()
    return ModelCard("unnamed", weights, trained_on="unknown data")
