"""Finds the file of a model: in the package, on disk, or on the Hugging Face hub."""

from dataclasses import dataclass
from pathlib import Path

from la.code import PACKAGE
from la.data.download import AUTHORS, PUBLISHED
from la.errors import MissingFile

SHIPPED = ("photos", "quick")  # profiles whose models are part of this package
FILE = "model.safetensors"  # of a published model's folder
# The image encoders inside the authors' files, with their licences.
MAE = "the image encoder, MAE, Apache-2.0 on the hub and CC BY-NC 4.0 in Meta's repository"
SAM = "the image encoder, SAM, Apache-2.0"
FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")  # no id on the hub ends in one


@dataclass(frozen=True)
class KnownModel:
    """A model that `load` knows by name; it loads other ids on the Hugging Face hub as well."""

    name: str
    megabytes: int
    source: str
    licence: str
    trained_on: str


def _by_the_authors(
    name: str,
    megabytes: int,
    trained_on: str,
    encoder: str,
) -> KnownModel:
    """A model of the authors' on the hub; `encoder` names its image encoder and that licence."""
    return KnownModel(
        name=name,
        megabytes=megabytes,
        source="https://huggingface.co/pasqualedem",
        licence=f"MIT (the authors' code); {encoder}",
        trained_on=trained_on,
    )


KNOWN = (
    KnownModel(
        name="photos",
        megabytes=4,
        source="this package; its image encoder is an installed package of 17 MB",
        licence="MIT; the image encoder, EfficientNet-Lite0, Apache-2.0",
        trained_on="325 photographs of COCO 2017, all classes; the encoder on ImageNet-1k",
    ),
    KnownModel(
        "quick",
        4,
        "this package",
        "MIT",
        "the embedded data set, seen classes of fold 0",
    ),
    *(
        _by_the_authors(name, 381, f"COCO-20i, seen classes of fold {fold}", MAE)
        for fold, name in enumerate(PUBLISHED)
    ),
    _by_the_authors(AUTHORS + "mae_480_coco", 381, "COCO, all classes", MAE),
    _by_the_authors(AUTHORS + "sam_1024_coco", 468, "COCO, all classes", SAM),
)


def shipped(profile: str) -> Path:
    """Where this package keeps the model of a profile."""
    return PACKAGE / "weights" / f"{profile}.safetensors"


def find(source: str) -> Path:
    """The file with the tensors of a model, downloaded if it is on the hub.

    Args:
        source: a known name, an id on the hub, a folder or a file, as `checkpoints.load`
            takes it.

    Raises:
        MissingFile: there is nothing of that name, or it cannot be downloaded.
    """
    path = shipped(source) if source in SHIPPED else Path(source)
    for candidate in (path, path / FILE):
        if candidate.is_file():
            return candidate
    name, _, commit = source.partition("@")
    if not _is_on_hub(name, path):
        known = ", ".join(model.name for model in KNOWN)
        raise MissingFile(
            f"no checkpoint at {source}; give a file, a folder with {FILE}, an id on "
            f"the Hugging Face hub, or one of: {known}"
        )
    return _from_hub(name, commit or "main")


def _is_on_hub(name: str, path: Path) -> bool:
    """Whether a source can only be an id on the hub, OWNER/NAME, and not a mistyped path."""
    if path.exists() or path.suffix in FILE_SUFFIXES or name in SHIPPED:
        return False
    if name in [model.name for model in KNOWN]:
        return True
    # A path's folder usually exists.
    return name.count("/") == 1 and not path.parent.is_dir() and name[0] not in "./~"


def _from_hub(name: str, revision: str) -> Path:
    """The file with the tensors of a hub model; from the cache once it has been downloaded."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(repo_id=name, filename=FILE, revision=revision)
        if isinstance(cached, str):
            return Path(cached)
        hf_hub_download(repo_id=name, filename="config.json", revision=revision)
        return Path(hf_hub_download(repo_id=name, filename=FILE, revision=revision))
    except (OSError, ValueError) as error:
        raise MissingFile(
            f"{name} is not in the local cache, and the Hugging Face hub does not provide it: "
            f"{error}"
        ) from error
