"""What `python -m la fetch` downloads: COCO, the authors' models, or the weights of a backbone."""

from pathlib import Path

from la.config import Config
from la.data import download
from la.data.transfer import Remote
from la.errors import UserError
from la.model.backbones import BACKBONES, backbone_spec
from la.model.backbones.spec import PublishedFile
from la.profiles import PUBLISHED


def weights_of(config: Config) -> str | None:
    """The argument of `fetch` for the weights that a profile reads; None where none are missing."""
    if config.profile == PUBLISHED:
        return "published"
    weights = backbone_spec(config.model.backbone).weights
    return weights.fetch_name if isinstance(weights, PublishedFile) else None


def files_of(what: str, root: Path) -> tuple[Path, ...]:
    """The files that `fetch` of the authors' models or of a backbone puts below `root`."""
    if what == "published":
        return download.published_files(root)
    return (root / _backbone_files()[what].file_name,)


def size_of(what: str) -> int:
    """The approximate size of these files in bytes."""
    return download.PUBLISHED_BYTES if what == "published" else _backbone_files()[what].size


def fetch(what: str, root: Path, *, mirror: str | None = None) -> Path:
    """Download what is missing into the folder `root`, and return the file or folder.

    Args:
        what: "coco", "published", or the `fetch_name` of a backbone's weights.
        mirror: scheme and host to use instead of the publisher's; the path is the same.

    Raises:
        UserError: the name is unknown, or the server sent a file that is not the published one.
        OSError: the disk is full, the server has no such file, or the connection keeps breaking.
    """
    files = _backbone_files()
    if what in files:
        file = files[what]
        remote = Remote(file.url, file.size, f"sha256:{file.sha256}")
        return download.download(remote, root / file.file_name, mirror=mirror)
    if what not in ("coco", "published"):
        names = ", ".join(["coco", "published", *files])
        raise UserError(f"nothing is known as {what!r}; known: {names}")
    return download.fetch(what, root, mirror=mirror)


def _backbone_files() -> dict[str, PublishedFile]:
    """The backbones' weights that can be downloaded, by the argument of `fetch`."""
    weights = [spec.weights for spec in BACKBONES.values()]
    return {file.fetch_name: file for file in weights if isinstance(file, PublishedFile)}
