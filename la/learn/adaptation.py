"""Adapts the last layers of the mask decoder to a support set by a few gradient steps on it.

The paper uses a support set without further training. Here each support image is the query of the
others, as it is or mirrored, and its masks are the truth: what they leave out, padding included,
is background. An image that alone shows a class is the query of the whole set, itself included.
Backbone, prompt encoder and two-way transformer keep their weights, so prototypes do not change;
the adapted weights belong to the support set. The page `adapting` shows what the steps gain.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields

import torch
import torch.nn.functional as F
from torch import Tensor

from la.learn.losses import class_weights, focal_loss
from la.model.label_anything import LabelAnything
from la.model.mask_decoder import MaskDecoder
from la.model.prototypes import Pairs, Support
from la.rng import stream
from la.types import Prompts

STEPS = 30
LEARNING_RATE = 5e-4
QUERIES = 2  # of one step
ADAPTED = ("output_upscaling.", "class_mlp.", "logit_scale")


def adapted_weights(
    model: LabelAnything,
    images: Tensor,
    prompts: Prompts,
    steps: int = STEPS,
    seed: int = 0,
) -> dict[str, Tensor]:
    """The weights of the decoder's last layers after `steps` of AdamW on a support set.

    Args:
        model: its weights are left as they are.
        images: (S, D, h, w) embeddings of the support images, after backbone and neck.
        prompts: of one episode; each of its examples carries a mask.
        steps: of two queries each.
        seed: of the order in which images become queries.

    Returns:
        For `with_decoder`: a tensor for each name of the mask decoder that begins with one of
        `ADAPTED`.
    """
    with torch.inference_mode(False), torch.enable_grad():
        decoder = copy.deepcopy(model.mask_decoder)
        dtype = next(decoder.parameters()).dtype  # images are bfloat16 after autocast
        images = images.clone().to(dtype)  # a tensor of inference mode cannot have a gradient
        trained = {}
        for name, weight in decoder.named_parameters():
            weight.requires_grad_(name.startswith(ADAPTED))
            if weight.requires_grad:
                trained[name] = weight
        optimizer = torch.optim.AdamW(trained.values(), lr=LEARNING_RATE, weight_decay=0.01)
        supports = _supports_of_queries(model, images, prompts)
        targets = mask_targets(prompts, len(images))
        rng = stream(seed, "adaptation")
        waiting: list[int] = []
        for _ in range(steps):
            while len(waiting) < QUERIES:
                waiting += rng.permutation(2 * len(images)).tolist()
            chosen, waiting = waiting[:QUERIES], waiting[QUERIES:]
            loss = _loss(model, decoder, images, targets, supports, chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {name: weight.detach().clone() for name, weight in trained.items()}


def with_decoder(model: LabelAnything, weights: Mapping[str, Tensor]) -> LabelAnything:
    """A model that shares everything with another one except these weights of its decoder."""
    decoder = copy.deepcopy(model.mask_decoder)
    decoder.load_state_dict(dict(weights), strict=False)
    adapted = copy.copy(model)
    adapted._modules = dict(model._modules)  # the copy shares this dict, and an entry is replaced
    adapted.mask_decoder = decoder
    return adapted


def mask_targets(prompts: Prompts, n_images: int) -> Tensor:
    """(S, Hm, Wm) int64: the row of the mask that covers a cell, the last of several, else 0."""
    images = prompts.example_support[prompts.mask_example].tolist()
    rows = prompts.example_row[prompts.mask_example].tolist()
    shape = (n_images, *prompts.masks.shape[1:])
    targets = torch.zeros(shape, dtype=torch.int64, device=prompts.masks.device)
    for mask, image, row in zip(prompts.masks, images, rows, strict=True):
        targets[image][mask > 0.5] = row
    return targets


@torch.no_grad()
def _supports_of_queries(
    model: LabelAnything,
    images: Tensor,
    prompts: Prompts,
) -> list[Support]:
    """For each support image, the support set in which it is a query."""
    n_rows = int(prompts.example_row.max()) + 1
    token_rows = torch.arange(n_rows, device=images.device)[None]  # (1, C)
    episode = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    encoder = model.prompt_encoder
    pairs = encoder.encode(images, prompts, episode, token_rows)
    class_valid = torch.ones_like(token_rows, dtype=torch.bool)
    supports = []
    for image in range(len(images)):
        others = _without(pairs, image)
        supports.append(encoder.combine(others, class_valid))
    return supports


def _without(pairs: Pairs, image: int) -> Pairs:
    """The pairs of the other images; all pairs if one class has an example on this image only."""
    kept = pairs.support != image
    rows = pairs.row[pairs.present]
    rows_of_others = pairs.row[pairs.present & kept]
    if len(rows.unique()) > len(rows_of_others.unique()):
        return pairs
    return Pairs(**{field.name: getattr(pairs, field.name)[kept] for field in fields(Pairs)})


def _loss(
    model: LabelAnything,
    decoder: MaskDecoder,
    images: Tensor,
    targets: Tensor,
    supports: list[Support],
    chosen: list[int],
) -> Tensor:
    """The focal loss (Eq. 6) of some queries; number i is image i // 2, mirrored if i is odd."""
    query, target = [], []
    for number in chosen:
        image, truth = images[number // 2], targets[number // 2]
        query.append(image.flip(-1) if number % 2 else image)
        target.append(truth.flip(-1) if number % 2 else truth)
    prototypes = torch.cat([supports[number // 2].prototypes for number in chosen])
    class_valid = torch.cat([supports[number // 2].class_valid for number in chosen])
    position = model.prompt_encoder.pe_layer.grid(*images.shape[-2:])
    logits = decoder(torch.stack(query), position, prototypes, class_valid)
    truths = torch.stack(target)
    logits = F.interpolate(logits, truths.shape[-2:], mode="bilinear", align_corners=False)
    weights = class_weights(truths, logits.shape[1], rule="power")
    return focal_loss(logits, truths, weights)
