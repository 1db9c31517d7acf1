"""What LA+ adds to the paper's model; each part is an option that can be switched alone.

  highlight     support features weighted by where the prompt is: pooling starts at the object
  raster        boxes and points become soft maps and highlight too
  aligned_init  linear paths beside upscaling and class MLP that start as one projection
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
            at = (torch.arange(side, device=maps.device) + 0.5) * self.image_size / side  # centres
            for drawn in (self._points(prompts, at), self._boxes(prompts, at)):
                maps = torch.maximum(maps, F.pad(drawn, (0, 0, 0, 0, 0, 1)).amax(1))
        masks = prompts.masks.to(maps.dtype)
        if masks.shape[-1] != side:
            masks = F.adaptive_avg_pool2d(masks[:, None], side)[:, 0]
        masks = torch.zeros_like(maps).index_copy(0, prompts.mask_example, masks)
        return F.adaptive_avg_pool2d(torch.maximum(maps, masks)[:, None], size)[:, 0]

    def _points(self, prompts: Prompts, at: Tensor) -> Tensor:
        """(E, P, side, side): a Gaussian around each positive point; the others draw nothing."""
        offset = at - (prompts.points + 0.5)[..., None]  # (E, P, 2, side)
        drawn = _bump(offset / (POINT_SIGMA * self.image_size))
        return drawn * (prompts.point_labels > 0)[..., None, None]

    def _boxes(self, prompts: Prompts, at: Tensor) -> Tensor:
        """(E, Q, side, side): a Gaussian that follows the sides of each box."""
        low, high = prompts.boxes.unflatten(2, (2, 2)).unbind(2)  # (E, Q, 2)
        half = ((high - low) / 2).clamp(min=1)
        offset = (at - ((low + high) / 2)[..., None]) / half[..., None]  # (E, Q, 2, side)
        x, y = (offset.abs() < BOX_REACH).unbind(2)
        inside = x[..., None, :] & y[..., None] & prompts.boxes_valid[..., None, None]
        return _bump(offset / BOX_SIGMA) * inside


def _bump(offset: Tensor) -> Tensor:
    """(..., 2, side) offsets along x and y -> (..., side, side), exp(-(u^2 + v^2) / 2)."""
    u, v = torch.exp(-(offset**2) / 2).unbind(-2)
    return u[..., None, :] * v[..., None]


def coverage(raster: Raster, prompts: Prompts, features: Tensor) -> Tensor:
    """(E, h*w): how much of each cell is prompted; 1 everywhere where nothing draws."""
    drawn = raster(prompts, tuple(features.shape[-2:])).flatten(1)
    return torch.where((drawn > 0).any(1, keepdim=True), drawn, 1)


def mean_under(weight: Tensor, features: Tensor, support: Tensor) -> Tensor:
    """Mean (E, V) of features (S, V, h, w) under weight (E, h*w), in the images `support` (E,)."""
    share = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.einsum("ex,evx->ev", share, features.flatten(2)[support].to(share.dtype))


class SimilarityResidual(nn.Module):
    """s * cos(query, prototype) + g * logits; the background's cosine is a learned threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.empty(()))
        self.threshold = nn.Parameter(torch.empty(()))
        self.gain = nn.Parameter(torch.empty(()))

    def forward(self, logits: Tensor, features: Tensor, prototypes: Tensor) -> Tensor:
        """(B, C, H, W), query features (B, V, h, w), their prototypes (B, C, V) -> (B, C, H, W)."""
        features = F.normalize(features.float(), dim=1)
        prototypes = F.normalize(prototypes[:, 1:].float(), dim=-1)
        cosine = torch.einsum("bcv,bvhw->bchw", prototypes, features)
        cosine = F.interpolate(cosine, logits.shape[-2:], mode="bilinear", align_corners=False)
        background = self.threshold.expand_as(logits[:, :1])
        similarity = torch.cat([background.to(cosine.dtype), cosine], dim=1)
        return self.log_scale.exp() * similarity + self.gain * logits


def align(model: nn.Module, generator: torch.Generator) -> None:
    """Start query and prototypes in one common space: the dot product begins as a similarity."""
    decoder, neck = model.mask_decoder, model.neck
    shared = torch.empty(decoder.image_skip.in_features, decoder.image_skip.in_features)
    nn.init.orthogonal_(shared, generator=generator)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out_proj.weight", "lin2.weight")):
                parameter.mul_(0.2)
        for skip in (decoder.image_skip, decoder.class_skip):
            skip.weight.copy_(shared[: skip.out_features])
        if isinstance(neck, nn.Sequential):
            nn.init.orthogonal_(neck[0].weight, generator=generator)
            noise = torch.empty_like(neck[2].weight).normal_(0, 0.005, generator=generator)
            nn.init.dirac_(neck[2].weight).add_(noise)
