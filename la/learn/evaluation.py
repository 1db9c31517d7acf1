"""Scoring a segmenter on an episode list, on original pixels (paper 4.1)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from la.config import ModelConfig
from la.data.geometry import Frame
from la.learn.metrics import Scores, counts_by_bias
from la.types import Batch, Episode, Segmenter, to_device


@torch.inference_mode()
def count(
    segmenter: Segmenter,
    episodes: Sequence[Episode],
    load: Callable[[list[Episode]], Batch],
    *,
    model: ModelConfig,
    batch_size: int,
    device: torch.device | str = "cpu",
    biases: Sequence[float] = (0.0,),
    report: Callable[[int], None] = lambda n_episodes: None,
) -> np.ndarray:
    """Confusion matrices of all episodes, for every bias on the background's score.

    The segmenter runs once, however many biases there are.

    Args:
        load: makes a batch of a list of episodes, as a `BatchLoader` does.
        model: its image size and way of resizing define the input frame.
        biases: added to the background's score before the argmax.
        report: called with the number of episodes scored since the last call.

    Returns:
        (len(biases), episodes, C, C) int64 [target, prediction]. C belongs to the widest
        episode; episodes with fewer classes leave their last rows and columns at 0.

    Raises:
        ValueError: there is no episode, or a score is NaN.
    """
    if not episodes:
        raise ValueError("the episode list is empty; draw at least one episode")
    n_rows = 1 + max(episode.n_ways for episode in episodes)
    counts = np.zeros((len(biases), len(episodes), n_rows, n_rows), dtype=np.int64)
    offsets = torch.tensor(biases, dtype=torch.float32, device=device)
    for start in range(0, len(episodes), batch_size):
        stop = min(start + batch_size, len(episodes))
        batch = to_device(load(list(episodes[start:stop])), device)
        scores = segmenter(batch)
        if scores.isnan().any():
            raise ValueError(
                f"the segmenter's scores are NaN somewhere in episodes {start} to {stop - 1}; "
                "nothing is counted"
            )
        confusion = _batch_counts(scores, batch, model, offsets).cpu().numpy()
        counts[:, start:stop, : batch.n_rows, : batch.n_rows] = confusion
        report(stop - start)
    return counts


def _batch_counts(scores: Tensor, batch: Batch, model: ModelConfig, biases: Tensor) -> Tensor:
    """Confusion matrices of a batch for biases (n,), (n, B, C, C)."""
    matrices = []
    for b, maps in enumerate(original_scores(scores, batch, model)):
        height, width = maps.shape[-2:]
        target = batch.target[b, :height, :width]
        matrices.append(counts_by_bias(maps, target, biases.to(maps.dtype)))
    return torch.stack(matrices, dim=1)


def original_scores(scores: Tensor, batch: Batch, model: ModelConfig) -> list[Tensor]:
    """Scores in the input frame, interpolated to the original size of each query.

    Args:
        scores: (B, C, h, w) over the input, at any resolution.
        model: its image size and way of resizing define the input frame.

    Returns:
        B maps (C, H, W), in float32 or better; padded rows hold -1e9.
    """
    padded = ~batch.class_valid[:, :, None, None]
    # Interpolating -inf would make NaN.
    finite = at_least_float32(scores).masked_fill(padded, -1e9)
    maps = []
    for size, rows in zip(batch.query_size.tolist(), finite, strict=True):
        frame = Frame((size[0], size[1]), model.image_size, model.resize)
        maps.append(frame.original_logits(rows[None])[0])
    return maps


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened to float32; float64 stays as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def miou(episodes: Sequence[Episode], counts: np.ndarray) -> float:
    """`miou_star` of the counts (episodes, C, C), over the classes that the list asks for."""
    classes = {c for episode in episodes for c in episode.class_ids}
    class_ids = [episode.class_ids for episode in episodes]
    return Scores.of(zip(class_ids, counts, strict=True), classes).miou_star
