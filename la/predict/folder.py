"""Segments a folder of photographs and resumes after an interruption: `python -m la predict`."""

import errno
import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from la.data.coco.index import CocoIndex
from la.data.pictures.contents import picture_digest
from la.data.pictures.picture_files import distinct, file_id
from la.errors import MissingFile, UserError
from la.files import check_folder, progress_bar, write_whole
from la.formats.export import exporters, write_legend
from la.formats.label_maps import LabelMap, coco
from la.predict.photo_files import find_photos, other_pictures
from la.predict.predictor import Predictor
from la.predict.support_set import SupportSet
from la.predict.truth import add_iou, check_sizes, scored_classes
from la.wording import counted

log = logging.getLogger(__name__)


def predict_folder(
    predictor: Predictor,
    support: SupportSet,
    images: Path,
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    formats: Sequence[str] = (),
    truth: CocoIndex | None = None,
    support_pictures: Collection[str] = (),
    progress: bool = True,
) -> Path:
    """Segment a folder with a predictor; a second call resumes where the first one stopped.

    Args:
        predictor: the model.
        support: what to segment.
        images: the folder of photographs.
        out: where masks and `predictions.json` are written.
        classes: the list that numbers the classes; when omitted, that of the support set.
        formats: further files to write, names of `la.formats.export.FORMATS`.
        truth: annotations; the photographs that they name get their IoU, see `add_iou`.
        support_pictures: digests of the supports' pictures; photographs that are supports get
            `support`, because their scores are not held out.
        progress: whether a progress bar is shown.

    Raises:
        MissingFile: there is no such folder, or no photograph in it.
        UserError: `out` is the folder of the photographs, or holds predictions for another support
            set or from other weights; or see `la.formats.export.exporters`, `scored_classes` and
            `check_sizes`.
        OSError: `out` cannot be written.
    """
    # These checks raise before any photograph is segmented.
    photos = photos_to_segment(images, out)
    exporter_of = exporters(formats, (path.relative_to(images).as_posix() for path in photos))
    scored = []
    if truth is not None:
        check_sizes(truth, photos)
        scored = scored_classes(support.class_names, truth)
    classes = classes or support.class_names
    _check_same_support(support, out / "support.safetensors")

    def segment(path: Path, name: str) -> LabelMap:
        return predictor.predict(path, support).label_map(name, classes)

    masks, content = segment_folder(segment, classes, images, out, progress=progress)
    _mark_supports(content["images"], masks, support_pictures)
    if truth is not None:
        add_iou(content["images"], masks, truth, classes, scored)
        content["not_scored"] = [name for name in support.class_names if name not in scored]
    predictions = out / "predictions.json"
    write_whole(predictions, json.dumps(content))
    for name, export in exporter_of.items():
        export(masks, classes, images, out / name)
    return predictions


def photos_to_segment(images: Path, out: Path) -> list[Path]:
    """The photographs of a folder, each file once, whose predictions can be written to `out`.

    Raises:
        MissingFile: there is no such folder, or no photograph in it.
        UserError: `out` is the folder itself, or holds all of its photographs.
        OSError: `out` cannot be written.
    """
    if images.resolve() == out.resolve():
        raise UserError(
            f"{out} is the folder of the photographs as well; give another one for the predictions"
        )
    check_folder(out)
    return [Path(path) for path in distinct(map(str, find_photos(images, out)))]


def _mark_supports(
    entries: list[dict[str, Any]],
    masks: "Masks",
    support_pictures: Collection[str],
) -> None:
    """Add `support` to the entries of photographs that are supports, in place, and say so."""
    n_supports = 0
    for entry in entries:
        if masks.picture(entry["file_name"]) in support_pictures:
            entry["support"] = True
            n_supports += 1
    if n_supports:
        photographs = counted(n_supports, "photograph")
        log.warning("not held out, and marked `support`: %s that the model was shown", photographs)


