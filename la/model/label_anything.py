"""Label Anything: a batch of episodes to logits (paper 3.2, Fig. 1)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from la.config import ModelConfig
from la.model import plus
from la.model.exact import ExactMaskDecoder, ExactPromptEncoder
from la.model.initialise import initialise
from la.model.layers import LayerNorm2d
from la.model.mask_decoder import MaskDecoder
from la.model.prompt_encoder import Encoded, PromptEncoder
from la.model.prototypes import Support
from la.model.two_way import Sizes
from la.types import Batch, ModelCard, Pixels


class LabelAnything(nn.Module):
    """The model: a function of weights and batch alone.

    `forward` composes `encode_*`, `support` and `decode`, which can be used alone: a support set is
    a value, and each further query that shares it costs `decode` only.
    `backbone` is None until somebody who has pixels sets it; checkpoints leave it out.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        exact = config.mode == "exact"
        if exact and config.background != "unprompted":
            raise ValueError('mode="exact" is the published model: background must be "unprompted"')
        self.config = config
        self.neck = _neck(config.backbone_dim, config.embed_dim)
        sizes = Sizes(
            dim=config.embed_dim,
            inner=config.embed_dim // config.attention_downsample,
            n_heads=config.n_heads,
            mlp_dim=config.mlp_dim,
            norm_first=config.norm_first,
            first_residual=config.first_residual,
        )
        self.prompt_encoder = (ExactPromptEncoder if exact else PromptEncoder)(
            sizes,
            image_size=config.image_size,
            mask_channels=config.mask_channels,
            mixers=config.mixers,
            token_pool=config.token_pool,
            background_token=config.background == "token",
            raster=plus.Raster(config.image_size, config.mask_size, sparse=config.raster),
            highlight=config.highlight,
            residual=config.residual,
        )
        self.mask_decoder = (ExactMaskDecoder if exact else MaskDecoder)(
            sizes,
            logit_dim=config.embed_dim // config.logit_downsample,
            upscale=config.patch_size // 4,
            spatial_convs=config.spatial_convs,
            aligned=config.aligned_init,
        )
        self.residual = plus.SimilarityResidual() if config.residual else None
        self.backbone: nn.Module | None = None
        self.card: ModelCard | None = None  # which weights these are, if they were loaded

    @classmethod
    def from_config(cls, config: ModelConfig, generator: torch.Generator) -> "LabelAnything":
        """A model with fresh weights, drawn from `generator` alone; without a backbone."""
        model = cls.empty(config)
        initialise(model, generator)
        if config.aligned_init:
            plus.align(model, generator)
        return model

    @classmethod
    def empty(cls, config: ModelConfig) -> "LabelAnything":
        """A model whose weights are not set, for who loads them next."""
        with torch.device("meta"):
            model = cls(config)
        return model.to_empty(device="cpu")

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, H/4, W/4) in the input frame; rows that are not `class_valid` are -inf."""
        return self.decode(self._encoder(batch)(batch.source.query), self.support(batch))

    def support(self, batch: Batch) -> Support:
        """The support set of each episode as prototypes."""
        return self.prompt_encoder(
            self._encoder(batch)(batch.source.support),
            batch.prompts,
            batch.support_episode,
            batch.token_rows,
            batch.class_valid,
        )

    def decode(self, query: Encoded, support: Support) -> Tensor:
        """Logits (B, C, H/4, W/4) of B queries, for B supports or for one that they share."""
        n_queries = len(query.embeddings)
        prototypes = support.prototypes.expand(n_queries, -1, -1)
        valid = support.class_valid.expand(n_queries, -1)
        position = self.prompt_encoder.pe_layer.grid(*query.embeddings.shape[-2:])
        logits = self.mask_decoder(query.embeddings, position, prototypes, valid)
        if self.residual is not None:
            features = support.features.expand(n_queries, -1, -1)
            logits = self.residual(logits, query.features, features)
        return logits.masked_fill(~valid[..., None, None], -torch.inf)

    def encode_images(self, images: Tensor) -> Encoded:
        """Normalised input images (B, 3, H, W) through backbone and neck.

        Raises:
            ValueError: the model has no backbone.
        """
        if self.backbone is None:
            raise ValueError(
                "the model has no backbone to encode pixels with; set model.backbone = "
                "la.model.backbone.build_backbone(model.config), or give Features"
            )
        return self.encode_features(self.backbone(images))

    def encode_features(self, features: Tensor) -> Encoded:
        """Backbone features (B, V, h, w) through the neck."""
        return Encoded(features, self.neck(features.to(self._dtype)))

    def _encoder(self, batch: Batch) -> Callable[[Tensor], Encoded]:
        return self.encode_images if isinstance(batch.source, Pixels) else self.encode_features

    @property
    def _dtype(self) -> torch.dtype:
        return self.prompt_encoder.no_mask_embed.weight.dtype


def _neck(backbone_dim: int, dim: int) -> nn.Module:
    """Brings the backbone's width to D; the published model has none where they are equal."""
    if backbone_dim == dim:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(backbone_dim, dim, 1, bias=False),
        LayerNorm2d(dim),
        nn.Conv2d(dim, dim, 3, padding=1, bias=False),
        LayerNorm2d(dim),
    )
