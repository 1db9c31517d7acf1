"""Scoring a segmenter on an episode list: original pixels, counted per episode (paper 4.1)."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from la.config import ModelConfig
from la.data.geometry import Frame
from la.data.loader import BatchLoader
from la.learn.metrics import Scores, episode_counts
from la.model.label_anything import LabelAnything
from la.types import Batch, Episode, Segmenter, to_device


@torch.inference_mode()
def count(
    segmenter: Segmenter,
    episodes: Sequence[Episode],
    loader: BatchLoader,
    *,
    batch_size: int,
    device: torch.device | str = "cpu",
    biases: Sequence[float] = (0.0,),
    report: Callable[[int], None] = lambda episodes: None,
) -> np.ndarray:
    """Confusions (len(biases), episodes, C, C) [target, prediction]; a bias is added to background.

    All biases are counted in one pass. Episodes with fewer classes leave their last rows empty.

    Raises:
        ValueError: there is no episode, or a score is NaN.
    """
    if not episodes:
        raise ValueError("the episode list is empty; draw at least one episode")
    n_rows = 1 + max(e.n_ways for e in episodes)
    counts = np.zeros((len(biases), len(episodes), n_rows, n_rows), dtype=np.int64)
    for start in range(0, len(episodes), batch_size):
        group = list(episodes[start : start + batch_size])
        batch = to_device(loader(group), device)
        scores = _scores(segmenter, group, batch, loader)
        if scores.isnan().any():
            raise ValueError(
                f"the segmenter's scores are NaN somewhere in episodes {start} to "
                f"{start + len(batch.query_size) - 1}; nothing is counted"
            )
        for b, logits in enumerate(original_scores(scores, batch, loader.model)):
            target = batch.target[b, : logits.shape[-2], : logits.shape[-1]]
            best, label = logits[1:].max(0)  # (H, W) over foreground
            for i, bias in enumerate(biases):
                painted = torch.where(best > logits[0] + bias, label + 1, 0)
                counts[i, start + b] = episode_counts(painted, target, n_rows).cpu()
        report(len(batch.query_size))
    return counts


def _scores(
    segmenter: Segmenter, group: list[Episode], batch: Batch, loader: BatchLoader
) -> Tensor:
    """(B, C, h, w); of episodes that differ in their query alone a model encodes supports once."""
    sets = {replace(e, query_id=0): e for e in group}
    if len(sets) == len(group) or not isinstance(segmenter, LabelAnything):
        return segmenter(batch)
    device = batch.target.device
    support = segmenter.support(to_device(loader([*sets.values()]), device))
    rows = torch.tensor([[*sets].index(replace(e, query_id=0)) for e in group], device=device)
    return segmenter.decode(segmenter.query(batch), support.of(rows))


def original_scores(scores: Tensor, batch: Batch, model: ModelConfig) -> list[Tensor]:
    """Scores (B, C, h, w) over the input -> B maps (C, H, W) over the original query images."""
    padded = ~batch.class_valid[:, :, None, None]
    scores = at_least_float32(scores).masked_fill(padded, -1e9)  # interpolating -inf would make NaN
    return [
        Frame(tuple(size), model.image_size, model.resize).original_logits(maps[None])[0]
        for size, maps in zip(batch.query_size.tolist(), scores, strict=True)
    ]


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened to float32; float64 stays as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def miou(episodes: Sequence[Episode], counts: np.ndarray) -> float:
    """`miou_star` of counts (episodes, C, C) over the classes that the list asks for."""
    classes = {c for e in episodes for c in e.class_ids}
    return Scores.of(zip((e.class_ids for e in episodes), counts, strict=True), classes).miou_star


def best_value(
    values: Sequence[float], counts: Sequence[np.ndarray], episodes: Sequence[Episode]
) -> float:
    """The value of a scalar whose counts (episodes, C, C) score best; of equals the nearest to 0.

    On episodes of *seen* classes this chooses without a look at an unseen one: LA+'s background
    bias, a prototype's threshold and a baseline's hyper-parameter are all chosen here.
    """
    scores = [miou(episodes, c) for c in counts]
    return min(zip(values, scores, strict=True), key=lambda pair: (-pair[1], abs(pair[0])))[0]
