"""A support set as a value: made once, saved, extended, and used for any number of images (3.2)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import Tensor

from la.errors import UserError
from la.files import write_whole
from la.learn.weights.checkpoints import as_bytes
from la.model.prototypes import Pairs, Support

PAIRS = [attribute.name for attribute in fields(Pairs)]


@dataclass(frozen=True)
class SupportSet:
    """Prototypes of named classes, and the class-example embeddings that they are the means of."""

    class_names: tuple[str, ...]  # of rows 1, 2, ...; row 0 is background
    model: str  # hash of the weights that made it
    value: Support
    adapt_steps: int = 0  # of `la.learn.adaptation`
    decoder: Mapping[str, Tensor] = field(default_factory=dict)  # the weights that they changed

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the names as JSON in its metadata; whole or not at all."""
        about = {
            "class_names": self.class_names,
            "model": self.model,
            "adapt_steps": self.adapt_steps,
        }
        tensors = {
            "prototypes": self.value.prototypes,
            "class_valid": self.value.class_valid,
        }
        for name, tensor in vars(self.value.pairs).items():
            tensors[f"pairs.{name}"] = tensor
        for name, tensor in self.decoder.items():
            tensors[f"decoder.{name}"] = tensor
        write_whole(Path(path), as_bytes(tensors, {"la_support": json.dumps(about)}))

    @classmethod
    def load(cls, path: str | Path) -> "SupportSet":
        """The inverse of `save`.

        Raises:
            UserError: the file is not a support set.
        """
        try:
            with safetensors.safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["la_support"])
            tensors = load_file(path)
            pairs = Pairs(**{name: tensors[f"pairs.{name}"] for name in PAIRS})
            value = Support(tensors["prototypes"], tensors["class_valid"], pairs)
            decoder = {
                name.removeprefix("decoder."): tensor
                for name, tensor in tensors.items()
                if name.startswith("decoder.")
            }
            steps = about.get("adapt_steps", 0)  # files of earlier versions do not have it
            return cls(tuple(about["class_names"]), about["model"], value, steps, decoder)
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is not a saved support set: {error!r}") from None


def joined_pairs(supports: Sequence[SupportSet]) -> Pairs:
    """The pairs of support sets with the same classes.

    Raises:
        UserError: their classes differ.
    """
    pairs = supports[0].value.pairs
    for support in supports[1:]:
        if support.class_names != supports[0].class_names:
            raise UserError("support sets with different classes cannot be joined; use extend")
        pairs = numbered_on(pairs, support.value.pairs)
    return pairs


def numbered_on(earlier: Pairs, later: Pairs) -> Pairs:
    """All pairs, with the support images of the later ones numbered on."""
    n_earlier = earlier.support.max() + 1
    return earlier.joined(replace(later, support=later.support + n_earlier))
