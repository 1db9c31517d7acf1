"""Prompts and support images to class-example embeddings and prototypes (paper 3.2, Eq. 1-4).

Only pairs of a support image and a class that carry a prompt are computed, and one unprompted pair
of each support image, whose embedding speaks for the background. They lie flat, E of them, with
index vectors back to image and row, so cost grows with what was annotated. What pads, and examples
without any prompt, are masked wherever they could be seen; where the published weights want it
otherwise, `la.model.exact` overrides a method.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import FourierPosition, LayerNorm2d
from la.model.prototypes import Pairs, Support, class_means, mixed
from la.model.two_way import MixBlock, TwoWayTransformer
from la.types import Prompts

NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT, PADDING, NOTHING = range(6)  # kinds of sparse prompt


class TokenPool(nn.Module):
    """R learned vectors; each class of an episode draws one, which tells it from the others."""

    def __init__(self, n_rows: int, dim: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.empty(1, 1, n_rows, dim))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of the pool (...,) -> (..., D)."""
        return self.pos_embedding[0, 0][rows]


class PromptEncoder(nn.Module):
    """`encode` makes pairs, `combine` prototypes."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, channels = config.embed_dim, config.mask_channels
        self.config = config
        self.pe_layer = FourierPosition(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.no_sparse_embedding = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, channels // 4, 2, stride=2),
            LayerNorm2d(channels // 4),
            nn.GELU(),
            nn.Conv2d(channels // 4, channels, 2, stride=2),
            LayerNorm2d(channels),
            nn.GELU(),
            nn.Conv2d(channels, dim, 1),
        )
        self.not_a_mask_embed = nn.Embedding(1, dim)
        self.no_mask_embed = nn.Embedding(1, dim)  # used by `exact` alone
        self.sparse_embedding_attention = MixBlock(config, dim)
        self.class_encoder = TokenPool(config.token_pool, dim) if config.token_pool else None
        self.transformer = TwoWayTransformer(config)
        for mixer in config.mixers:
            self.add_module(f"{mixer}_attention", MixBlock(config))
        learned = config.background == "token"
        self.background_token = nn.Embedding(1, dim) if learned else None

    def encode(
        self, images: Tensor, prompts: Prompts, support_episode: Tensor, token_rows: Tensor
    ) -> Pairs:
        """Embeddings (S, D, h, w) of support images and their prompts, as in `Batch`, -> pairs."""
        n_examples, grid = len(prompts.example_row), (len(support_episode), token_rows.shape[1])
        prompts = self.complete(prompts, *grid)
        support, row = prompts.example_support, prompts.example_row
        episode, present = support_episode[support], self.present(prompts, n_examples)
        token = self.class_encoder(token_rows[episode, row]) if self.class_encoder else None

        tokens, valid = self._sparse(prompts, present, grid)
        if token is not None:
            tokens = tokens + token[:, None]
        image = self._dense(images, prompts, token)
        position = self.pe_layer.grid(*images.shape[-2:])
        embeddings = self.transformer.image_mean(tokens, image, position, valid)
        return Pairs(embeddings, support, episode, row, present)

    def combine(self, pairs: Pairs, class_valid: Tensor) -> Support:
        """Mix the pairs (Eq. 3-4) and average them by class; `class_valid` (B, C)."""
        x = pairs.embeddings[None]  # (1, E, D)
        for mixer in self.config.mixers:
            allowed = _or_all(mixed(mixer, pairs) & self.attended(pairs))
            x = self.get_submodule(f"{mixer}_attention")(x, allowed)
        prototypes = class_means(x[0], pairs, *class_valid.shape)
        if self.background_token is not None:
            background = self.background_token.weight.expand(len(prototypes), 1, -1)
            prototypes = torch.cat([background.to(prototypes.dtype), prototypes[:, 1:]], dim=1)
        return Support(prototypes, class_valid, pairs)

    # What `la.model.exact` does otherwise.

    def complete(self, prompts: Prompts, n_supports: int, n_rows: int) -> Prompts:
        """The prompts, and the pairs that have none but are needed: those of the background."""
        if self.background_token is not None:
            return prompts
        support = torch.arange(n_supports, device=prompts.points.device)
        return with_unprompted(prompts, support, torch.zeros_like(support))

    def present(self, prompts: Prompts, n_examples: int) -> Tensor:
        """(E,) bool: pairs that count, i.e. examples with some prompt, and the background's."""
        prompted = (prompts.point_labels != 0).any(1) | prompts.boxes_valid.any(1)
        return _has_mask(prompts) | prompted | (prompts.example_row == 0)

    def attended(self, pairs: Pairs) -> Tensor:
        """(E,) bool: pairs that others see in the mixer."""
        return pairs.present

    def sparse_prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Places (E, T, 2) and kinds (E, T): points, corners, a slot for "no sparse prompt"."""
        kind = kinds(prompts, prompts.boxes_valid.repeat_interleave(2, dim=1))
        nothing = torch.where((kind == PADDING).all(1, keepdim=True), NOTHING, PADDING)
        return F.pad(places(prompts), (0, 0, 0, 1)), torch.cat([kind, nothing], 1)

    def kind_embeddings(self, prompts: Prompts) -> list[Tensor]:
        """The learned embedding (1, D) of each kind of sparse prompt, in order of kind."""
        modules = [*self.point_embeddings, self.not_a_point_embed, self.no_sparse_embedding]
        return [module.weight for module in modules]

    def valid(self, kind: Tensor) -> Tensor | None:
        """(E, T) bool: tokens that are seen; None for all."""
        return kind != PADDING

    def on_grid(self, x: Tensor, support: Tensor, row: Tensor, grid: tuple[int, int]) -> Tensor:
        """(E, T, X) in the places of their rows, (S, C, T, X); zeros where there is no pair."""
        n_supports, n_rows = grid
        empty = x.new_zeros(n_supports * n_rows, *x.shape[1:])
        return empty.index_copy(0, support * n_rows + row, x).unflatten(0, grid)

    def unmasked(self, prompts: Prompts) -> nn.Embedding:
        """What stands for the mask of a pair that has none."""
        return self.not_a_mask_embed

    def _sparse(
        self, prompts: Prompts, present: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (E, T, D) of points and boxes, and which of them are valid (E, T), None for all.

        They have attended to all tokens of their support image, which lie on a grid (S, C, T).
        """
        xy, kind = self.sparse_prompts(prompts)
        support, row = prompts.example_support, prompts.example_row
        valid = self.valid(kind)

        def of_support_image(x: Tensor) -> Tensor:  # (E, T, X) -> (E, C*T, X)
            return self.on_grid(x, support, row, grid).flatten(1, 2)[support]

        allowed = None
        if valid is not None:
            seen = of_support_image((valid & present[:, None])[..., None])
            allowed = _or_all(seen.transpose(1, 2))[:, None]  # (E, 1, 1, C*T)
        what = torch.cat(self.kind_embeddings(prompts))[kind]  # (E, T, D)
        where = self.pe_layer((xy + 0.5) / self.config.image_size)
        tokens = what + where * (kind < PADDING)[..., None]  # padding and "nothing" are nowhere
        return self.sparse_embedding_attention(tokens, allowed, of_support_image), valid

    def _dense(self, images: Tensor, prompts: Prompts, token: Tensor | None) -> Tensor:
        """The support image of each pair with its mask and token added, (E, h*w, D)."""
        added = torch.where(_has_mask(prompts)[:, None], 0, self.unmasked(prompts).weight)
        added = added if token is None else added + token
        image = images.flatten(2).transpose(1, 2)[prompts.example_support]
        image = image + added[:, None].to(image.dtype)
        if len(prompts.masks) == 0:
            return image
        masks = self._embed_masks(prompts.masks, images.shape[-2:])
        return image.index_add_(0, prompts.mask_example, masks.to(image.dtype))

    def _embed_masks(self, masks: Tensor, size: tuple[int, int]) -> Tensor:
        """(M, Hm, Wm) -> (M, h*w, D). The last layer is linear, so it can come after the resize."""
        last = self.mask_downscaling[-1]
        x = self.mask_downscaling[:-1](masks[:, None].to(last.weight.dtype))
        if x.shape[-2:] != size:
            x = F.interpolate(x, size, mode="bilinear", align_corners=False)
        return F.linear(x.flatten(2).transpose(1, 2), last.weight.flatten(1), last.bias)


