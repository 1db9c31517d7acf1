"""Prototypes and query image to logits (paper 3.2, Eq. 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.model.layers import LayerNorm2d
from la.model.plus import Skip
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
    """Two-way transformer between prototypes and query, upscaling, spatial convolutions, dot product.

    `norm_first` stands for the whole quick variant: the convolutions become residual and the product
    is scaled by exp(logit_scale) / sqrt(width). The published decoder has neither.
    """

    def __init__(
        self,
        *,
        dim: int,
        n_heads: int,
        mlp_dim: int,
        downsample: int,
        logit_dim: int,
        upscale: int,
        spatial_convs: bool,
        norm_first: bool,
        first_residual: bool,
        aligned: bool,
    ) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer(
            dim,
            dim // downsample,
            n_heads,
            mlp_dim,
            norm_first=norm_first,
            first_residual=first_residual,
        )
        self.output_upscaling = _upscaling(dim, logit_dim, upscale)
        self.class_mlp = ClassMlp(dim, logit_dim)
        self.spatial_convs = None
        if spatial_convs:
            self.spatial_convs = (_residual_convs if norm_first else _convs)(logit_dim)
        self.logit_scale = nn.Parameter(torch.empty(())) if norm_first else None
        self.image_skip = Skip(dim, logit_dim) if aligned else None
        self.class_skip = Skip(dim, logit_dim) if aligned else None

    def forward(
        self, image: Tensor, position: Tensor, prototypes: Tensor, class_valid: Tensor
    ) -> Tensor:
        """(B, D, h, w), (h*w, D), (B, C, D), (B, C) -> logits (B, C, f*h, f*w), f the upscaling."""
        cells = image.flatten(2).transpose(1, 2)
        valid = self.attended(class_valid)
        tokens, cells = self.transformer(prototypes, cells, position, valid)
        x = cells.transpose(1, 2).unflatten(2, image.shape[-2:])
        x = self.output_upscaling(x)
        classes = self.class_mlp(tokens)
        if self.image_skip is not None:
            skip = self.image_skip(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            x = x + F.interpolate(skip, x.shape[-2:], mode="bilinear", align_corners=False)
            classes = classes + self.class_skip(prototypes)
        if self.spatial_convs is not None:
            x = self.spatial_convs(x)
        logits = torch.einsum("bcd,bdhw->bchw", classes, x)
        if self.logit_scale is not None:
            logits = logits * (self.logit_scale.exp() * classes.shape[-1] ** -0.5)
        return logits

    def attended(self, class_valid: Tensor) -> Tensor | None:
        """(B, C) bool: prototypes that the others and the image see; None for all."""
        return class_valid


def _upscaling(dim: int, out: int, factor: int) -> nn.Sequential:
    """(B, D, h, w) -> (B, out, f*h, f*w): x4 as published, x2 for backbones with 8-pixel patches."""
    if factor == 4:
        return nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, 2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, out, 2, stride=2),
        )
    return nn.Sequential(
        nn.ConvTranspose2d(dim, dim // 2, 2, stride=2),
        LayerNorm2d(dim // 2),
        nn.GELU(),
        nn.Conv2d(dim // 2, out, 1),
    )


def _convs(dim: int) -> nn.Sequential:
    def conv() -> nn.Conv2d:
        return nn.Conv2d(dim, dim, 3, padding=1)

    return nn.Sequential(
        conv(), LayerNorm2d(dim), nn.GELU(), conv(), LayerNorm2d(dim), nn.GELU(), conv()
    )


class _ResidualConv(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(F.gelu(self.norm(x)))


def _residual_convs(dim: int) -> nn.Sequential:
    return nn.Sequential(*(_ResidualConv(dim) for _ in range(3)))
