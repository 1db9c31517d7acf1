"""Features follow the picture, not the id or the file name of an image."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from la.data.coco.index import CocoIndex
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.image_features import ImageFeatures


class Folder:
    """A copy of the small data set, its feature store, and the ids of the images encoded last."""

    def __init__(self, root, annotations):
        self.root = root / "coco"
        shutil.copytree(annotations.parents[1], self.root)
        self.file = self.root / "annotations" / annotations.name
        self.store = FeatureStore(root / "features", FeatureKey("tiny", "ab12", 96, "pad"))
        self.encoded = []

    def features(self, image_ids):
        index = CocoIndex.from_json(self.file, self.root)
        cached = ImageFeatures(index, self.store)
        self.encoded = []

        def load(image_id):
            self.encoded.append(image_id)
            pixels = np.asarray(index.read_image(image_id), dtype=np.float32)
            return torch.from_numpy(pixels[:4, :4]).movedim(-1, 0)

        cached.write(image_ids, load, lambda images: images / 7, progress=False)
        assert cached.missing(image_ids) == []
        return cached.read(image_ids)


@pytest.fixture
def folder(tmp_path, tiny_coco):
    return Folder(tmp_path, tiny_coco)


def test_images_are_encoded_once_and_read_in_the_order_of_their_ids(folder):
    first = folder.features([5, 10, 15])
    assert set(folder.encoded) == {5, 10, 15}
    again = folder.features([15, 5, 5])
    assert folder.encoded == [] and torch.equal(again, first[[2, 0, 0]])


def test_a_replaced_picture_gets_features_of_its_own(folder):
    first = folder.features([5, 10])
    path = folder.root / "images" / "000010.png"
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(path)
    second = folder.features([5, 10])
    assert set(folder.encoded) == {10}
    assert torch.equal(second[0], first[0]) and not torch.equal(second[1], first[1])


def test_a_copy_of_the_data_set_elsewhere_shares_the_features(folder, tmp_path):
    first = folder.features([5, 10])
    shutil.move(folder.root, tmp_path / "moved")
    folder.root = tmp_path / "moved"
    folder.file = folder.root / "annotations" / folder.file.name
    assert torch.equal(folder.features([5, 10]), first) and folder.encoded == []


def test_an_image_without_a_file_is_named(folder):
    (folder.root / "images" / "000010.png").unlink()
    with pytest.raises(FileNotFoundError, match="image 10 of .* no file 000010.png"):
        folder.features([5, 10])
    folder.features([5])
