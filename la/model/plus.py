"""What LA+ adds to the paper's model; each part is an option that can be switched alone.

  highlight     support features weighted by where the prompt is, so that pooling starts at the object
  raster        boxes and points become soft maps and highlight too
  aligned_init  linear paths beside decoder and class MLP that start as one and the same projection
  residual      cosine similarity of backbone features added to the logits

Measured on generated images only; nobody has measured them on COCO yet.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.types import Prompts

BOX_SIGMA = 0.35  # of the half side
BOX_REACH = 1.1  # a box draws nothing beyond this many half sides
POINT_SIGMA = 2 / 96  # of the image side


@dataclass(frozen=True)
class Raster:
    """How prompts become soft maps."""

    image_size: int  # side of the input, the prompts' frame
    mask_size: int  # side of the maps before they are averaged into cells
    sparse: bool  # the `raster` option: draw boxes and points, not masks alone

    def __call__(self, prompts: Prompts, size: tuple[int, int]) -> Tensor:
        """(E, h, w) in [0, 1], the maximum over an example's prompts; 0 where none draws."""
        n, side = len(prompts.example_row), self.mask_size
        maps = prompts.points.new_zeros(n, side, side)
        if self.sparse:
            at = (torch.arange(side, device=maps.device) + 0.5) * self.image_size / side
            for drawn in (self._points(prompts, at), self._boxes(prompts, at)):
                maps = torch.maximum(maps, F.pad(drawn, (0, 0, 0, 0, 0, 1)).amax(1))
        masks = prompts.masks.to(maps.dtype)
        if masks.shape[-1] != side:
            masks = F.adaptive_avg_pool2d(masks[:, None], side)[:, 0]
        masks = torch.zeros_like(maps).index_copy(0, prompts.mask_example, masks)
        return F.adaptive_avg_pool2d(torch.maximum(maps, masks)[:, None], size)[:, 0]

    def _points(self, prompts: Prompts, at: Tensor) -> Tensor:
        """(E, P, side, side): a Gaussian around each positive point; the others draw nothing."""
        x, y = (prompts.points + 0.5).unbind(-1)
        sigma = POINT_SIGMA * self.image_size
        drawn = _bump((at - x[..., None]) / sigma, (at - y[..., None]) / sigma)
        return drawn * (prompts.point_labels > 0)[..., None, None]

    def _boxes(self, prompts: Prompts, at: Tensor) -> Tensor:
        """(E, Q, side, side): a Gaussian that follows the sides of each box."""
        x0, y0, x1, y1 = prompts.boxes.unbind(-1)
        u = (at - (x0 + x1)[..., None] / 2) / ((x1 - x0)[..., None] / 2).clamp(min=1)
        v = (at - (y0 + y1)[..., None] / 2) / ((y1 - y0)[..., None] / 2).clamp(min=1)
        inside = (u.abs() < BOX_REACH)[..., None, :] & (v.abs() < BOX_REACH)[..., None]
        drawn = _bump(u / BOX_SIGMA, v / BOX_SIGMA) * inside
        return drawn * prompts.boxes_valid[..., None, None]


def _bump(u: Tensor, v: Tensor) -> Tensor:
    """exp(-(u^2 + v^2) / 2), u along the columns and v along the rows."""
    return torch.exp(-(u[..., None, :] ** 2) / 2) * torch.exp(-(v[..., None] ** 2) / 2)


def coverage_weight(raster: Raster, prompts: Prompts, features: Tensor) -> Tensor:
    """(E, h*w): how much of each cell is prompted; 1 everywhere where nothing draws."""
    drawn = raster(prompts, tuple(features.shape[-2:])).flatten(1)
    return torch.where((drawn > 0).any(1, keepdim=True), drawn, 1)


def mean_under(weight: Tensor, features: Tensor, support: Tensor) -> Tensor:
    """Mean (E, V) of features (S, V, h, w) under weight (E, h*w); `support` (E,) picks the image."""
    share = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.einsum("ex,evx->ev", share, features.flatten(2)[support])


class SimilarityResidual(nn.Module):
    """Adds what a prototype with a threshold would say to the decoder's logits."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.empty(()))
        self.threshold = nn.Parameter(torch.empty(()))
        self.gain = nn.Parameter(torch.empty(()))

    def forward(self, logits: Tensor, features: Tensor, prototypes: Tensor) -> Tensor:
        """Logits (B, C, H, W), query features (B, V, h, w), prototypes (B, C, V) -> (B, C, H, W)."""
        features, prototypes = F.normalize(features.float(), dim=1), F.normalize(prototypes, dim=-1)
        cosine = torch.einsum("bcv,bvhw->bchw", prototypes[:, 1:].float(), features)
        cosine = F.interpolate(cosine, logits.shape[-2:], mode="bilinear", align_corners=False)
        background = self.threshold.expand_as(cosine[:, :1])
        similarity = torch.cat([background, cosine], dim=1)
        return self.log_scale.exp() * similarity + self.gain * logits


class Skip(nn.Linear):
    """A linear path around a part of the decoder."""

    def __init__(self, dim: int, out: int) -> None:
        super().__init__(dim, out, bias=False)


def align(model: nn.Module, generator: torch.Generator) -> None:
    """Start prompt encoder and decoder in one common space, so that the dot product begins as a similarity."""
    shared = nn.init.orthogonal_(
        torch.empty(model.config.embed_dim, model.config.embed_dim), generator=generator
    )
    with torch.no_grad():
        for skip in (model.mask_decoder.image_skip, model.mask_decoder.class_skip):
            skip.weight.copy_(shared[: len(skip.weight)])
        if model.neck is not None:
            nn.init.orthogonal_(model.neck[0].weight, generator=generator)
            nn.init.dirac_(model.neck[2].weight)
            noise = torch.empty_like(model.neck[2].weight).normal_(0, 0.005, generator=generator)
            model.neck[2].weight.add_(noise)
        for name, parameter in model.named_parameters():
            if name.endswith(("out_proj.weight", "lin2.weight")):
                parameter.mul_(0.2)
