"""Prototypes and query image to logits (paper 3.2, Eq. 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import LayerNorm2d
from la.model.two_way import TwoWayTransformer


class ClassMlp(nn.Module):
    """Maps prototypes to the width of the upscaled query."""

    def __init__(self, dim: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Linear(dim, dim),
                nn.Linear(dim, dim),
                nn.Linear(dim, n_out),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        first, middle, last = self.layers
        hidden = middle(first(x).relu()).relu()
        return last(hidden)


class MaskDecoder(nn.Module):
    """Two-way transformer of prototypes and query, upscaling, spatial convolutions, dot product.

    With `norm_first` it is the quick variant: the convolutions are residual, and the product is
    scaled by exp(logit_scale) / sqrt(width). The published decoder has neither.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        width = dim // config.logit_downsample
        self.transformer = TwoWayTransformer(config)
        self.output_upscaling = _upscaling(dim, width, config.patch_size // 4)
        self.class_mlp = ClassMlp(dim, width)
        self.spatial_convs = nn.Sequential()
        if config.spatial_convs:
            self.spatial_convs = _residual_convs(width) if config.norm_first else _convs(width)
        self.logit_scale = nn.Parameter(torch.empty(())) if config.norm_first else None

    def forward(
        self,
        image: Tensor,
        position: Tensor,
        prototypes: Tensor,
        class_valid: Tensor,
    ) -> Tensor:
        """(B, D, h, w), (h*w, D), (B, C, D), (B, C) -> logits (B, C, f*h, f*w), f the upscaling."""
        valid = self.attended(class_valid)
        cells = image.flatten(2).transpose(1, 2)  # (B, h*w, D)
        tokens, cells = self.transformer(prototypes, cells, position, valid)
        grid = image.shape[-2:]
        image = cells.transpose(1, 2).unflatten(2, grid)
        upscaled = self.output_upscaling(image)
        pixels = self.spatial_convs(upscaled)
        classes = self.class_mlp(tokens)
        logits = torch.einsum("bcd,bdhw->bchw", classes, pixels)  # Eq. 5
        if self.logit_scale is not None:
            scale = self.logit_scale.exp() * classes.shape[-1] ** -0.5
            logits = logits * scale
        return logits

    def attended(self, class_valid: Tensor) -> Tensor | None:
        """(B, C) bool: prototypes that are attended to; None for all."""
        return class_valid


def _upscaling(dim: int, n_out: int, factor: int) -> nn.Sequential:
    """(B, D, h, w) -> (B, n_out, f*h, f*w): f = 4 as published, or 2 for 8-pixel patches."""
    width = dim // factor
    last: nn.Module = nn.Conv2d(width, n_out, 1)
    if factor == 4:
        last = nn.ConvTranspose2d(width, n_out, 2, stride=2)
    first = nn.ConvTranspose2d(dim, width, 2, stride=2)
    return nn.Sequential(first, LayerNorm2d(width), nn.GELU(), last)


def _convs(dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers.append(nn.Conv2d(dim, dim, 3, padding=1))
        layers.append(LayerNorm2d(dim))
        layers.append(nn.GELU())
    return nn.Sequential(*layers[:-2])  # the last convolution gives the features as they are


class ResidualConv(nn.Module):
    """Norm, GELU and convolution on (B, D, h, w), with a residual."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.norm(x))
        return x + self.conv(hidden)


def _residual_convs(dim: int) -> nn.Sequential:
    blocks = [ResidualConv(dim) for _ in range(3)]
    return nn.Sequential(*blocks)