def _check_same_support(support: SupportSet, path: Path) -> None:
    """Write the support set to `path`, or compare it with the one that is there.

    Raises:
        UserError: they differ, so the masks in the folder belong to another support set.
    """
    if not path.exists():
        support.save(path)
    earlier = SupportSet.load(path)
    if earlier.adapt_steps != support.adapt_steps:
        raise UserError(
            f"{path.parent} holds predictions with --adapt-steps {earlier.adapt_steps}, and this "
            f"support set has {support.adapt_steps}; give another folder"
        )
    is_same = earlier.class_names == support.class_names and earlier.model == support.model
    # Not equal, because the number of threads changes the last digits.
    if not is_same or not torch.allclose(
        earlier.value.prototypes,
        support.value.prototypes.cpu(),
        rtol=1e-3,
        atol=1e-3,
    ):
        raise UserError(
            f"{path.parent} holds predictions for another support set; give another folder"
        )


def segment_folder(
    segment: Callable[[Path, str], LabelMap],
    classes: Sequence[str],
    images: Path,
    out: Path,
    *,
    progress: bool,
) -> tuple["Masks", dict[str, Any]]:
    """A palette PNG for each photograph under a folder and its sub-folders, and a COCO file.

    `a/b.jpg` becomes `out/masks/a/b.jpg.png`; `out/masks/legend.csv` names the classes. An
    existing PNG is kept if it was made from the same picture. The COCO file also lists photographs
    that cannot be read, or whose name is too long to write, with the reason (`skipped`), and the
    others by ascending margin (`least_sure_first`).

    Args:
        segment: gives the label map of a photograph by its path and its name.
        classes: the names of the label maps' rows.
        images: the folder of photographs.
        out: the folder of the `masks`.
        progress: whether a progress bar is shown.

    Returns:
        The label maps, and the content of the COCO file.

    Raises:
        MissingFile: there is no such folder, or no photograph in it.
        UserError: all photographs are in `out`.
        OSError: a PNG cannot be written, for instance because the disk is full.
    """
    masks = Masks(out / "masks")
    skipped = []
    name_of: dict[object, str] = {}  # by file, to which several links may lead
    for path in progress_bar(
        find_photos(images, out), "segmenting", unit="image", disable=not progress
    ):
        name = path.relative_to(images).as_posix()
        first_name = name_of.setdefault(file_id(path), name)
        if first_name != name:
            skipped.append({"file_name": name, "reason": f"it is the same file as {first_name}"})
            continue
        try:
            masks.complete(path, name, segment)
        except (UserError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
                raise  # such as a full disk, which would stop all further photographs too
            log.warning("skipped: %s", error)
            skipped.append({"file_name": name, "reason": str(error)})
    for path in other_pictures(images, out):
        name = path.relative_to(images).as_posix()
        reason = f"{path.suffix} is not read; save it as JPEG or PNG"
        skipped.append({"file_name": name, "reason": reason})
    margins = {label_map.file_name: label_map.margin for label_map in masks}
    content = coco(masks, classes)
    content["least_sure_first"] = sorted(margins, key=margins.__getitem__)
    content["skipped"] = skipped
    write_legend(classes, out / "masks" / "legend.csv")
    return masks, content


class Masks:
    """The label maps that a folder holds as PNG files; iteration reads one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pictures: dict[str, str] = {}  # digests by photograph's name

    def complete(
        self,
        path: Path,
        name: str,
        segment: Callable[[Path, str], LabelMap],
    ) -> None:
        """Segment a photograph unless its label map exists.

        Raises:
            UserError: the photograph cannot be read.
            OSError: the PNG cannot be written.
        """
        if not path.is_file():  # opening a pipe would wait forever
            raise MissingFile(f"{path} is not a file; put the photograph there")
        try:
            picture = picture_digest(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from None
        png = self._png(name)
        if not png.exists() or LabelMap.load(png, name, picture) is None:
            segment(path, name).save(png, picture)
        self._pictures[name] = picture

    def picture(self, name: str) -> str:
        """The digest of a photograph's picture."""
        return self._pictures[name]

    def __iter__(self) -> Iterator[LabelMap]:
        for name, picture in self._pictures.items():
            label_map = LabelMap.load(self._png(name), name, picture)
            if label_map is not None:
                yield label_map

    def _png(self, name: str) -> Path:
        return self.folder / f"{name}.png"
