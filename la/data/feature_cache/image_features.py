"""The feature cache addressed by image ids; an index maps them to pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from la.data.coco.index import CocoIndex
from la.data.feature_cache.features import Encode, FeatureStore, Load


@dataclass(frozen=True)
class ImageFeatures:
    """A feature store, addressed by the image ids of an index.

    For an image without a file, the methods raise the error of `CocoIndex.path`.
    """

    index: CocoIndex
    store: FeatureStore

    def missing(self, image_ids: Iterable[int]) -> list[int]:
        """Ids of images without features, one for each picture, ascending."""
        image_of = self._image_of(image_ids)
        return [image_of[picture] for picture in self.store.missing(image_of)]

    def write(
        self,
        image_ids: Iterable[int],
        load: Load,
        encode: Encode,
        *,
        batch_size: int = 8,
        progress: bool = True,
    ) -> None:
        """Compute the features that are missing; see `FeatureStore.write`."""
        images = self._image_of(image_ids)
        self.store.write(
            images,
            load,
            encode,
            batch_size=batch_size,
            progress=progress,
        )

    def read(self, image_ids: Sequence[int], *, pin_memory: bool = False) -> Tensor:
        """Features (n, V, h, w), in the order of the ids; see `FeatureStore.read`."""
        pictures = [self._picture(image_id) for image_id in image_ids]
        return self.store.read(pictures, pin_memory=pin_memory)

    def _image_of(self, image_ids: Iterable[int]) -> dict[str, int]:
        """The smallest image id of each picture."""
        image_of: dict[str, int] = {}
        for image_id in sorted(int(image_id) for image_id in image_ids):
            image_of.setdefault(self._picture(image_id), image_id)
        return image_of

    def _picture(self, image_id: int) -> str:
        """The picture and its stated size, which decides whether an EXIF rotation is applied."""
        height, width = self.index.size(image_id)
        return f"{self.index.picture(image_id)}-{height}x{width}"
