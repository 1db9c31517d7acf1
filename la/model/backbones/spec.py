"""Everything that the workbook needs to know about a frozen image encoder, in one record.

A backbone is added by one `BackboneSpec` in `la.model.backbones` and one profile in `la.profiles`.
"""

import importlib.resources
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from la.errors import MissingFile
from la.folders import weights_folder


@dataclass(frozen=True)
class PublishedFile:
    """Weights that `python -m la fetch` downloads into the folder of weights."""

    fetch_name: str  # the argument of `fetch`
    file_name: str  # in the folder of weights
    url: str
    size: int  # bytes
    sha256: str

    @property
    def remedy(self) -> str:
        """The command that gets the file."""
        return f"python -m la fetch {self.fetch_name} downloads it"

    def path(self) -> Path:
        """The path of the file.

        Raises:
            MissingFile: it has not been downloaded.
        """
        path = weights_folder() / self.file_name
        if not path.is_file():
            raise MissingFile(f"there is no {path}; {self.remedy}")
        return path


@dataclass(frozen=True)
class InstalledFile:
    """Weights that are part of an installed Python package."""

    package: str  # as Python imports it
    file_name: str  # below the package's folder
    requirement: str = "label-anything-workbook"  # as pip installs the package
    sha256: str = ""  # "" where the file may be made again

    @property
    def remedy(self) -> str:
        """The command that installs the file."""
        return f"pip install --force-reinstall {self.requirement} installs it"

    def path(self) -> Path:
        """The path of the file.

        Raises:
            MissingFile: the package is not installed, or lacks the file.
        """
        try:
            folder = importlib.resources.files(self.package)
        except ModuleNotFoundError:
            raise MissingFile(
                f"the package {self.package} is not installed; {self.remedy}"
            ) from None
        path = Path(str(folder / self.file_name))
        if not path.is_file():
            raise MissingFile(f"there is no {path}; {self.remedy}")
        return path


@dataclass(frozen=True)
class BackboneSpec:
    """A frozen image encoder: images (B, 3, H, W) to features (B, V, H / patch, W / patch).

    Images are normalised with ImageNet's mean and deviation; an encoder that was trained on other
    values converts them in `read`.
    """

    name: str  # `ModelConfig.backbone`
    dim: int  # V, channels of its features
    patch_size: int  # side of a feature cell, pixels
    build: Callable[[int], nn.Module]  # side of the images -> encoder whose weights are not set
    read: Callable[[nn.Module, Tensor], Tensor]  # encoder, images -> features
    weights: PublishedFile | InstalledFile
    images_at_once: int  # that a GPU encodes in at most 11 GB
    licence: str  # of the weights
    drawings_only: bool = False  # trained on generated drawings alone, so useless for photographs
    prefix: str = ""  # of the encoder's tensors, where the file holds a larger model
    unused: tuple[str, ...] = ()  # beginnings of the names of tensors that play no role here
    canonical: Callable[[str], str] = str  # maps the spellings of a tensor's name to one
    images_at_once_on_cpu: int | None = None  # where it differs from a GPU's

    def batch_size(self, device: torch.device) -> int:
        """How many images a device encodes at once."""
        if device.type == "cpu" and self.images_at_once_on_cpu is not None:
            return self.images_at_once_on_cpu
        return self.images_at_once


def call(encoder: nn.Module, images: Tensor) -> Tensor:
    """Features of an encoder whose output is already what `BackboneSpec.read` returns."""
    return encoder(images)
