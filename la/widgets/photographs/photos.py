"""The photographs of an editor, and the predictor that it calls."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from la.data.pictures.picture_files import is_picture
from la.errors import MissingFile
from la.files import write_whole
from la.predict.prediction import Prediction
from la.predict.prompts import photos
from la.predict.prompts.drawing import Role
from la.predict.prompts.photos import Prompt
from la.widgets.page.browser import LONG_SIDE


class LivePredictor(Protocol):
    """The methods that the editor calls; `la.predict.predictor.Predictor` has them."""

    examples_interact: bool  # if so, a support set is computed from all examples at once

    def describe(self) -> dict[str, str]:
        """Name, hash and training data of the model."""
        ...

    def encode(
        self,
        image: Image.Image,
        long_side: int | None = None,
    ) -> Any:
        """The image after the backbone; its predictions have at most `long_side` pixels a side."""
        ...

    def support(
        self,
        examples: Sequence[tuple[Any, Mapping[str, Sequence[Prompt]]]],
        class_names: Sequence[str] | None = None,
    ) -> Any:
        """A support set from (encoded image, {class: prompts}), its rows in the order of names."""
        ...

    def join(self, supports: Sequence[Any]) -> Any:
        """One support set of several with the same classes."""
        ...

    def predict(self, image: Any, support: Any) -> Prediction:
        """The label map of an image, or of an encoded image."""
        ...


@dataclass(eq=False)
class Photo:
    """A photograph by its path or its content; pixels are decoded when they are needed."""

    id: str  # of the path or of the content; the same in another session
    name: str
    size: tuple[int, int]  # (H, W), upright
    path: Path | None = None  # None for a photograph that has no file yet
    content: bytes | Image.Image | None = None  # None for a photograph that is read from `path`
    encoded: Any = None  # None until a predictor has encoded the photograph
    encoded_by: str = ""  # the hash of the predictor's weights
    _jpegs: dict[int, bytes] = field(default_factory=dict)  # by their long side

    @classmethod
    def open(cls, source: photos.Photo, name: str) -> "Photo":
        """Anything that `open_photo` takes; `name` is used if it has no path.

        Only the header of a file is read, so that a thousand files are opened in a second.

        Raises:
            MissingFile, UserError: there is no such file, or it is not an image.
        """
        if isinstance(source, str | Path):
            path = Path(source)
            digest = sha256(str(path.absolute()).encode())
            size = photos.photo_size(path)
            return cls(digest.hexdigest()[:16], path.name, size, path)
        if isinstance(source, bytes):
            size = photos.photo_size(source, name)
            return cls(sha256(source).hexdigest()[:16], name, size, content=source)
        image = photos.open_photo(source, name)
        digest = sha256(str(image.size).encode() + image.tobytes())
        size = (image.height, image.width)
        return cls(digest.hexdigest()[:16], name, size, content=image)

    @property
    def image(self) -> Image.Image:
        """RGB, upright, at the original size; decoded at each use."""
        if isinstance(self.content, Image.Image):
            return self.content
        return photos.open_photo(self.content or self.path or b"", self.name)

    def reduced(self, long_side: int) -> Image.Image:
        """The photograph, no side longer than this; much faster than `image` for JPEG."""
        if isinstance(self.content, Image.Image):
            small = self.content.copy()
        else:
            small = photos.open_photo(self.content or self.path or b"", self.name, long_side)
        small.thumbnail((long_side, long_side))
        return small

    def jpeg(self, long_side: int) -> bytes:
        """`reduced` as a JPEG file, computed once."""
        if long_side not in self._jpegs:
            file = BytesIO()
            quality = 85 if long_side == LONG_SIDE else 70  # a strip has many thumbnails
            self.reduced(long_side).save(file, "JPEG", quality=quality)
            self._jpegs[long_side] = file.getvalue()
        return self._jpegs[long_side]

    def write(self, path: Path) -> None:
        """Write the content of a photograph that has no file: its bytes, or a PNG of its pixels."""
        if isinstance(self.content, bytes):
            content = self.content
        else:
            file = BytesIO()
            self.image.save(file, "PNG", compress_level=1)
            content = file.getvalue()
        write_whole(path, content)


@dataclass(frozen=True)
class Placed:
    """A photograph and what it is for."""

    photo: Photo
    role: Role

    @property
    def entry(self) -> dict[str, Any]:
        """The item of `PromptEditor.images`; pixels are sent separately, on request."""
        height, width = self.photo.size
        return {
            "id": self.photo.id,
            "file_name": self.photo.name,
            "width": width,
            "height": height,
            "role": self.role,
        }


def placed(
    support: Iterable[photos.Photo],
    queries: Iterable[photos.Photo],
    stem: str = "",
) -> list[Placed]:
    """Supports, then queries; a source that is not a path gets its number as a name.

    Raises:
        MissingFile, UserError: see `Photo.open`; or there is no picture in a folder.
    """
    sources: list[tuple[Role, photos.Photo]] = []
    sources += [("support", source) for source in _without_folders(support)]
    sources += [("query", source) for source in _without_folders(queries)]
    return [
        Placed(Photo.open(source, f"{stem or role}-{number}.png"), role)
        for number, (role, source) in enumerate(sources, 1)
    ]


def _without_folders(sources: Iterable[photos.Photo]) -> Iterator[photos.Photo]:
    """The sources, with each folder replaced by its pictures; a single path needs no list."""
    if isinstance(sources, str | Path):
        sources = [sources]
    for source in sources:
        if not isinstance(source, str | Path) or not Path(source).is_dir():
            yield source
            continue
        pictures = sorted(path for path in Path(source).iterdir() if is_picture(path))
        if not pictures:
            raise MissingFile(f"no picture in the folder {source}; give one that holds photographs")
        yield from pictures
