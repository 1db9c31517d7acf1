"""Prototypes and query image to logits (paper 3.2, Eq. 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import LayerNorm2d
from la.model.two_way import TwoWayTransformer


class ClassMlp(nn.Module):
    """Brings prototypes to the width of the upscaled query."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, out)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0](x).relu()
        return self.layers[2](self.layers[1](x).relu())


class MaskDecoder(nn.Module):
    """Two-way transformer of prototypes and query, upscaling, spatial convolutions, dot product.

    `norm_first` stands for the whole quick variant: the convolutions are residual and the product
    is scaled by exp(logit_scale) / sqrt(width). The published decoder has neither.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, out = config.embed_dim, config.embed_dim // config.logit_downsample
        self.transformer = TwoWayTransformer(config)
        self.output_upscaling = _upscaling(dim, out, config.patch_size // 4)
        self.class_mlp = ClassMlp(dim, out)
        convs = _residual_convs if config.norm_first else _convs
        self.spatial_convs = convs(out) if config.spatial_convs else nn.Identity()
        self.logit_scale = nn.Parameter(torch.empty(())) if config.norm_first else None

    def forward(
        self, image: Tensor, position: Tensor, prototypes: Tensor, class_valid: Tensor
    ) -> Tensor:
        """(B, D, h, w), (h*w, D), (B, C, D), (B, C) -> logits (B, C, f*h, f*w), f the upscaling."""
        cells, valid = image.flatten(2).transpose(1, 2), self.attended(class_valid)
        tokens, cells = self.transformer(prototypes, cells, position, valid)
        x = self.output_upscaling(cells.transpose(1, 2).unflatten(2, image.shape[-2:]))
        classes = self.class_mlp(tokens)
        logits = torch.einsum("bcd,bdhw->bchw", classes, self.spatial_convs(x))
        if self.logit_scale is not None:
            logits = logits * (self.logit_scale.exp() * classes.shape[-1] ** -0.5)
        return logits

    def attended(self, class_valid: Tensor) -> Tensor | None:
        """(B, C) bool: prototypes that the others and the image see; None for all."""
        return class_valid


def _upscaling(dim: int, out: int, factor: int) -> nn.Sequential:
    """(B, D, h, w) -> (B, out, f*h, f*w): 4 times as published, 2 times for 8-pixel patches."""
    width = dim // factor
    last = nn.ConvTranspose2d(width, out, 2, stride=2) if factor == 4 else nn.Conv2d(width, out, 1)
    first = nn.ConvTranspose2d(dim, width, 2, stride=2)
    return nn.Sequential(first, LayerNorm2d(width), nn.GELU(), last)


def _convs(dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(dim, dim, 3, padding=1), LayerNorm2d(dim), nn.GELU()]
    return nn.Sequential(*layers[:-2])  # the last convolution gives the features as they are


class _ResidualConv(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.gelu(self.norm(x)))


def _residual_convs(dim: int) -> nn.Sequential:
    return nn.Sequential(*(_ResidualConv(dim) for _ in range(3)))
