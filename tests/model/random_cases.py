"""Random episodes for tests: the published model's dense inputs, of any shape."""

import torch

from tests.dense_reference import DenseInputs


def dense_inputs(
    n_episodes=1,
    n_supports=2,
    n_rows=3,
    kinds=("mask", "box", "point"),
    seed=0,
    side=6,
    width=24,
    n_points=3,
    n_boxes=2,
    fill=0.6,
    bank_rows=None,
    class_valid=None,
    mask_side=32,
):
    """Float64. A share `fill` of the pairs carries prompts; every class has an example."""
    g = torch.Generator().manual_seed(seed)
    pairs = (n_episodes, n_supports, n_rows)
    size = 16 * side

    def some(*shape):
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    listed = some(*pairs) < fill
    for row in range(1, n_rows):
        listed[:, row % n_supports, row] = True
    if class_valid is not None:
        listed &= class_valid[:, None]
    listed[..., 0] = False
    has = {
        kind: (some(*pairs) < 0.7) & listed & (kind in kinds) for kind in ("mask", "box", "point")
    }
    bare = listed & ~(has["mask"] | has["box"] | has["point"])
    has[kinds[0]] |= bare
    sign = torch.where(some(*pairs, n_points) < 0.3, -1, 1)
    point_flags = sign * (
        torch.arange(n_points) <= torch.randint(0, n_points, (*pairs, 1), generator=g)
    )
    box_flags = torch.arange(n_boxes) <= torch.randint(0, n_boxes, (*pairs, 1), generator=g)
    corner = some(*pairs, n_boxes, 2) * size * 0.6
    noise = some(*pairs, mask_side, mask_side).flatten(0, 1)
    masks = (torch.nn.functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False) > 0.5).double()
    masks = masks.view(*pairs, mask_side, mask_side)
    example_flags = listed.clone()
    example_flags[..., 0] = True
    return DenseInputs(
        features=some(n_episodes, 1 + n_supports, width, side, side) * 3.5 - 1.75,
        points=some(*pairs, n_points, 2) * size,
        point_flags=point_flags * has["point"][..., None],
        boxes=torch.cat([corner, corner + 4 + some(*pairs, n_boxes, 2) * size * 0.3], dim=-1),
        box_flags=(box_flags & has["box"][..., None]).to(torch.uint8),
        masks=masks * has["mask"][..., None, None],
        mask_flags=has["mask"].to(torch.uint8),
        example_flags=example_flags.to(torch.uint8),
        bank_rows=bank_rows,
        class_valid=class_valid,
    )
