"""A layer of EMAT: attention to the masked support tokens, which halves the support map.

Tokens are (E, c, I, J): example, channel, query cell, support cell. In the channels-last memory
format, convolutions over either axis and the attention of each query cell need no copy of them.
"""

import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 4


class Squeeze(nn.Module):
    """A layer that halves the sides of the support map and widens or narrows its tokens."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        hidden = after // 2
        self.to_query = nn.Conv2d(before, hidden, 2, stride=2)
        self.to_key = nn.Conv2d(before, hidden, 1)
        self.to_value = nn.Conv2d(before, hidden, 1)
        self.shortcut = nn.Conv2d(before, after, 2, stride=2)
        self.shortcut_norm = nn.GroupNorm(4, after)
        self.merge = nn.Sequential(
            nn.GroupNorm(4, hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, after, 1),
            nn.GroupNorm(4, after),
            nn.ReLU(),
        )
        self.norm = nn.GroupNorm(4, after)
        self.mlp = nn.Sequential(
            nn.Conv2d(after, hidden, 1),
            nn.GroupNorm(4, hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, after, 1),
        )
        self.last_norm = nn.GroupNorm(4, after)

    def forward(self, x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the side s of the support map.

        Args:
            x: tokens (E, c, I, s * s).
            kept: (E, s, s) bool, the support cells inside the mask.

        Returns:
            The tokens (E, c', I, (s / 2) * (s / 2)), and the mask (E, s / 2, s / 2).
        """
        tokens, is_kept = drop(x, kept.flatten(1))
        attended = attend(
            shrink(x, self.to_query, kept.shape[-1]),
            self.to_key(tokens),
            self.to_value(tokens),
            is_kept,
        )
        shortcut = shrink(x, self.shortcut, kept.shape[-1])
        shortcut = self.shortcut_norm(shortcut).relu()
        y = self.norm(shortcut + self.merge(attended))
        y = self.last_norm(y + self.mlp(y))
        smaller = F.max_pool2d(kept[:, None].float(), 2)[:, 0] > 0
        return y, smaller


def shrink(x: Tensor, convolution: nn.Module, side: int) -> Tensor:
    """A convolution over the support axis, (E, c, I, s * s) to (E, c', I, s' * s')."""
    n_examples = len(x)
    per_cell = x.transpose(1, 2).flatten(0, 1)  # (E * I, c, s * s)
    shrunk = convolution(per_cell.unflatten(2, (side, side)))
    shrunk = shrunk.flatten(2).unflatten(0, (n_examples, -1))
    return shrunk.transpose(1, 2)


def drop(x: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The kept tokens of (E, c, I, J), padded to the most that an example keeps.

    Returns:
        (E, c, I, n), and (E, n) bool: False where an example is padded.
    """
    most = int(kept.sum(1).max())
    order = kept.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    n_channels, n_cells = x.shape[1:3]
    index = order[:, None, :, None].expand(-1, n_cells, -1, n_channels)
    tokens = x.permute(0, 2, 3, 1).gather(2, index)  # (E, I, n, c)
    return tokens.permute(0, 3, 1, 2), kept.gather(1, order)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    kept: Tensor,
) -> Tensor:
    """Attention over the kept support tokens, separately for each query cell, without 1/sqrt(d).

    Queries are (E, c, I, m), keys and values (E, c, I, n), kept is (E, n).
    """
    n_cells = query.shape[2]
    is_kept = kept.repeat_interleave(n_cells, dim=0)  # (E * I, n)
    mixed = F.scaled_dot_product_attention(
        _by_head(query),
        _by_head(key),
        _by_head(value),
        attn_mask=is_kept[:, None, None],
        scale=1.0,
    )
    mixed = mixed.transpose(1, 2).flatten(2)  # (E * I, m, c)
    return mixed.unflatten(0, (-1, n_cells)).permute(0, 3, 1, 2)


def _by_head(x: Tensor) -> Tensor:
    """(E, c, I, n) to (E * I, heads, n, c / heads); fused attention needs four axes."""
    cells = x.permute(0, 2, 3, 1).flatten(0, 1)
    return cells.unflatten(2, (HEADS, -1)).transpose(1, 2)
