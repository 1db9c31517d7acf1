"""A data set of views, and episodes whose images are replaced by views."""

import numpy as np
import pytest
from test_augment import drawn_index

from la.config import EpisodeConfig, ModelConfig, Protocol
from la.data.sampling.loader import BatchLoader
from la.learn.augmented.views import ViewLoader, views_of, write_views
from la.types import Episode, Example, PromptKind

N_VIEWS = 5
KINDS = (PromptKind.MASK,)


@pytest.fixture
def originals(tmp_path):
    folder = tmp_path / "originals"
    folder.mkdir()
    return drawn_index(folder)


@pytest.fixture
def views(originals, tmp_path):
    return write_views(originals, tmp_path / "views", N_VIEWS)


def test_views_have_ids_of_their_own():
    ids = [view for image_id in (0, 1, 2, 9) for view in views_of(image_id, N_VIEWS)]
    assert len(set(ids)) == 4 * (N_VIEWS + 1)


def test_the_first_view_is_the_image_itself(originals, views):
    for image_id in (1, 2):
        view_id = views_of(image_id, N_VIEWS)[0]
        before = np.array(originals.read_image(image_id), int)
        after = np.array(views.read_image(view_id), int)
        assert np.abs(before - after).mean() < 3  # JPEG
        pairs = zip(originals.annotations_of(image_id), views.annotations_of(view_id), strict=True)
        for original, view in pairs:
            np.testing.assert_array_equal(originals.mask(original), views.mask(view))
            assert originals.annotation_category[original] == views.annotation_category[view]


def test_views_are_written_once_and_the_same_in_another_folder(originals, views, tmp_path):
    files = sorted((tmp_path / "views").glob("*.jpg"))
    assert len(files) == 2 * (N_VIEWS + 1)
    times = [file.stat().st_mtime_ns for file in files]
    write_views(originals, tmp_path / "views", N_VIEWS)
    assert [file.stat().st_mtime_ns for file in files] == times
    write_views(originals, tmp_path / "again", N_VIEWS)
    for file in files:
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_an_episode_gets_views_that_keep_the_classes_it_needs(views):
    loader = BatchLoader(views, ModelConfig(), EpisodeConfig(), Protocol())
    drawn = set()
    for seed in range(30):
        examples = (Example(0, 1, KINDS), Example(0, 2, KINDS))
        episode = Episode(2, (10, 20), (1,), examples, seed)
        other = ViewLoader(loader, N_VIEWS).with_views(episode)
        assert other == ViewLoader(loader, N_VIEWS).with_views(episode)
        assert (other.class_ids, other.examples) == (episode.class_ids, episode.examples)
        assert other.query_id in views_of(2, N_VIEWS)
        (support_id,) = other.support_ids
        assert support_id in views_of(1, N_VIEWS)
        drawn |= {other.query_id, support_id}
        for image_id, needed in ((support_id, {10, 20}), (other.query_id, {20})):
            shown = [views.annotation_category[a] for a in views.annotations_of(image_id)]
            assert needed <= {int(views.category_ids[category]) for category in shown}
    assert len(drawn) > 4  # not always the image itself
