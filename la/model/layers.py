"""Layers of the prompt encoder and the mask decoder, named as in the published weights (Eq. 1-2).

A position is never added to an image: W (image + position) = W image + W position, and the second
term is computed once for all images.
"""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Up to this many scores per head an explicit softmax is faster than the fused kernel, forward and
# backward, on a CPU with AVX2 and one or two threads. Beyond, the kernel is faster, and it keeps no
# scores.
SHORT = 1024

M = TypeVar("M", bound=nn.Module)


def submodule(module: nn.Module, name: str, kind: type[M]) -> M:
    """The layer of this name, as in a state dict, whose type the caller knows."""
    layer = module.get_submodule(name)
    assert isinstance(layer, kind)
    return layer


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (B, D, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:
        channels_last = image.permute(0, 2, 3, 1)
        return super().forward(channels_last).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(
        self,
        dim: int,
        hidden: int,
        activation: nn.Module,
    ) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.activation(self.lin1(x))
        return self.lin2(hidden)


class MultiHead(nn.Module):
    """The projections of multi-head attention, whose heads together are `inner` wide.

    `read` and `write` are attention between T tokens and the cells of an image. Where T is small,
    the image's projection moves to the tokens: q . (W image) = (q W) . image, and
    sum_x a_x (W image_x) = W (sum_x a_x image_x). This takes n_heads * T products for each cell
    and channel instead of `inner`, and keeps no projected image.
    """

    def __init__(self, dim: int, inner: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def attend_projected(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        allowed: Tensor | None,
    ) -> Tensor:
        """Attention to keys and values that `k_proj` and `v_proj` have already projected."""
        q = self._split(self.q_proj(queries))
        k = self._split(keys)
        v = self._split(values)
        return self.out_proj(_merge(_attend(q, k, v, allowed)))

    def read_scores(
        self,
        tokens: Tensor,
        image: Tensor,
        position: Tensor,
    ) -> Tensor:
        """Scores of `read` before the softmax over the cells, (B, n_heads, T, h*w)."""
        queries = self._split(self.q_proj(tokens))
        # The bias of the keys is left out, as the softmax cancels it.
        return self._scores(queries, self.k_proj.weight, image, position)

    def read(
        self,
        tokens: Tensor,
        image: Tensor,
        position: Tensor,
    ) -> Tensor:
        """Eq. 1: tokens (B, T, D) attend to an image (B, h*w, D) with its position in the keys.

        Args:
            position: (h*w, D) of the cells; the values do not have it.
        """
        if not self._projects_tokens(tokens.shape[1]):
            keys = self.k_proj(image) + F.linear(position, self.k_proj.weight)
            return self.attend_projected(tokens, keys, self.v_proj(image), None)
        weights = self.read_scores(tokens, image, position).softmax(-1)
        pooled = weights.flatten(1, 2) @ image  # (B, n_heads*T, D)
        pooled = pooled.unflatten(1, (self.n_heads, -1))
        value_weight = self._by_head(self.v_proj.weight)
        values = torch.einsum("bhtd,hcd->bhtc", pooled, value_weight)
        return self.out_proj(_merge(values) + self.v_proj.bias)

    def write(
        self,
        image: Tensor,
        position: Tensor,
        keys: Tensor,
        values: Tensor,
        valid: Tensor | None,
    ) -> Tensor:
        """Eq. 2: an image (B, h*w, D) with `position` (h*w, D) attends to tokens (B, T, D).

        Args:
            valid: (B, T), which of the tokens are attended to; None for all.

        Returns:
            (B, h*w, D), or (B, 1, D) for a single token, which gives every cell the same.
        """
        n_tokens = keys.shape[1]
        if n_tokens == 1:
            return self.out_proj(self.v_proj(values))
        k = self._split(self.k_proj(keys))
        v = self._split(self.v_proj(values))
        if not self._projects_tokens(n_tokens):
            q = self.q_proj(image) + F.linear(position, self.q_proj.weight)
            allowed = None if valid is None else valid[:, None, None, :]
            attended = _attend(self._split(q), k, v, allowed)
            return self.out_proj(_merge(attended))
        scores = self._scores(k, self.q_proj.weight, image, position)
        query_bias = self.q_proj.bias.view(self.n_heads, -1, 1)
        scores = scores + k @ query_bias * k.shape[-1] ** -0.5
        allowed = None if valid is None else valid[:, None, :, None]
        weights = _softmax(scores, allowed, dim=2).flatten(1, 2)  # (B, n_heads*T, h*w)
        output_weight = self._by_head(self.out_proj.weight.T)
        outputs = torch.einsum("bhtc,hcd->bhtd", v, output_weight).flatten(1, 2)
        return weights.transpose(1, 2) @ outputs + self.out_proj.bias

    def _scores(
        self,
        tokens: Tensor,
        weight: Tensor,
        image: Tensor,
        position: Tensor,
    ) -> Tensor:
        """(B, n_heads, T, d) . W (image + position) -> (B, n_heads, T, h*w)."""
        scaled = tokens * tokens.shape[-1] ** -0.5
        projected = torch.einsum("bhtc,hcd->bhtd", scaled, self._by_head(weight))
        projected = projected.flatten(1, 2)  # (B, n_heads*T, D)
        of_position = projected @ position.T
        scores = torch.baddbmm(of_position, projected, image.transpose(1, 2))
        return scores.unflatten(1, (self.n_heads, -1))

    def _projects_tokens(self, n_tokens: int) -> bool:
        """Whether it costs less to project the tokens, once each for image and position."""
        return 2 * self.n_heads * n_tokens <= self.q_proj.out_features

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, inner) -> (B, n_heads, T, d)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def _by_head(self, weight: Tensor) -> Tensor:
        """(inner, D) -> (n_heads, d, D)."""
        return weight.unflatten(0, (self.n_heads, -1))


class Attention(MultiHead):
    """Attention between tokens."""

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """(B, Tq, D) attends to (B, Tk, D).

        Args:
            allowed: bool, broadcast to (B, n_heads, Tq, Tk); None for all.
        """
        keys = self.k_proj(keys)
        values = self.v_proj(values)
        return self.attend_projected(queries, keys, values, allowed)


class TokenToImageAttention(MultiHead):
    """Attention whose `forward` is `read`, so that a forward hook receives what is read."""

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        position: Tensor,
    ) -> Tensor:
        """As `read`."""
        return self.read(tokens, image, position)


def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    allowed: Tensor | None,
) -> Tensor:
    """(B, n_heads, Tq, d) attends to (B, n_heads, Tk, d), to what is `allowed` or to all."""
    if q.shape[-2] * k.shape[-2] > SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    scaled = q * q.shape[-1] ** -0.5
    scores = scaled @ k.transpose(-2, -1)
    return _softmax(scores, allowed, dim=-1) @ v


def _softmax(scores: Tensor, allowed: Tensor | None, dim: int) -> Tensor:
    if allowed is not None:
        lowest = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~allowed, lowest)
    return scores.softmax(dim)


def _merge(x: Tensor) -> Tensor:
    """(B, n_heads, T, d) -> (B, T, inner)."""
    return x.transpose(1, 2).flatten(2)
