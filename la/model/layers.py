"""Layers of prompt encoder and mask decoder, named as in the published weights (paper Eq. 1-2).

Positions are never added to an image: W(image + position) = W image + W position, and the second
term is computed once for all images.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Up to so many scores a head an explicit softmax is faster than the fused kernel, forward and back,
# on a CPU with AVX2 and one or two threads. Beyond, the kernel is faster and keeps no scores.
SHORT = 1024


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (B, D, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, dim: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.lin2(self.activation(self.lin1(x)))


class FourierPosition(nn.Module):
    """Random Fourier features of a place in the unit square; never in half precision."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.empty(2, dim // 2))

    def forward(self, xy: Tensor) -> Tensor:
        """(..., 2) in [0, 1] -> (..., D)."""
        with torch.autocast(xy.device.type, enabled=False):
            matrix = self.positional_encoding_gaussian_matrix
            angle = 2 * math.pi * ((2 * xy.to(matrix.dtype) - 1) @ matrix)
            return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def grid(self, height: int, width: int) -> Tensor:
        """(h*w, D), the positions of the cell centres of an image."""
        matrix = self.positional_encoding_gaussian_matrix
        # Made on the device: copying them there would make the host wait for it.
        rows = torch.arange(height, dtype=matrix.dtype, device=matrix.device)
        columns = torch.arange(width, dtype=matrix.dtype, device=matrix.device)
        y = (rows + 0.5) / height
        x = (columns + 0.5) / width
        return self(torch.cartesian_prod(y, x).flip(1))


def _attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """(B, n_heads, Tq, d) attends to (B, n_heads, Tk, d), to what is `allowed` or to all."""
    if q.shape[-2] * k.shape[-2] > SHORT:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return _softmax(scores, allowed, dim=-1) @ v


def _softmax(scores: Tensor, allowed: Tensor | None, dim: int) -> Tensor:
    if allowed is not None:
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    return scores.softmax(dim)


class Attention(nn.Module):
    """Multi-head attention whose heads together are `inner` wide.

    `forward` is between tokens; `read` and `write` are its two directions between T tokens and the
    cells of an image. Where T is small, the image's projection moves to the tokens:
    q . (W image) = (q W) . image, and sum_x a_x (W image_x) = W (sum_x a_x image_x): n_heads * T
    products for each cell and channel instead of `inner`, and no projected image.
    """

    def __init__(self, dim: int, inner: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, inner) for _ in range(3))
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
        """(B, Tq, D) attends to (B, Tk, D); `allowed` is broadcast to (B, n_heads, Tq, Tk)."""
        return self.attend_projected(q, self.k_proj(k), self.v_proj(v), allowed)

    def attend_projected(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
        """As `forward`, for keys and values that `k_proj` and `v_proj` have seen already."""
        q, k, v = self._split(self.q_proj(q)), self._split(k), self._split(v)
        return self.out_proj(_merge(_attend(q, k, v, allowed)))

    def read_scores(self, tokens: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """Scores of `read` before the softmax over the cells, (B, n_heads, T, h*w)."""
        queries = self._split(self.q_proj(tokens))
        return self._scores(queries, self.k_proj.weight, image, position)  # the key bias cancels

    def read(self, tokens: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """Tokens (B, T, D) attend to an image (B, h*w, D) with `position` (h*w, D) in its keys."""
        if not self._few(tokens.shape[1]):
            k = self.k_proj(image) + F.linear(position, self.k_proj.weight)
            return self.attend_projected(tokens, k, self.v_proj(image), None)
        scores = self.read_scores(tokens, image, position)
        pooled = scores.softmax(-1).flatten(1, 2) @ image  # (B, n_heads*T, D)
        pooled = pooled.unflatten(1, (self.n_heads, -1))
        value = torch.einsum("bhtd,hcd->bhtc", pooled, self._by_head(self.v_proj.weight))
        return self.out_proj(_merge(value) + self.v_proj.bias)

    def write(
        self, image: Tensor, position: Tensor, k: Tensor, v: Tensor, valid: Tensor | None
    ) -> Tensor:
        """An image (B, h*w, D) with `position` attends to tokens (B, T, D), `valid` (B, T) or all.

        Returns (B, h*w, D), or (B, 1, D) where there is one token: then every cell gets the same.
        """
        if k.shape[1] == 1:
            return self.out_proj(self.v_proj(v))
        k, v = self._split(self.k_proj(k)), self._split(self.v_proj(v))
        allowed = None if valid is None else valid[:, None, :, None]
        if not self._few(k.shape[2]):
            q = self._split(self.q_proj(image) + F.linear(position, self.q_proj.weight))
            allowed = None if allowed is None else allowed.transpose(-2, -1)
            return self.out_proj(_merge(_attend(q, k, v, allowed)))
        scores = self._scores(k, self.q_proj.weight, image, position)
        bias = k @ self.q_proj.bias.view(self.n_heads, -1, 1) * k.shape[-1] ** -0.5
        weight = _softmax(scores + bias, allowed, dim=2).flatten(1, 2)  # (B, n_heads*T, h*w)
        out = self._by_head(self.out_proj.weight.T)
        value = torch.einsum("bhtc,hcd->bhtd", v, out).flatten(1, 2)
        return weight.transpose(1, 2) @ value + self.out_proj.bias

    def _scores(self, tokens: Tensor, weight: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """(B, n_heads, T, d) . W (image + position) -> (B, n_heads, T, h*w)."""
        tokens = tokens * tokens.shape[-1] ** -0.5
        tokens = torch.einsum("bhtc,hcd->bhtd", tokens, self._by_head(weight)).flatten(1, 2)
        scores = torch.baddbmm(tokens @ position.T, tokens, image.transpose(1, 2))
        return scores.unflatten(1, (self.n_heads, -1))

    def _few(self, n_tokens: int) -> bool:
        """Whether moving the projection to the tokens saves work; it meets image and position."""
        return 2 * self.n_heads * n_tokens <= self.q_proj.out_features

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, n_heads, T, d)

    def _by_head(self, weight: Tensor) -> Tensor:
        return weight.unflatten(0, (self.n_heads, -1))  # (n_heads, d, D)


class TokenToImageAttention(Attention):
    """Attention whose `forward` is `read`, so that a forward hook receives what is read."""

    def forward(self, tokens: Tensor, image: Tensor, position: Tensor) -> Tensor:
        """Tokens (B, T, D) attend to an image (B, h*w, D), `position` (h*w, D) in its keys."""
        return self.read(tokens, image, position)


def _merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # (B, T, inner)