def kinds(prompts: Prompts, corners_valid: Tensor) -> Tensor:
    """(E, P + 2Q): of points, and of box corners, which alternate top-left, bottom-right."""
    labels = prompts.point_labels
    signs = torch.where(labels == 0, PADDING, torch.where(labels > 0, POSITIVE, NEGATIVE))
    corners = torch.arange(corners_valid.shape[1], device=labels.device) % 2 + TOP_LEFT
    return torch.cat([signs, torch.where(corners_valid, corners, PADDING)], 1)


def places(prompts: Prompts) -> Tensor:
    """(E, P + 2Q, 2): the points, then the corners of the boxes."""
    return torch.cat([prompts.points, prompts.boxes.unflatten(2, (2, 2)).flatten(1, 2)], dim=1)


def with_unprompted(prompts: Prompts, support: Tensor, row: Tensor) -> Prompts:
    """`prompts` and, after them, one pair without any prompt for each (support, row)."""
    blank = {
        name: F.pad(getattr(prompts, name), (0, 0) * trailing + (0, len(support)))
        for name, trailing in (("points", 2), ("point_labels", 1), ("boxes", 2), ("boxes_valid", 1))
    }
    support = torch.cat([prompts.example_support, support])
    row = torch.cat([prompts.example_row, row])
    return replace(prompts, **blank, example_support=support, example_row=row)


def _has_mask(prompts: Prompts) -> Tensor:
    masked = torch.zeros_like(prompts.example_row, dtype=torch.bool)
    return masked.index_fill(0, prompts.mask_example, True)  # (E,)


def _or_all(allowed: Tensor) -> Tensor:
    """Who may see no key sees all: the result is not used, but must be finite."""
    return allowed | ~allowed.any(-1, keepdim=True)
