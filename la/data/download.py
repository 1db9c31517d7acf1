"""Downloads what a paper run needs besides its backbone: COCO, and the authors' models."""

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from la.data.transfer import Remote, download, part_of, size_of, unpack
from la.errors import UserError
from la.files import check_disk, claim

COCO = "http://images.cocodataset.org"
HUB = "https://huggingface.co"


def _images(name: str, size: int, md5: str, files: int) -> Remote:
    """An archive of COCO's images."""
    return Remote(f"{COCO}/zips/{name}.zip", size, f"md5:{md5}", rf"{name}/[^/]+\.jpg", files)


FILES = {
    "annotations": Remote(
        f"{COCO}/annotations/annotations_trainval2014.zip", 252_872_794,
        "md5:0a379cfc70b0e71301e0f377548639bd", r"annotations/instances_(train|val)2014\.json", 2,
    ),
    "train2014": _images("train2014", 13_510_573_713, "0da8c0bd3d6becc4dcb32757491aca88", 82_783),
    "val2014": _images("val2014", 6_645_013_297, "a3d79f5ed8d289b7a7554ce06a5782b3", 40_504),
    "train2017": _images("train2017", 19_336_861_798, "cced6f7f71b7629ddf16f17bbcfab6b2", 118_287),
    "val2017": _images("val2017", 815_585_330, "442b8da7639aecaf257c1dceb8ba8c80", 5_000),
}  # fmt: skip
LAYOUTS = (("train2014", "val2014"), ("train2017", "val2017"))  # the same images under other names
AUTHORS = "pasqualedem/label_anything_"  # how the ids of the authors' models on the hub begin
PUBLISHED = tuple(  # ids of the models that were trained on the seen classes of folds 0 to 3
    f"{AUTHORS}coco_fold{fold}_mae_{run}"
    for fold, run in enumerate(("7a5p0t63", "coh54ws0", "2pnppb7k", "a2gk7tet"))
)
PUBLISHED_FILES = ("config.json", "model.safetensors")
PUBLISHED_BYTES = 4 * 381_000_000  # the four models together, rounded


def coco_folder(cache: Path) -> Path:
    """The folder of COCO: `LA_COCO`, else `coco` in the cache."""
    return Path(os.environ.get("LA_COCO") or cache / "coco")


def coco_missing(root: Path) -> tuple[str, ...]:
    """Names in `FILES` that `root` lacks, for the layout (2014 or 2017) that is more complete."""

    def n_to_download(layout: tuple[str, ...]) -> int:
        return sum(_bytes_to_download(root, name) > 0 for name in layout)

    layout = min(LAYOUTS, key=n_to_download)
    return tuple(name for name in ("annotations", *layout) if not _is_unpacked(root, name))


def coco_bytes(root: Path) -> int:
    """Bytes of disk that `fetch("coco", root)` needs: the archives and their unpacked files."""
    total = 0
    for name in coco_missing(root):
        total += _bytes_to_download(root, name) + FILES[name].size
    return total


def published_folder(root: Path, fold: int) -> Path:
    """The folder of the authors' model of a fold, below the folder of weights."""
    return root / "published" / f"fold{fold}"


def published_model(root: Path, fold: int) -> Path:
    """The weights of the authors' model of a fold, below the folder of weights."""
    return published_folder(root, fold) / "model.safetensors"


def published_files(root: Path) -> tuple[Path, ...]:
    """The files of the authors' four models below the folder of weights."""
    return tuple(published_folder(root, n) / name for n in range(4) for name in PUBLISHED_FILES)


def fetch(what: str, root: Path, *, mirror: str | None = None) -> Path:
    """Download what is missing of "coco" or "published" into the folder `root`, and return it.

    Args:
        root: the folder to download into.
        mirror: scheme and host to use instead of the publisher's; paths and checksums are the same.

    Raises:
        UserError: the name is unknown, or the server sent a file that is not the published one.
        OSError: the disk has no room, the server lacks the file, or the connection keeps breaking.
    """
    if what == "coco":
        check_disk({root: coco_bytes(root)})
        for name in coco_missing(root):
            _fetch_archive(name, root, mirror)
    elif what == "published":
        for fold in range(len(PUBLISHED)):
            _fetch_published(fold, published_folder(root, fold), mirror)
    else:
        raise UserError(f"{what!r} is unknown; fetch coco or published")
    return root


def _fetch_archive(name: str, root: Path, mirror: str | None) -> None:
    """Download and unpack an archive, and delete it unless it was there before."""
    archive = _archive(root, name)
    with claim(root / name, wait=True):
        was_there = archive.exists()
        if not was_there:
            download(FILES[name], archive, mirror=mirror)
        unpack(archive, root, FILES[name].pattern)
        if not _is_unpacked(root, name):
            raise UserError(
                f"{archive} does not hold the {FILES[name].files} files of {name}; delete it and "
                "fetch it again"
            )
        if not was_there:
            os.sync()
            archive.unlink()


def _fetch_published(fold: int, folder: Path, mirror: str | None) -> None:
    """Download the files of a fold's model that `folder` lacks, at one commit of the hub.

    The hub answers a HEAD request with the commit, the size and, for weights, the SHA-256.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    model_id = PUBLISHED[fold]
    endpoint = (mirror or HUB).rstrip("/")
    commit = None  # of the first file; the second file is taken from the same commit
    for name in PUBLISHED_FILES:
        if (folder / name).exists():
            continue
        url = hf_hub_url(model_id, name, revision=commit, endpoint=endpoint)
        try:
            metadata = get_hf_file_metadata(url)
        except Exception as error:  # the network errors differ between releases of the hub's client
            reason = str(error).splitlines()[0]
            raise ConnectionError(
                f"{model_id} could not be downloaded from {endpoint} ({reason}); try again later, "
                f"or run: hf download {model_id} {' '.join(PUBLISHED_FILES)} --local-dir {folder}"
            ) from None
        commit = metadata.commit_hash
        url = hf_hub_url(model_id, name, revision=commit, endpoint=endpoint)
        # The ETag is the SHA-256 of a file in Git LFS, and the Git hash of any other file.
        tag = metadata.etag or ""
        checksum = f"sha256:{tag}" if len(tag) == 64 else ""
        download(Remote(url, metadata.size or 0, checksum), folder / name)


def _is_unpacked(root: Path, name: str) -> bool:
    """Whether all files of an archive are in `root/name` or in `root/images/name`."""
    for folder in (root / name, root / "images" / name):
        if not folder.is_dir():
            continue
        names = [f"{name}/{entry.name}" for entry in os.scandir(folder)]
        matching = [n for n in names if re.fullmatch(FILES[name].pattern, n)]
        if len(matching) >= FILES[name].files:
            return True
    return False


def _archive(root: Path, name: str) -> Path:
    return root / PurePosixPath(urlsplit(FILES[name].url).path).name


def _bytes_to_download(root: Path, name: str) -> int:
    """Bytes of an archive that are neither downloaded nor unpacked."""
    archive = _archive(root, name)
    if archive.exists() or _is_unpacked(root, name):
        return 0
    return FILES[name].size - size_of(part_of(archive))
