"""The frozen backbone of the quick profile: a small vision transformer with 8-pixel cells.

It stands where SAM or MAE stands in the paper's models (Sec. 4.2): pretrained on other classes than
those it is used for, and never trained with the rest. Its weights are part of the package.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).parents[1] / "weights" / "tiny_vit.safetensors"
CELL = 8  # pixels of a feature cell's side


class Block(nn.Module):
    """A pre-norm transformer block on (B, T, V)."""

    def __init__(self, dim: int, n_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x)).unflatten(2, (3, self.n_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, V / heads)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """Images to features, standardised per channel as measured on the pretraining images."""

    def __init__(self, dim: int = 128, depth: int = 4, n_heads: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in ((3, 32), (32, 64), (64, dim)):
            layers += [nn.Conv2d(n_in, n_out, 3, 2, 1, bias=False), nn.BatchNorm2d(n_out)]
            layers += [nn.GELU()]
        self.stem = nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))
        self.blocks = nn.Sequential(*(Block(dim, n_heads, 3 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("mean", torch.zeros(dim, 1, 1))
        self.register_buffer("std", torch.ones(dim, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """ImageNet-normalised images (B, 3, H, W) to features (B, V, H / 8, W / 8).

        Raises:
            ValueError: a side is not a multiple of 8.
        """
        if images.shape[2] % CELL or images.shape[3] % CELL:
            size = tuple(images.shape[2:])
            raise ValueError(f"image sides must be multiples of {CELL}, not {size}")
        x = self.stem(images)  # (B, V, h, w)
        h, w = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2) + positions(h, w, x.shape[1]).to(x)  # (B, T, V)
        x = self.norm(self.blocks(tokens)).transpose(1, 2).unflatten(2, (h, w))
        return (x - self.mean) / self.std


def positions(h: int, w: int, dim: int) -> Tensor:
    """(h * w, dim) sines and cosines of the cell's row (first half) and column, in float32."""
    rate = 10_000 ** (-torch.arange(dim // 4) / (dim // 4))
    angles = (torch.arange(size)[:, None] * rate for size in (h, w))
    row, column = (torch.cat([angle.sin(), angle.cos()], 1) for angle in angles)
    return torch.cat([row.repeat_interleave(w, 0), column.repeat(h, 1)], 1)


def load_tiny_vit(path: Path = WEIGHTS) -> TinyViT:
    """The pretrained backbone, frozen and in evaluation mode."""
    model = TinyViT()
    model.load_state_dict(load_file(path))
    return model.eval().requires_grad_(False)
