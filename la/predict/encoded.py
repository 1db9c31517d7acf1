"""Images that the backbone has encoded, and examples: images with what is prompted on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from la.config import ModelConfig
from la.data.sampling.geometry import Frame
from la.errors import UserError
from la.predict.prompts.photos import Photo, Prompt
from la.types import Box, Point
from la.wording import counted


@dataclass(frozen=True)
class EncodedImage:
    """An image after the backbone; `Predictor` takes it wherever it takes an image."""

    image: Image.Image  # RGB, upright; its predictions have the same size
    frame: Frame  # of the original size, in which prompts are
    embeddings: Tensor  # (1, D, h, w), after backbone and neck


Examples = Sequence[tuple[Photo | EncodedImage, Mapping[str, Sequence[Prompt]]]]


def classes_of(examples: Examples, before: Sequence[str], most: int) -> tuple[str, ...]:
    """The classes before, and then further ones in the order in which they first appear.

    Raises:
        UserError: there is none, or there are more than `most`.
    """
    if isinstance(examples, str | Path):
        raise UserError(
            f"{examples} is not a list of examples; la.predict.support_file.read_support makes a "
            "support set of a prompts.json"
        )
    names = list(before)
    for number, (_, prompts_of_class) in enumerate(examples, 1):
        if not isinstance(prompts_of_class, Mapping):
            raise UserError(
                f"support image {number} has a {type(prompts_of_class).__name__} of prompts; "
                'give {"dog": [Box(..)]}, a list of prompts for each class'
            )
        names += [name for name in prompts_of_class if name not in names]
    if not examples or not names:
        raise UserError("a support set needs a prompt for at least one class on one image")
    if len(names) > most:
        asked = counted(len(names), "class")
        raise UserError(f"{asked}; this model supports at most {counted(most, 'class')}")
    return tuple(names)


def check_adaptable(
    examples: Examples,
    steps: int,
    config: ModelConfig,
    photographs: Sequence[str] = (),
) -> None:
    """Check, before an image is encoded, that a decoder can be adapted to the examples.

    Args:
        examples: whose classes `classes_of` has read.
        steps: how many are asked for.
        config: of the model.
        photographs: what messages call the images; when omitted, they are counted.

    Raises:
        UserError: `steps` is negative, the model is one of the authors', or a class has no mask
            on an image on which it is prompted.
    """
    if steps < 0:
        raise UserError(f"adapt_steps is {steps}; give 0 to leave the model as it is, or 30")
    if config.mode == "exact":
        raise UserError(
            "the authors' models cannot be adapted, because they encode examples jointly; leave "
            "out adapt_steps (--adapt-steps)"
        )
    for number, (_, prompts_of_class) in enumerate(examples):
        for name, prompts in prompts_of_class.items():
            each = prompts if isinstance(prompts, list | tuple) else [prompts]
            if all(isinstance(prompt, Point | Box) for prompt in each):
                image = photographs[number] if photographs else f"support image {number + 1}"
                raise UserError(
                    f"class {name!r} has no mask on {image}; adaptation learns from masks: draw "
                    "one there, or leave out adapt_steps (--adapt-steps)"
                )
