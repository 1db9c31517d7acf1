"""Prompts and support images to class-example embeddings and prototypes (paper 3.2, Eq. 1-4).

Only pairs of a support image and a class that carry a prompt are computed, and one unprompted pair
of each support image, whose embedding represents the background. They are stored flat, E of them,
with index vectors back to image and row, so cost grows with what was annotated. Padding, and
examples without any prompt, are masked wherever they could be attended to; where the published
weights need it otherwise, `la.model.exact` overrides a method.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import LayerNorm2d, submodule
from la.model.position import FourierPosition
from la.model.prototypes import Pairs, Support, class_means, mixed
from la.model.sparse_prompts import (
    NOTHING,
    PADDING,
    has_mask,
    kinds,
    places,
    with_unprompted,
)
from la.model.two_way import MixBlock, TwoWayTransformer
from la.types import Prompts


class TokenPool(nn.Module):
    """R learned vectors; each class of an episode draws one, so that classes differ."""

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
        dim = config.embed_dim
        channels = config.mask_channels
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
        self.no_mask_embed = nn.Embedding(1, dim)  # used only by `exact`
        self.sparse_embedding_attention = MixBlock(config, dim)
        self.class_encoder = TokenPool(config.token_pool, dim) if config.token_pool else None
        self.transformer = TwoWayTransformer(config)
        for mixer in config.mixers:
            block = MixBlock(config, dim // config.attention_downsample)
            self.add_module(f"{mixer}_attention", block)
        learned = config.background == "token"
        self.background_token = nn.Embedding(1, dim) if learned else None

    def encode(
        self,
        images: Tensor,
        prompts: Prompts,
        support_episode: Tensor,
        token_rows: Tensor,
    ) -> Pairs:
        """Embeddings (S, D, h, w) of support images and their prompts, as in `Batch`, -> pairs."""
        n_examples = len(prompts.example_row)
        n_supports, n_rows = len(support_episode), token_rows.shape[1]
        prompts = self.complete(prompts, n_supports, n_rows)
        support = prompts.example_support
        row = prompts.example_row
        episode = support_episode[support]
        present = self.present(prompts, n_examples)

        tokens, valid = self._sparse(prompts, present, n_supports, n_rows)
        class_token = None
        if self.class_encoder is not None:
            class_token = self.class_encoder(token_rows[episode, row])  # (E, D)
            tokens = tokens + class_token[:, None]
        image = self._dense(images, prompts, class_token)
        position = self.pe_layer.grid(*images.shape[-2:])
        embeddings = self.transformer.image_mean(tokens, image, position, valid)
        return Pairs(embeddings, support, episode, row, present)

    def combine(self, pairs: Pairs, class_valid: Tensor) -> Support:
        """Mix the pairs (Eq. 3-4) and average them by class; `class_valid` (B, C)."""
        sequence = pairs.embeddings[None]  # (1, E, D)
        for mixer in self.config.mixers:
            allowed = _all_if_none(mixed(mixer, pairs) & self.attended(pairs))
            block = self.get_submodule(f"{mixer}_attention")
            sequence = block(sequence, allowed)
        prototypes = class_means(sequence[0], pairs, *class_valid.shape)
        if self.background_token is not None:
            background = self.background_token.weight.expand(len(prototypes), 1, -1)
            background = background.to(prototypes.dtype)
            prototypes = torch.cat([background, prototypes[:, 1:]], dim=1)
        return Support(prototypes, class_valid, pairs)

    # The methods below are overridden in `la.model.exact`.

    def complete(
        self,
        prompts: Prompts,
        n_supports: int,
        n_rows: int,
    ) -> Prompts:
        """The prompts, and the pairs that have none but are needed: those of the background."""
        if self.background_token is not None:
            return prompts
        support = torch.arange(n_supports, device=prompts.points.device)
        return with_unprompted(prompts, support, torch.zeros_like(support))

    def present(self, prompts: Prompts, n_examples: int) -> Tensor:
        """(E,) bool: pairs that count, i.e. examples with some prompt, and the background's."""
        has_point = (prompts.point_labels != 0).any(1)
        has_box = prompts.boxes_valid.any(1)
        is_background = prompts.example_row == 0
        return has_mask(prompts) | has_point | has_box | is_background

    def attended(self, pairs: Pairs) -> Tensor:
        """(E,) bool: pairs that others attend to in the mixer."""
        return pairs.present

    def sparse_prompts(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Places (E, T, 2) and kinds (E, T): points, corners, a slot for "no sparse prompt"."""
        corners_valid = prompts.boxes_valid.repeat_interleave(2, dim=1)
        kind = kinds(prompts, corners_valid)
        has_none = (kind == PADDING).all(1, keepdim=True)
        nothing = torch.where(has_none, NOTHING, PADDING)
        kind = torch.cat([kind, nothing], 1)
        xy = F.pad(places(prompts), (0, 0, 0, 1))
        return xy, kind

    def kind_embeddings(self, prompts: Prompts) -> list[Tensor]:
        """The learned embedding (1, D) of each kind of sparse prompt, in order of kind."""
        modules = [*self.point_embeddings, self.not_a_point_embed, self.no_sparse_embedding]
        return [module.get_parameter("weight") for module in modules]

    def valid(self, kind: Tensor) -> Tensor | None:
        """(E, T) bool: tokens that are attended to; None for all."""
        return kind != PADDING

    def on_grid(
        self,
        x: Tensor,
        support: Tensor,
        row: Tensor,
        n_supports: int,
        n_rows: int,
    ) -> Tensor:
        """(E, T, X) in the places of their rows, (S, C, T, X); zeros where there is no pair."""
        empty = x.new_zeros(n_supports * n_rows, *x.shape[1:])
        filled = empty.index_copy(0, support * n_rows + row, x)
        return filled.unflatten(0, (n_supports, n_rows))

    def unmasked(self, prompts: Prompts) -> nn.Embedding:
        """The embedding that a pair without a mask gets in place of one."""
        return self.not_a_mask_embed

    def _sparse(
        self,
        prompts: Prompts,
        present: Tensor,
        n_supports: int,
        n_rows: int,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens (E, T, D) of points and boxes, and which of them are valid (E, T), None for all.

        Each has attended to all tokens of its support image, of which there are C*T.
        """
        xy, kind = self.sparse_prompts(prompts)
        support, row = prompts.example_support, prompts.example_row
        valid = self.valid(kind)

        def of_support_image(x: Tensor) -> Tensor:  # (E, T, X) -> (E, C*T, X)
            rows = self.on_grid(x, support, row, n_supports, n_rows)
            return rows.flatten(1, 2)[support]

        allowed = None
        if valid is not None:
            counts = (valid & present[:, None])[..., None]
            allowed = _all_if_none(of_support_image(counts).transpose(1, 2))
            allowed = allowed[:, None]  # (E, 1, 1, C*T)
        what = torch.cat(self.kind_embeddings(prompts))[kind]  # (E, T, D)
        where = self.pe_layer((xy + 0.5) / self.config.image_size)
        has_place = (kind < PADDING)[..., None]
        tokens = what + where * has_place
        return self.sparse_embedding_attention(tokens, allowed, of_support_image), valid

    def _dense(
        self,
        images: Tensor,
        prompts: Prompts,
        class_token: Tensor | None,
    ) -> Tensor:
        """The support image of each pair with its mask and token added, (E, h*w, D)."""
        masked = has_mask(prompts)[:, None]
        added = torch.where(masked, 0, self.unmasked(prompts).weight)
        if class_token is not None:
            added = added + class_token
        cells = images.flatten(2).transpose(1, 2)  # (S, h*w, D)
        image = cells[prompts.example_support]
        image = image + added[:, None].to(image.dtype)
        if len(prompts.masks) == 0:
            return image
        height, width = images.shape[-2:]
        masks = self._embed_masks(prompts.masks, height, width)
        return image.index_add_(0, prompts.mask_example, masks.to(image.dtype))

    def _embed_masks(
        self,
        masks: Tensor,
        height: int,
        width: int,
    ) -> Tensor:
        """(M, Hm, Wm) -> (M, h*w, D). The last layer is linear, so it can come after the resize."""
        last = submodule(self.mask_downscaling, "6", nn.Conv2d)
        masks = masks[:, None].to(last.weight.dtype)
        x = self.mask_downscaling[:-1](masks)
        if x.shape[-2:] != (height, width):
            x = F.interpolate(
                x,
                (height, width),
                mode="bilinear",
                align_corners=False,
            )
        cells = x.flatten(2).transpose(1, 2)
        return F.linear(cells, last.weight.flatten(1), last.bias)


def _all_if_none(allowed: Tensor) -> Tensor:
    """A row with no allowed key attends to every key, so that the softmax stays finite.

    Its output is discarded.
    """
    return allowed | ~allowed.any(-1, keepdim=True)
