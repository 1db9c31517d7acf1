"""From a segmenter on an episode list to the records that `PredictionViewer` shows."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.raster import Raster
from la.comparators.tokens import tokens
from la.data.geometry import Frame
from la.data.loader import BatchLoader
from la.experiment.measurements import Measurement
from la.experiment.workbench import Workbench
from la.learn.evaluation import original_scores
from la.model.label_anything import LabelAnything
from la.report.pictures import picture
from la.types import Batch, Episode, Segmenter, to_device
from la.widgets.viewer import EpisodeRecord

SIDE = 96  # of an attention map: one size, whatever the sizes of the supports


def records(
    bench: Workbench,
    measurement: Measurement,
    numbers: Iterable[int],
    segmenter: Segmenter,
    bias: float = 0.0,
) -> list[EpisodeRecord]:
    """What a segmenter makes of the numbered episodes of a list, `bias` added to background.

    Only their images are encoded. `probabilities` are the softmax of the scores at the query's
    original size, `attention` is `affinity`, `prototypes` are what a model decodes with (paper
    Eq. 4), of other segmenters the class means of the support features, in their PCA's `plane`.

    Raises:
        ValueError: the model works on features of another backbone or frame than the profile's.
    """
    if isinstance(segmenter, LabelAnything):
        bench.check_frame(segmenter.config, "the model")
    listed = bench.episodes(measurement)
    episodes = {number: listed[number] for number in numbers}
    images = bench.images_of(episodes.values())
    loader = bench.loader(bench.data.test, measurement.fold, measurement.protocol, images=images)
    return [
        _record(number, episode, loader, segmenter, bias, bench.device)
        for number, episode in episodes.items()
    ]


@torch.inference_mode()
def _record(
    number: int,
    episode: Episode,
    loader: BatchLoader,
    segmenter: Segmenter,
    bias: float,
    device: torch.device,
) -> EpisodeRecord:
    model, batch = loader.model, to_device(loader([episode]), device)
    scores = original_scores(segmenter(batch), batch, model)[0].cpu()  # (C, H, W)
    scores[0] += bias
    prediction = scores.argmax(0).numpy()
    shown = picture(loader, episode, number, prediction)
    if isinstance(segmenter, LabelAnything):
        means = segmenter.support(batch).prototypes
    else:
        means = tokens(batch, Raster(model.image_size, model.mask_size)).prototypes
    images = [shown.query, *(support.image for support in shown.supports)]
    frames = [Frame(i.size[::-1], model.image_size, model.resize) for i in images]
    attention, prototypes = affinity(batch, prediction, frames), plane(means[0])
    return EpisodeRecord(shown, scores.softmax(0).numpy(), attention, prototypes)


def affinity(batch: Batch, prediction: np.ndarray, frames: list[Frame]) -> np.ndarray:
    """(S, SIDE, SIDE) in [-1, 1], by which supports look like what was found in the query.

    Cosine of each support's feature cells to the query's mean feature where any class is predicted,
    both less the mean of the episode; brought to the support's pixels, then to SIDE. 0 if nothing
    is predicted. It comes from the backbone and the prediction: not the decoder's own attention.
    """
    query, support = (f.cpu().float() for f in (batch.source.query, batch.source.support))
    mean = torch.cat([query, support]).mean((0, 2, 3), keepdim=True)
    found = torch.from_numpy(frames[0].sample(prediction > 0, frames[0].side))[None].float()
    inside = F.adaptive_avg_pool2d(found, (query.shape[-2], query.shape[-1]))  # (1, h, w)
    centre = ((query - mean) * inside).sum((2, 3), keepdim=True)  # (1, V, 1, 1)
    maps = F.cosine_similarity(support - mean, centre)[:, None]  # (S, 1, h, w)
    whole = [f.original_logits(m[None]) for f, m in zip(frames[1:], maps, strict=True)]
    return torch.cat([F.interpolate(m, (SIDE, SIDE), mode="bilinear") for m in whole])[:, 0].numpy()


def plane(prototypes: Tensor) -> np.ndarray:
    """(C, D) on the two main axes of their PCA: (C, 2), mean at the origin."""
    rows = prototypes.cpu().double()
    left, lengths, _ = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    return F.pad(left * lengths, (0, 2))[:, :2].numpy()
