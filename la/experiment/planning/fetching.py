"""What `python -m la fetch` downloads: COCO, the authors' models, or the weights of a backbone."""

from pathlib import Path
from typing import TYPE_CHECKING

from la.config import Config
from la.data import download
from la.data.transfer import Remote
from la.errors import MissingFile, UserError
from la.folders import weights_folder
from la.model.backbones import BACKBONES, backbone_spec
from la.model.backbones.spec import PublishedFile
from la.profiles import PUBLISHED

if TYPE_CHECKING:
    from la.experiment.setup.workbench import Workbench


def weights_of(config: Config) -> str | None:
    """The argument of `fetch` for the weights of a profile; None if they need no download."""
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
        OSError: the disk has no room, the server lacks the file, or the connection keeps breaking.
    """
    files = _backbone_files()
    if what in files:
        file = files[what]
        remote = Remote(file.url, file.size, f"sha256:{file.sha256}")
        return download.download(remote, root / file.file_name, mirror=mirror)
    if what not in ("coco", "published"):
        names = ", ".join(["coco", "published", *files])
        raise UserError(f"{what!r} cannot be fetched; known: {names}")
    return download.fetch(what, root, mirror=mirror)


def _backbone_files() -> dict[str, PublishedFile]:
    """The backbones' weights that can be downloaded, by the argument of `fetch`."""
    weights = [spec.weights for spec in BACKBONES.values()]
    return {file.fetch_name: file for file in weights if isinstance(file, PublishedFile)}


def lacking(
    bench: "Workbench", what: str | None
) -> tuple[dict[str, Path], dict[Path, int], list[Exception]]:
    """What is missing: arguments of `fetch` with their folders, bytes by folder, and the errors."""
    coco, weights = download.coco_folder(bench.home / "cache"), weights_folder()
    to_fetch: dict[str, Path] = {}
    needs: dict[Path, int] = {}
    problems: list[Exception] = []
    if (
        bench.config.data == "coco"
        and bench.source is None
        and (names := download.coco_missing(coco))
    ):
        to_fetch["coco"], needs[coco] = coco, download.coco_bytes(coco)
        problems.append(MissingFile(
            f"COCO is not complete in {coco}, which lacks {', '.join(names)}; python -m la fetch "
            "coco downloads it, LA_COCO=FOLDER names another place, and --data FOLDER (DATA=FOLDER "
            "for make) other data"
        ))  # fmt: skip
    files = files_of(what, weights) if what else ()
    absent = [path for path in files if not path.is_file()]
    if what and absent:
        to_fetch[what] = weights
        needs[weights] = needs.get(weights, 0) + size_of(what)
        problems.append(
            MissingFile(f"there is no {absent[0]}; python -m la fetch {what} downloads it")
        )
    return to_fetch, needs, problems
