"""Episodes in which each class is a direction of the features, planted in noise."""

import torch
from torch import Tensor

from la.config import ModelConfig
from la.types import Batch, Features, Prompts

KINDS = ("mask", "point", "box")


def planted_batch(config: ModelConfig, seed: int, n_episodes: int, kind: str = "mask") -> Batch:
    """1-way 1-shot episodes of two objects an image; the left one of the support is prompted.

    The query shows both classes too, in other places. Objects are squares of a third of the
    side, features have about the statistics of a layer-normalised backbone.
    """
    g = torch.Generator().manual_seed(seed)
    side = config.image_size // config.patch_size
    classes = torch.randn(n_episodes, 2, config.backbone_dim, generator=g)
    scene = torch.randn(config.backbone_dim, generator=g)
    supports, objects = [], []
    queries, targets = [], []
    for pair in classes:
        support, (prompted, _) = _image(pair, scene, side, ((1, 1), (side // 2, side // 2)), g)
        query, (same, _) = _image(pair, scene, side, ((side // 2, 1), (1, side // 2)), g)
        supports.append(support)
        objects.append(prompted)
        queries.append(query)
        targets.append(same)
    return Batch(
        source=Features(torch.stack(queries), torch.stack(supports)),
        support_episode=torch.arange(n_episodes),
        prompts=prompts_of(torch.stack(objects), config, kind),
        token_rows=torch.tensor([[0, 1]]).expand(n_episodes, -1),
        class_valid=torch.ones(n_episodes, 2, dtype=torch.bool),
        target=torch.stack(targets).long(),
        query_size=torch.tensor([[config.image_size] * 2] * n_episodes),
        objects=torch.stack(objects),
    )


def _image(
    classes: Tensor, scene: Tensor, side: int, corners: tuple, generator: torch.Generator
) -> tuple[Tensor, list[Tensor]]:
    """Features (V, h, w) of objects at these (row, column), and the mask (h, w) of each."""
    noise = torch.randn(len(scene), side, side, generator=generator)
    image = 0.5 * (scene[:, None, None] + noise)
    masks = []
    for vector, (y, x) in zip(classes, corners, strict=True):
        mask = torch.zeros(side, side, dtype=torch.bool)
        mask[y : y + side // 3, x : x + side // 3] = True
        image[:, mask] += vector[:, None]
        masks.append(mask)
    return image, masks


def prompts_of(objects: Tensor, config: ModelConfig, kind: str) -> Prompts:
    """One prompt of this kind for each object (E, h, w), the only one of its support image."""
    n, side = objects.shape[:2]
    size, patch = config.mask_size, config.patch_size
    points, boxes = [], []
    for mask in objects:
        rows, columns = mask.nonzero(as_tuple=True)
        points.append([columns.float().mean() + 0.5, rows.float().mean() + 0.5])
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    masks = torch.nn.functional.interpolate(objects[:, None].float(), size)[:, 0]
    has_points, has_boxes = kind == "point", kind == "box"
    return Prompts(
        masks=masks if kind == "mask" else masks[:0],
        mask_example=torch.arange(n if kind == "mask" else 0),
        points=torch.tensor(points)[:, None][:, :has_points] * patch,
        point_labels=torch.ones(n, int(has_points), dtype=torch.int64),
        boxes=torch.tensor(boxes).float()[:, None][:, :has_boxes] * patch,
        boxes_valid=torch.ones(n, int(has_boxes), dtype=torch.bool),
        example_support=torch.arange(n),
        example_row=torch.ones(n, dtype=torch.int64),
    )
