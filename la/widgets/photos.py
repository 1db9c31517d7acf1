"""The images of an editor, and the predictor that it calls."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from la.predict import photos
from la.predict.drawing import Role
from la.predict.photos import Prompt
from la.predict.prediction import Prediction


class LivePredictor(Protocol):
    """The methods that the editor calls; `la.predict.predictor.Predictor` has them."""

    def describe(self) -> dict[str, str]:
        """Name, hash and training data of the model."""
        ...

    def encode(self, image: Image.Image) -> Any:
        """The image after the backbone, to be used any number of times."""
        ...

    def support(self, examples: Sequence[tuple[Any, Mapping[str, Sequence[Prompt]]]]) -> Any:
        """A support set from (encoded image, {class: prompts})."""
        ...

    def predict(self, image: Any, support: Any) -> Prediction:
        """The label map of an encoded image."""
        ...


@dataclass
class Photo:
    """An image at its original size, and its encoding by the predictor."""

    name: str
    role: Role
    image: Image.Image  # RGB, upright
    path: Path | None = None
    encoded: Any = None  # None until the predictor has encoded the image

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.height, self.image.width

    @classmethod
    def open(cls, source: photos.Photo, role: Role, name: str) -> "Photo":
        """Anything that `la.predict.photos.open_photo` takes; `name` is used if it has no path."""
        image = photos.open_photo(source, name)
        if isinstance(source, str | Path):
            path = Path(source)
            return cls(path.name, role, image, path)
        return cls(name, role, image)


def photos_of(
    support: Iterable[photos.Photo], queries: Iterable[photos.Photo], stem: str = ""
) -> list[Photo]:
    """Supports, then queries; a source that is no path gets its number as a name."""
    sources: list[tuple[Role, photos.Photo]] = [("support", source) for source in support]
    sources += [("query", source) for source in queries]
    return [
        Photo.open(source, role, f"{stem or role}-{number}.png")
        for number, (role, source) in enumerate(sources, 1)
    ]
