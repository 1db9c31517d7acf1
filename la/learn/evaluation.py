"""Scoring a segmenter on an episode list, on original pixels (paper 4.1)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from la.config import ModelConfig
from la.data.sampling.geometry import Frame
from la.learn.device import to_device
from la.learn.metrics import Scores
from la.learn.precision import tf32
from la.types import IGNORE, Batch, Episode, Segmenter, check_shapes


@torch.inference_mode()
@tf32(False)
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

    The segmenter runs once, however many biases there are, in float32 without TF32.

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
    shape = (len(biases), len(episodes), n_rows, n_rows)
    counts = np.zeros(shape, dtype=np.int64)
    offsets = torch.tensor(biases, dtype=torch.float32, device=device)
    for start in range(0, len(episodes), batch_size):
        stop = min(start + batch_size, len(episodes))
        batch = load(list(episodes[start:stop]))
        batch = to_device(batch, device)
        scores = segmenter(batch)
        if scores.isnan().any():
            raise ValueError(
                f"the segmenter's scores are NaN somewhere in episodes {start} to {stop - 1}; "
                "nothing is counted"
            )
        confusion = _batch_counts(scores, batch, model, offsets)
        n = batch.n_rows
        counts[:, start:stop, :n, :n] = confusion.cpu().numpy()
        report(stop - start)
    return counts


def _batch_counts(
    scores: Tensor,
    batch: Batch,
    model: ModelConfig,
    biases: Tensor,
) -> Tensor:
    """Confusion matrices (n, B, C, C) of a batch for biases (n,)."""
    matrices = []
    maps = original_scores(scores, batch, model)
    for scores_of_query, padded_target in zip(maps, batch.target, strict=True):
        height, width = scores_of_query.shape[-2:]
        target = padded_target[:height, :width]
        offsets = biases.to(scores_of_query.dtype)
        matrices.append(counts_by_bias(scores_of_query, target, offsets))
    return torch.stack(matrices, dim=1)


def counts_by_bias(
    scores: Tensor,
    target: Tensor,
    biases: Tensor,
) -> Tensor:
    """Confusion matrices of one query, one for each bias on the background's score.

    A pixel is painted with its best foreground row if that row's score exceeds the
    background's by more than the bias. One histogram over (target, best foreground row,
    number of biases exceeded) gives the counts of all biases without waiting for the GPU.

    Args:
        scores: (C, H, W), row 0 is background.
        target: (H, W) int64 in [0, C), or IGNORE.
        biases: (n,) in any order, of the dtype of the scores.

    Returns:
        (n, C, C) int64 [target, prediction], in the order of the biases.

    Raises:
        ValueError: the tensors disagree about H or W.
    """
    sizes = check_shapes("counts_by_bias", scores=(scores, "C H W"), target=(target, "H W"))
    n_rows = sizes["C"]
    n_ways = n_rows - 1
    n_bins = len(biases) + 1
    best, way = scores[1:].max(0)  # (H, W)
    ascending, order = biases.sort()
    n_exceeded = torch.bucketize(best - scores[0], ascending)  # (H, W) in 0..n
    row = torch.where(target == IGNORE, n_rows, target)  # a row of its own, dropped below
    bin_index = (row * n_ways + way) * n_bins + n_exceeded
    bin_index = bin_index.flatten()
    # Not bincount: it waits for the GPU to learn the largest value.
    histogram = bin_index.new_zeros((n_rows + 1) * n_ways * n_bins)
    histogram = histogram.index_add(0, bin_index, torch.ones_like(bin_index))
    histogram = histogram.view(n_rows + 1, n_ways, n_bins)
    histogram = histogram[:n_rows]  # (C, N, n + 1)
    # The i-th smallest bias is not exceeded by the pixels of bins 0..i: background.
    unpainted = histogram.cumsum(2)[..., :-1]  # (C, N, n)
    painted = histogram.sum(2, keepdim=True) - unpainted
    background = unpainted.sum(1, keepdim=True)  # (C, 1, n)
    confusion = torch.cat([background, painted], dim=1)  # (C, C, n)
    confusion = confusion.permute(2, 0, 1)
    return confusion[order.argsort()]


def original_scores(
    scores: Tensor,
    batch: Batch,
    model: ModelConfig,
) -> list[Tensor]:
    """Scores in the input frame, interpolated to the original size of each query.

    Args:
        scores: (B, C, h, w) over the input, at any resolution.
        model: its image size and way of resizing define the input frame.

    Returns:
        B maps (C, H, W), in float32 or better; padded rows hold -1e9.
    """
    # Interpolating -inf would make NaN.
    finite = at_least_float32(scores).masked_fill(padded_rows(batch), -1e9)
    sizes = batch.query_size.tolist()
    maps = []
    for rows, (height, width) in zip(finite, sizes, strict=True):
        frame = Frame((height, width), model.image_size, model.resize)
        (original,) = frame.original_logits(rows[None])
        maps.append(original)
    return maps


def padded_rows(batch: Batch) -> Tensor:
    """(B, C, 1, 1) True for the rows beyond an episode's own classes."""
    return ~batch.class_valid[:, :, None, None]


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision widened to float32; float64 stays as it is."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.to(dtype)


def miou(episodes: Sequence[Episode], counts: np.ndarray) -> float:
    """`miou_star` of the counts (episodes, C, C), over the classes that the list asks for."""
    class_ids = [episode.class_ids for episode in episodes]
    classes = set().union(*class_ids)
    scores = Scores.of(zip(class_ids, counts, strict=True), classes)
    return scores.miou_star
