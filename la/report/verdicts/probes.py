"""Probes of the prompt encoder: where tokens attend, and what embeddings distinguish.

They explain a score: the prototype of a class can only differ from that of another class of the
same image if the tokens attend to what is prompted (paper Eq. 1-2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from la.data.sampling.episodes import presence
from la.experiment.job import Job
from la.experiment.methods import label
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.attention_loss import object_cells, object_shares, recorded_reads
from la.learn.device import to_device
from la.learn.weights import checkpoints
from la.model.label_anything import LabelAnything
from la.model.prompt_encoder import PADDING
from la.report.verdicts.finding import Finding
from la.types import Batch, Episode, Example, PromptKind


@dataclass(frozen=True)
class Embeddings:
    """Class-example embeddings of M (image, class) pairs."""

    vectors: Tensor  # (M, D), of length 1
    class_ids: Tensor  # (M,)
    image_ids: Tensor  # (M,)


def probe_episodes(
    bench: Workbench,
    fold: int,
    kind: PromptKind,
    n_images: int,
) -> list[Episode]:
    """One episode per test image: its only support, prompted for each unseen class it shows.

    The query is not used by the probes; it is the image itself. The images are those with the
    lowest ids that show at least one unseen class.
    """
    index = bench.data.test
    class_ids = bench.classes(fold, seen=False)
    shown = presence(index, class_ids, bench.rules("clean"))  # (n_images, n_classes)
    episodes = []
    for image in np.flatnonzero(shown.any(1))[:n_images]:
        image_id = int(index.image_ids[image])
        present = tuple(class_ids[c] for c in np.flatnonzero(shown[image]))
        rows = range(1, len(present) + 1)
        examples = tuple(Example(0, row, (kind,)) for row in rows)
        episode = Episode(image_id, present, (image_id,), examples, seed=image_id)
        episodes.append(episode)
    return episodes


@torch.inference_mode()
def attention_on_objects(model: LabelAnything, batch: Batch) -> list[float]:
    """Share of each layer's token-to-image attention (Eq. 1) on the cells of the prompted object.

    The mean over heads, tokens that are not padding, and examples. `batch.objects` must be set.
    """
    assert batch.objects is not None
    encoder = model.prompt_encoder
    with recorded_reads(encoder) as reads:
        model.support(batch)
    cells = object_cells(batch.objects, batch.source.support.shape[-1])
    valid = encoder.sparse_prompts(batch.prompts)[1] != PADDING  # (E, T)
    shares = []
    for read in reads:
        of_tokens = object_shares(read, cells).mean(1)  # (E, T), the mean over heads
        shares.append(of_tokens[valid].mean().item())
    return shares


@torch.inference_mode()
def embeddings(
    model: LabelAnything,
    batch: Batch,
    episodes: Iterable[Episode],
) -> Embeddings:
    """The class-example embeddings before the mixer (Eq. 2) of all examples of a batch."""
    images = model.encode_features(batch.source.support)
    pairs = model.prompt_encoder.encode(
        images,
        batch.prompts,
        batch.support_episode,
        batch.token_rows,
    )
    class_ids = []
    image_ids = []
    for episode in episodes:
        for example in episode.examples:
            class_ids.append(episode.class_of(example))
            image_ids.append(episode.image_of(example))
    vectors = F.normalize(pairs.embeddings[: len(class_ids)], dim=1)
    return Embeddings(vectors.cpu(), torch.tensor(class_ids), torch.tensor(image_ids))


def cosines(e: Embeddings) -> dict[str, float]:
    """Mean cosine over three kinds of pairs of embeddings; NaN for a kind without a pair."""
    cosine = e.vectors @ e.vectors.T  # (M, M)
    same_image = e.image_ids[:, None] == e.image_ids
    same_class = e.class_ids[:, None] == e.class_ids
    kinds = {
        "two classes of one image": same_image & ~same_class,
        "same class, other image": ~same_image & same_class,
        "other class, other image": ~same_image & ~same_class,
    }
    means = {}
    for name, pairs in kinds.items():
        means[name] = cosine[pairs].mean().item()
    return means


def nearest_neighbour_accuracy(e: Embeddings) -> float:
    """How often the most similar embedding of another image is of the same class, in [0, 1]."""
    cosine = e.vectors @ e.vectors.T
    cosine[e.image_ids[:, None] == e.image_ids] = -torch.inf
    nearest = cosine.argmax(1)
    return (e.class_ids[nearest] == e.class_ids).float().mean().item()


def probe(
    bench: Workbench,
    models: Mapping[str, LabelAnything],
    fold: int,
    n_images: int,
) -> pd.DataFrame:
    """Probes of several models on unseen classes of a fold, a row per model.

    Columns: share of attention by prompt kind and layer, beside `uniform`, the objects' share of
    the cells; cosines of embeddings and 1-nearest-neighbour accuracy, with masks.
    """
    batches = {}
    for kind in PromptKind:
        episodes = probe_episodes(bench, fold, kind, n_images)
        images = bench.images_of(episodes)
        loader = bench.loader(bench.data.test, fold, images=images, objects=True)
        batches[kind] = (episodes, to_device(loader(episodes), bench.device))
    rows = {}
    for name, model in models.items():
        rows[name] = _probes(model.to(bench.device).eval(), batches)
    return pd.DataFrame.from_dict(rows, orient="index").round(3)


def what_probes_show(probes: pd.DataFrame) -> Finding:
    """Where tokens attend after training and whether embeddings distinguish classes, from `probe`.

    Args:
        probes: a row per model; names of `both_ends`.
    """
    trained = probes[probes.index.str.endswith(", trained")]
    attention = trained["attention on the object"]
    on_mask = attention["mask, layer 1"]
    two_classes = trained["cosine of embeddings", "two classes of one image"]
    neighbours = trained["1-NN", "accuracy"]
    uniform = 100 * attention["uniform"].mean()
    sentence = f"Uniform attention would put {uniform:.0f} % on the masked object."
    for model in trained.index:
        cosine = np.round(two_classes[model], 2)  # as the table rounds it
        start = model.removesuffix(", trained")
        sentence += (
            f" After training from the {start}, {100 * on_mask[model]:.0f} % of it is there, the "
            f"embeddings of two classes of one image have a cosine of {cosine:.2f}, "
            f"and {100 * neighbours[model]:.0f} % of nearest neighbours are of the same class."
        )
        if on_mask[model] > 0.5 and two_classes[model] > 0.9:
            sentence += (
                " Attention finds the object there, but the embedding does not identify its class."
            )
    return Finding(sentence)


def _probes(
    model: LabelAnything, batches: Mapping[PromptKind, tuple[list[Episode], Batch]]
) -> dict[tuple[str, str], float]:
    row: dict[tuple[str, str], float] = {}
    for kind, (_, batch) in batches.items():
        for number, share in enumerate(attention_on_objects(model, batch), 1):
            row["attention on the object", f"{kind.value}, layer {number}"] = share
    episodes, batch = batches[PromptKind.MASK]
    assert batch.objects is not None
    side = batch.source.support.shape[-1]
    uniform = object_cells(batch.objects, side).float().mean().item()
    row["attention on the object", "uniform"] = uniform
    with_masks = embeddings(model, batch, episodes)
    for name, value in cosines(with_masks).items():
        row["cosine of embeddings", name] = value
    row["1-NN", "accuracy"] = nearest_neighbour_accuracy(with_masks)
    return row


def both_ends(
    bench: Workbench,
    methods: Iterable[str],
    fold: int,
) -> dict[str, LabelAnything]:
    """The models of some methods before and after their training with seed 0.

    Names are labels without what all methods of the page share, such as "usual start, trained".
    """
    models = {}
    for name in methods:
        run = Job(bench, Measurement(name, fold, 1, 1, 0, 1)).run
        if run is None:
            continue
        short = label(name).removeprefix("LA, ").removesuffix(", 1 x steps")
        models[f"{short}, untrained"] = run.fresh_model()
        models[f"{short}, trained"] = checkpoints.load(run.train())
    return models
