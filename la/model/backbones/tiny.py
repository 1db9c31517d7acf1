"""The quick profile's encoder, with cells of 8 pixels; its weights are part of the package."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from la.errors import UserError
from la.model.backbones.spec import BackboneSpec, InstalledFile, call

DIM = 128


class Block(nn.Module):
    """A pre-norm transformer block on (B, T, V)."""

    def __init__(self, dim: int, n_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp_dim),
            nn.GELU(),
            nn.Linear(mlp_dim, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x))
        by_head = qkv.unflatten(2, (3, self.n_heads, -1))
        q, k, v = by_head.permute(2, 0, 3, 1, 4)  # (B, heads, T, V / heads)
        attended = F.scaled_dot_product_attention(q, k, v)
        merged = attended.transpose(1, 2).flatten(2)
        x = x + self.proj(merged)
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """A small ViT whose features are standardised per channel as on its pretraining images.

    It takes the place of SAM or MAE in the paper's models (Sec. 4.2): pretrained on other classes
    than those it is used for, and never trained with the rest.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int = DIM) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in ((3, 32), (32, 64), (64, dim)):
            conv = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False)
            layers.append(conv)
            layers.append(nn.BatchNorm2d(n_out))
            layers.append(nn.GELU())
        layers.append(nn.Conv2d(dim, dim, 1))
        self.stem = nn.Sequential(*layers)
        blocks = [Block(dim, n_heads=2, mlp_dim=3 * dim) for _ in range(4)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("mean", torch.zeros(dim, 1, 1))
        self.register_buffer("std", torch.ones(dim, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """ImageNet-normalised images (B, 3, H, W) to features (B, V, H / 8, W / 8).

        Raises:
            UserError: a side is not a multiple of 8.
        """
        if images.shape[2] % 8 or images.shape[3] % 8:
            raise UserError(f"image sides must be multiples of 8, not {tuple(images.shape[2:])}")
        x = self.stem(images)  # (B, V, h, w)
        height, width = x.shape[2:]
        place = positions(height, width, x.shape[1]).to(x)
        tokens = x.flatten(2).transpose(1, 2) + place  # (B, T, V)
        tokens = self.norm(self.blocks(tokens))
        features = tokens.transpose(1, 2).unflatten(2, (height, width))
        return (features - self.mean) / self.std


def positions(height: int, width: int, dim: int) -> Tensor:
    """(h * w, dim) sines and cosines of the cell's row (first half) and column, in float32."""
    rate = 10_000 ** (-torch.arange(dim // 4) / (dim // 4))
    row_angle = torch.arange(height)[:, None] * rate
    column_angle = torch.arange(width)[:, None] * rate
    row = torch.cat([row_angle.sin(), row_angle.cos()], 1)
    column = torch.cat([column_angle.sin(), column_angle.cos()], 1)
    row = row.repeat_interleave(width, 0)
    column = column.repeat(height, 1)
    return torch.cat([row, column], 1)


def build_tiny(image_size: int) -> nn.Module:
    """The encoder; it takes images of any side."""
    return TinyViT()


TINY = BackboneSpec(
    name="tiny",
    dim=DIM,
    patch_size=8,
    build=build_tiny,
    read=call,
    weights=InstalledFile(package="la", file_name="weights/tiny_vit.safetensors"),
    images_at_once=16,
    licence="MIT",
    drawings_only=True,
)
