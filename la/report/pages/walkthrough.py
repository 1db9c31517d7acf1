"""One episode through the model, a step at a time: the values that the notebook `model` shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from la.colours import colour
from la.config import ModelConfig
from la.experiment.setup.measurements import Measurement
from la.experiment.setup.workbench import Workbench
from la.learn.attention_loss import Read, recorded_reads
from la.model.label_anything import LabelAnything
from la.model.prompt_encoder import PADDING
from la.model.prototypes import Pairs, Support
from la.report.figures.canvas import MARKERS, WIDTH
from la.report.figures.lettering import literal
from la.report.figures.pictures import FONT, EpisodePicture, picture
from la.types import Batch

TITLE_WIDTH = 24  # characters above a small picture


@dataclass(frozen=True)
class Steps:
    """What the model computes for a batch of one episode, in order; shapes as in `la.types`."""

    batch: Batch
    query: Tensor  # (1, D, h, w), the neck's output for the query
    supports: Tensor  # (S, D, h, w)
    tokens_valid: Tensor  # (E, T) bool, False where a token pads
    reads: tuple[Read, ...]  # Eq. 1 in each of the two layers
    pairs: Pairs  # (E, D), Eq. 2 averaged over the cells
    support: Support  # prototypes (1, C, D), Eq. 3-4
    logits: Tensor  # (1, C, h', w'), Eq. 5


def episode(
    bench: Workbench, setting: Measurement, number: int, model: LabelAnything
) -> tuple[EpisodePicture, Steps]:
    """An episode of a list as pictures, and each step of the model on it."""
    chosen = bench.episodes(setting)[number]
    images = bench.images_of([chosen])
    loader = bench.loader(
        bench.data.test, setting.fold, setting.protocol, images=images, objects=True
    )
    shown = replace(picture(loader, chosen), number=None)
    return shown, run(model, loader([chosen]))


@torch.inference_mode()
def run(model: LabelAnything, batch: Batch) -> Steps:
    """Run `model(batch)` and keep the result of every step."""
    encoder = model.prompt_encoder
    query = model.encode_features(batch.source.query)
    supports = model.encode_features(batch.source.support)
    valid = encoder.sparse_prompts(batch.prompts)[1] != PADDING
    with recorded_reads(encoder) as reads:
        pairs = encoder.encode(supports, batch.prompts, batch.support_episode, batch.token_rows)
    support = encoder.combine(pairs, batch.class_valid)
    logits = model.decode(query, support)
    return Steps(batch, query, supports, valid, tuple(reads), pairs, support, logits)


def shapes(tensors: Mapping[str, tuple[Tensor, str]]) -> pd.DataFrame:
    """A row per tensor: its sizes, and the letters of the glossary in `la.types`.

    Args:
        tensors: by name, each with its letters, such as (query, "B D h w").

    Raises:
        ValueError: the letters are not as many as the axes.
    """
    rows = {}
    for name, (tensor, letters) in tensors.items():
        if len(letters.split()) != tensor.dim():
            raise ValueError(f"{name} has {tensor.dim()} axes and the letters {letters!r}")
        sizes = " x ".join(map(str, tensor.shape))
        rows[name] = {"letters": letters, "sizes": sizes}
    return pd.DataFrame.from_dict(rows, orient="index")


def sizes(config: ModelConfig) -> pd.DataFrame:
    """The sizes of a model, in the order of the steps of the page."""
    patches = config.image_size // config.patch_size
    convolutions = "three 3 x 3" if config.spatial_convs else "none"
    values = {
        "input, patches": f"{config.image_size} x {config.image_size}, {patches} x {patches}",
        "V, width of the backbone": config.backbone_dim,
        "D, width after the neck": config.embed_dim,
        "mask prompt, channels of its CNN": f"{config.mask_size} x {config.mask_size}, "
        f"{config.mask_channels}",
        "R, rows of the token pool": config.token_pool,
        "heads of attention": config.n_heads,
        "width of cross-attention": config.embed_dim // config.attention_downsample,
        "hidden width of the MLPs": config.mlp_dim,
        "layer norm": "before each step" if config.norm_first else "after each step",
        "class example mixer": ", ".join(config.mixers) or "none",
        "spatial convolutions": convolutions,
        "width of the dot product of Eq. 5": config.embed_dim // config.logit_downsample,
    }
    return pd.DataFrame({"": values})


def principal_colours(images: Tensor) -> np.ndarray:
    """Feature maps as pictures: their first three principal components as red, green and blue.

    Args:
        images: (n, D, h, w).

    Returns:
        (n, h, w, 3) in [0, 1], scaled alike for all images.
    """
    n, _, height, width = images.shape
    cells = images.flatten(2).transpose(1, 2).flatten(0, 1)  # (n*h*w, D)
    components = _principal(cells, 3)
    low, high = components.amin(0), components.amax(0)
    scaled = (components - low) / (high - low).clamp(min=1e-12)
    return scaled.view(n, height, width, 3).numpy()


@torch.inference_mode()
def attention_maps(read: Read, tokens_valid: Tensor) -> Tensor:
    """Where the tokens of each example attend, (E, h, w); each map sums to 1.

    The mean over heads and over the tokens that do not pad.
    """
    n_examples = len(tokens_valid)
    tokens, image = read.tokens[:n_examples], read.image[:n_examples]
    weights = read.attention.read_scores(tokens, image, read.position).softmax(-1).mean(1)
    kept = tokens_valid[..., None].to(weights.dtype)  # (E, T, 1)
    maps = (weights * kept).sum(1) / kept.sum(1)
    side = round(maps.shape[1] ** 0.5)
    return maps.unflatten(1, (side, side))


def draw_attention(shown: EpisodePicture, steps: Steps, model: LabelAnything) -> Figure:
    """A row per example, a column per layer: its support image, bright where the tokens attend."""
    prompts = steps.batch.prompts
    n_layers = len(steps.reads)
    figure, axes = _axes(n_layers * len(prompts.example_row), n_layers)
    for layer, read in enumerate(steps.reads, 1):
        maps = attention_maps(read, steps.tokens_valid)
        for example, axis in enumerate(axes[layer - 1 :: n_layers]):
            support = shown.supports[int(prompts.example_support[example])]
            number = int(prompts.example_row[example])
            axis.imshow(support.image.convert("L"), cmap="gray")
            _overlay(axis, maps[example].numpy(), support.image.size, model)
            name = fill(literal(shown.class_names[number - 1]), TITLE_WIDTH)
            axis.set_title(f"layer {layer}\n{name}", fontsize=FONT)
    return figure


def draw_features(images: Tensor, titles: Sequence[str]) -> Figure:
    """Feature maps (n, D, h, w) in their principal colours."""
    figure, axes = _axes(len(images), 3)
    for axis, colours, title in zip(axes, principal_colours(images), titles, strict=True):
        axis.imshow(colours)
        axis.set_title(title, fontsize=FONT)
    return figure


def draw_prototypes(steps: Steps, names: Sequence[str]) -> Figure:
    """Class-example embeddings (small) and prototypes (large, with an edge) in two dimensions.

    The plane holds the two principal directions of embeddings and prototypes.
    """
    pairs, prototypes = steps.pairs, steps.support.prototypes[0]
    vectors = torch.cat([pairs.embeddings, prototypes])
    plane = _principal(vectors, 2)
    examples, classes = plane[: len(pairs.row)], plane[len(pairs.row) :]
    figure, axis = plt.subplots(figsize=(WIDTH, WIDTH), layout="constrained")
    plt.close(figure)
    for number, name in enumerate(["background", *names]):
        mark = MARKERS[number % len(MARKERS)]
        own = examples[pairs.row == number]
        own_colour = "#777777" if number == 0 else colour(number)
        axis.scatter(own[:, 0], own[:, 1], color=own_colour, marker=mark, s=25)
        x, y = classes[number].tolist()
        axis.scatter(x, y, color=own_colour, marker=mark, s=130, ec="black", label=literal(name))
    figure.legend(loc="outside lower center", fontsize=FONT, frameon=False)
    axis.set(xlabel="first principal direction", ylabel="second")
    return figure


def draw_probabilities(shown: EpisodePicture, logits: Tensor) -> Figure:
    """The query, and for each row the softmax of its logits (C, h', w'), bright where it is 1."""
    names = ["background", *shown.class_names]
    figure, axes = _axes(1 + len(names), 2)
    axes[0].imshow(shown.query)
    axes[0].set_title("query", fontsize=FONT)
    for axis, name, values in zip(axes[1:], names, logits.softmax(0), strict=True):
        axis.imshow(values.numpy(), vmin=0, vmax=1, cmap="viridis")
        axis.set_title(fill(literal(name), TITLE_WIDTH), fontsize=FONT)
    return figure


def _principal(vectors: Tensor, n_components: int) -> Tensor:
    """(n, D) -> (n, n_components), projections on the main directions of the centred vectors."""
    centred = (vectors - vectors.mean(0)).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    return centred @ directions[:n_components].T


def _overlay(
    axis: plt.Axes, weights: np.ndarray, size: tuple[int, int], model: LabelAnything
) -> None:
    """Attention over an image of `size` (width, height); the input frame may pad or squash it."""
    width, height = size
    if model.config.resize == "pad":
        width = height = max(size)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axis.imshow(weights, extent=extent, cmap="magma", alpha=0.6)
    axis.set(xlim=(-0.5, size[0] - 0.5), ylim=(size[1] - 0.5, -0.5))


def _axes(n_pictures: int, n_columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of `n_pictures` pictures, in rows of `n_columns`."""
    n_rows = -(-n_pictures // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(WIDTH, (WIDTH / n_columns + 0.35) * n_rows),
        squeeze=False,
        layout="constrained",
        subplot_kw={"xticks": [], "yticks": []},
    )
    plt.close(figure)  # otherwise a notebook would show it twice
    for axis in axes.flat[n_pictures:]:
        axis.remove()
    return figure, list(axes.flat[:n_pictures])
