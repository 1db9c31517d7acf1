"""The records that `PredictionViewer` displays, from a segmenter on an episode list."""

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.raster import Raster
from la.comparators.tokens import tokens
from la.data.sampling.geometry import Frame
from la.data.sampling.loader import BatchLoader
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.device import to_device
from la.learn.evaluation import original_scores
from la.model.label_anything import LabelAnything
from la.report.figures.pictures import picture
from la.types import Batch, Episode, Segmenter
from la.widgets.viewer.viewer import EpisodeRecord

SIDE = 96  # of an attention map, for supports of any size


def records(
    bench: Workbench,
    measurement: Measurement,
    numbers: Iterable[int],
    segmenter: Segmenter,
    bias: float = 0.0,
) -> list[EpisodeRecord]:
    """The predictions of a segmenter on some episodes of a list, `bias` added to background.

    Only the images of these episodes are encoded. `probabilities` are the softmax of the scores at
    the query's original size, and `attention` is `affinity`. `prototypes` are those of the model
    (paper Eq. 4), or else the class means of the support features, projected by `plane`.

    Raises:
        UserError: the model needs features of another backbone or frame than the profile's.
    """
    if isinstance(segmenter, LabelAnything):
        bench.check_frame(segmenter.config, "the model")
    listed = bench.episodes(measurement)
    episodes = {number: listed[number] for number in numbers}
    images = bench.images_of(episodes.values())
    loader = bench.loader(
        bench.data.test,
        measurement.fold,
        measurement.protocol,
        images=images,
    )
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
    model = loader.model
    batch = to_device(loader([episode]), device)
    scores = original_scores(segmenter(batch), batch, model)[0].cpu()  # (C, H, W)
    scores[0] += bias
    prediction = scores.argmax(0).numpy()
    shown = picture(loader, episode, number, prediction)
    if isinstance(segmenter, LabelAnything):
        means = segmenter.support(batch).prototypes
    else:
        means = tokens(batch, Raster(model.image_size, model.mask_size)).prototypes
    images = [shown.query, *(support.image for support in shown.supports)]
    frames = [
        Frame((image.height, image.width), model.image_size, model.resize) for image in images
    ]
    return EpisodeRecord(
        picture=shown,
        probabilities=scores.softmax(0).numpy(),
        attention=affinity(batch, prediction, frames),
        prototypes=plane(means[0]),
    )


def affinity(
    batch: Batch,
    prediction: np.ndarray,
    frames: list[Frame],
) -> np.ndarray:
    """(S, SIDE, SIDE) in [-1, 1], where supports look like what is predicted in the query.

    Cosine of each support's feature cells to the query's mean feature where any class is predicted,
    both less the mean of the episode; resized to the support's pixels, then to SIDE. 0 if nothing
    is predicted. It is computed from backbone features and the prediction; it is not the decoder's
    own attention.
    """
    query = batch.source.query.cpu().float()  # (1, V, h, w)
    support = batch.source.support.cpu().float()  # (S, V, h, w)
    mean = torch.cat([query, support]).mean((0, 2, 3), keepdim=True)
    foreground = torch.from_numpy(frames[0].sample(prediction > 0, frames[0].side))
    cells = (query.shape[-2], query.shape[-1])
    weight = F.adaptive_avg_pool2d(foreground[None].float(), cells)  # (1, h, w)
    centre = ((query - mean) * weight).sum((2, 3), keepdim=True)  # (1, V, 1, 1)
    cosines = F.cosine_similarity(support - mean, centre)[:, None]  # (S, 1, h, w)
    maps = []
    for frame, cosine in zip(frames[1:], cosines, strict=True):
        original = frame.original_logits(cosine[None])  # (1, 1, H, W)
        resized = F.interpolate(original, (SIDE, SIDE), mode="bilinear")
        maps.append(resized[0, 0].numpy())
    return np.stack(maps)


def plane(prototypes: Tensor) -> np.ndarray:
    """(C, D) prototypes on the two main axes of their PCA: (C, 2), mean at the origin."""
    rows = prototypes.cpu().double()
    centred = rows - rows.mean(0)
    left, lengths, _ = torch.linalg.svd(centred, full_matrices=False)
    coordinates = left * lengths
    padded = F.pad(coordinates, (0, 2))  # a single axis where C is 1
    return padded[:, :2].numpy()
