from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from la.config import EpisodeConfig, ModelConfig, Protocol
from la.data.sampling.episodes import EpisodeSampler, episode_list
from la.data.sampling.geometry import Frame
from la.data.sampling.loader import BatchLoader
from la.learn import evaluation
from la.learn.evaluation import original_scores
from la.learn.metrics import Scores
from la.types import IGNORE, Batch, Episode, PromptKind

MODEL = ModelConfig(image_size=96, resize="pad", mask_size=48, token_pool=20)


def no_features(image_ids) -> Tensor:
    return torch.tensor(image_ids).float()[:, None, None, None]


def loader_of(index, resize="pad", protocol=Protocol()) -> BatchLoader:
    model = replace(MODEL, resize=resize)
    return BatchLoader(index, model, EpisodeConfig(), protocol, read_features=no_features)


def episodes_of(index, n_ways=2, episodes=7, seed=0) -> list[Episode]:
    sampler = EpisodeSampler(index, index.category_ids.tolist(), Protocol(), [(n_ways, 1)])
    return episode_list(
        sampler, n_ways=n_ways, k_shots=1, episodes=episodes, seed=seed, kinds=(PromptKind.MASK,)
    )


def count(segmenter, episodes, loader, *, batch_size, **options) -> np.ndarray:
    """Confusions in the frame of the loader's model."""
    model = loader.model
    return evaluation.count(
        segmenter, episodes, loader, model=model, batch_size=batch_size, **options
    )


@dataclass(frozen=True)
class Oracle:
    """Scores the truth itself, at the input's resolution; `confidence` above a background of 0."""

    resize: str = "pad"
    confidence: float = 1.0

    def __call__(self, batch: Batch) -> Tensor:
        maps = []
        for target, size in zip(batch.target, batch.query_size.tolist(), strict=True):
            truth = target[: size[0], : size[1]].clamp(min=0).numpy()
            rows = torch.from_numpy(Frame(tuple(size), 96, self.resize).sample(truth, 96))
            maps.append(F.one_hot(rows, batch.n_rows).permute(2, 0, 1).float())
        scores = torch.stack(maps) * self.confidence
        scores[:, 0] = 0.5 * abs(self.confidence)
        return scores.masked_fill(~batch.class_valid[..., None, None], -torch.inf)


@dataclass(frozen=True)
class Noise:
    """Scores that depend on the query alone; coarse and rectangular."""

    def __call__(self, batch: Batch) -> Tensor:
        maps = []
        for query_id in batch.source.query.flatten().long().tolist():
            generator = torch.Generator().manual_seed(query_id)
            maps.append(torch.randn(9, 6, 6, generator=generator)[: batch.n_rows])
        return torch.stack(maps).masked_fill(~batch.class_valid[..., None, None], -torch.inf)


def test_counts_are_those_of_every_original_pixel(tiny_index):
    episodes, loader = episodes_of(tiny_index), loader_of(tiny_index)
    counts = count(Noise(), episodes, loader, batch_size=3)
    assert counts.shape == (1, 7, 3, 3) and counts.dtype == np.int64
    for e, episode in enumerate(episodes):
        batch = loader([episode])
        height, width = target_shape = loader.target(episode).shape
        inner = Frame(target_shape, 96, "pad").inner
        scores = F.interpolate(Noise()(batch), size=(96, 96), mode="bilinear")
        scores = scores[..., : inner[0], : inner[1]]
        labels = F.interpolate(scores, size=target_shape, mode="bilinear")[0].argmax(0)
        expected = np.zeros((3, 3), dtype=int)
        for y in range(height):
            for x in range(width):
                truth = loader.target(episode)[y, x]
                if truth != IGNORE:
                    expected[truth, labels[y, x]] += 1
        assert (counts[0, e] == expected).all()


@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_the_truth_scores_nearly_one(tiny_index, resize):
    episodes = episodes_of(tiny_index, episodes=30)
    counts = count(Oracle(resize), episodes, loader_of(tiny_index, resize), batch_size=4)[0]
    ids = [e.class_ids for e in episodes]
    scores = Scores.of(zip(ids, counts, strict=True), tiny_index.category_ids.tolist())
    assert scores.miou_star > 0.9


def test_another_truth_changes_targets_and_no_prompt(tiny_index):
    area = float(np.median(tiny_index.annotation_area))
    judge = Protocol(small_instances="drop", small_area=area, crowd="background")
    episodes, clean = episodes_of(tiny_index), loader_of(tiny_index)
    before, after = clean(episodes), replace(clean, truth=judge)(episodes)
    strict = loader_of(tiny_index, protocol=judge)
    for target, episode in zip(after.target, episodes, strict=True):
        height, width = strict.target(episode).shape
        np.testing.assert_array_equal(target[:height, :width], strict.target(episode))
    assert not torch.equal(before.target, after.target)
    assert torch.equal(before.prompts.masks, after.prompts.masks)


def test_counts_do_not_depend_on_the_batch_an_episode_is_in(tiny_index):
    episodes = episodes_of(tiny_index) + episodes_of(tiny_index, n_ways=4, episodes=2)
    whole = count(Noise(), episodes, loader_of(tiny_index), batch_size=9)
    for size in (1, 2, 4):
        assert (count(Noise(), episodes, loader_of(tiny_index), batch_size=size) == whole).all()


def test_an_episode_with_fewer_classes_leaves_its_last_rows_empty(tiny_index):
    episodes = episodes_of(tiny_index, 1, 2) + episodes_of(tiny_index, 4, 2)
    counts = count(Noise(), episodes, loader_of(tiny_index), batch_size=4)[0]
    assert counts[:2, 2:].sum() == counts[:2, :, 2:].sum() == 0
    assert counts[2:, :, 2:].sum() > 0


def test_ignored_and_padded_pixels_are_not_counted(tiny_index):
    loader = loader_of(tiny_index)
    episodes = episodes_of(tiny_index, episodes=20)
    counts = count(Noise(), episodes, loader, batch_size=5)[0]
    kept = [(loader.target(e) != IGNORE).sum() for e in episodes]
    assert counts.sum((1, 2)).tolist() == kept
    assert any(k < loader.target(e).size for k, e in zip(kept, episodes, strict=True))


def test_biases_counted_together_equal_biases_counted_alone(tiny_index):
    episodes, loader = episodes_of(tiny_index), loader_of(tiny_index)
    biases = (-1.0, 0.0, 0.7)
    together = count(Noise(), episodes, loader, batch_size=3, biases=biases)
    for i, bias in enumerate(biases):

        def biased(batch, bias=bias):
            scores = Noise()(batch)
            scores[:, 0] += bias
            return scores

        assert abs(count(biased, episodes, loader, batch_size=3)[0] - together[i]).sum() <= 4
    background = together[:, :, :, 0].sum((1, 2))
    assert background[0] < background[1] < background[2]


def test_progress_counts_every_episode(tiny_index):
    reported = []
    count(
        Noise(), episodes_of(tiny_index), loader_of(tiny_index), batch_size=3,
        report=reported.append,
    )  # fmt: skip
    assert reported == [3, 3, 1]


def test_half_precision_scores_are_scored_like_their_float32_values(tiny_index):
    episodes, loader = (
        episodes_of(tiny_index, 1, 2) + episodes_of(tiny_index, 2, 2),
        loader_of(tiny_index),
    )
    half = count(lambda b: Noise()(b).half(), episodes, loader, batch_size=4)
    rounded = count(lambda b: Noise()(b).half().float(), episodes, loader, batch_size=4)
    assert (half == rounded).all()


def test_scores_of_padded_rows_never_win(tiny_index):
    episodes = episodes_of(tiny_index, 1, 1) + episodes_of(tiny_index, 3, 1)
    loader = loader_of(tiny_index)
    batch = loader(episodes)
    maps = original_scores(Noise()(batch), batch, loader.model)
    assert [tuple(m.shape[1:]) for m in maps] == [loader.target(e).shape for e in episodes]
    assert all(m.isfinite().all() for m in maps) and maps[0].argmax(0).max() <= 1


def test_scores_that_are_not_numbers_are_refused(tiny_index):
    def broken(batch):
        return Noise()(batch) * torch.nan

    with pytest.raises(ValueError, match="NaN somewhere in episodes 0 to 2"):
        count(broken, episodes_of(tiny_index), loader_of(tiny_index), batch_size=3)


def test_an_empty_list_is_refused(tiny_index):
    with pytest.raises(ValueError, match="draw at least one episode"):
        count(Noise(), [], loader_of(tiny_index), batch_size=3)
