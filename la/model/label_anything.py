"""Label Anything: a batch of episodes to logits (paper 3.2, Fig. 1)."""

import math

import torch
from torch import Tensor, nn

from la.config import ModelConfig
from la.model import start
from la.model.exact import ExactMaskDecoder, ExactPromptEncoder
from la.model.layers import FourierPosition, LayerNorm2d
from la.model.mask_decoder import MaskDecoder
from la.model.prompt_encoder import PromptEncoder, TokenPool
from la.model.prototypes import Support
from la.types import Batch, ModelCard, Pixels


class LabelAnything(nn.Module):
    """The model: a function of weights and batch alone.

    `forward` composes `query`, `support` and `decode`, which can be used alone: a support set is a
    value, and each further query that shares it costs `query` and `decode` only.
    `backbone` is None until somebody who has pixels sets it; checkpoints leave it out.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        exact, dim = config.mode == "exact", config.embed_dim
        if exact and config.background != "unprompted":
            raise ValueError('mode="exact" is the published model: background must be "unprompted"')
        self.config = config
        self.neck = nn.Identity()  # as published where the widths are equal
        if config.backbone_dim != dim:
            narrow = nn.Conv2d(config.backbone_dim, dim, 1, bias=False)
            conv = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
            self.neck = nn.Sequential(narrow, LayerNorm2d(dim), conv, LayerNorm2d(dim))
        self.prompt_encoder = (ExactPromptEncoder if exact else PromptEncoder)(config)
        self.mask_decoder = (ExactMaskDecoder if exact else MaskDecoder)(config)
        self.backbone: nn.Module | None = None
        self.card: ModelCard | None = None  # which weights these are, if they were loaded

    @classmethod
    def from_config(
        cls, config: ModelConfig, generator: torch.Generator, features: Tensor | None = None
    ) -> "LabelAnything":
        """A model with fresh weights, drawn from `generator`; without a backbone.

        `features` (n, V, h, w) of training images are optional; only `start.agree` uses them.
        """
        model = cls.empty(config)
        with torch.no_grad():
            for module in model.modules():
                _initialise(module, generator)
        if config.start == "agreeing":
            start.agree(model, config, generator, features)
        return model

    @classmethod
    def empty(cls, config: ModelConfig) -> "LabelAnything":
        """A model whose weights are not set, for who loads them next."""
        with torch.device("meta"):
            model = cls(config)
        return model.to_empty(device="cpu")

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, H/4, W/4) in the input frame; rows that are not `class_valid` are -inf."""
        return self.decode(self.query(batch), self.support(batch))

    def query(self, batch: Batch) -> Tensor:
        """Embeddings (B, D, h, w) of the query image of each episode."""
        return self._encode(batch, batch.source.query)

    def support(self, batch: Batch) -> Support:
        """The support set of each episode as prototypes."""
        images, encoder = self._encode(batch, batch.source.support), self.prompt_encoder
        given = (batch.prompts, batch.support_episode, batch.token_rows)
        return encoder.combine(encoder.encode(images, *given), batch.class_valid)

    def decode(self, query: Tensor, support: Support) -> Tensor:
        """Query embeddings (B, D, h, w) -> logits (B, C, H/4, W/4).

        `support` holds B support sets, or one that all queries share.
        """
        n_queries = len(query)
        prototypes = support.prototypes.expand(n_queries, -1, -1)
        valid = support.class_valid.expand(n_queries, -1)
        position = self.prompt_encoder.pe_layer.grid(*query.shape[-2:])
        logits = self.mask_decoder(query, position, prototypes, valid)
        return logits.masked_fill(~valid[..., None, None], -torch.inf)

    def encode_features(self, features: Tensor) -> Tensor:
        """Backbone features (B, V, h, w) through the neck: embeddings (B, D, h, w)."""
        has_autocast = torch.is_autocast_enabled(features.device.type)
        if isinstance(self.neck, nn.Identity) or not has_autocast:
            return self.neck(features.to(self.prompt_encoder.no_mask_embed.weight.dtype))
        return self.neck(features)  # its first layer converts them from 16 bits to 16 bits

    def _encode(self, batch: Batch, images: Tensor) -> Tensor:
        """Query or support images of the batch, which come as pixels or as features."""
        if not isinstance(batch.source, Pixels):
            return self.encode_features(images)
        if self.backbone is None:
            raise ValueError(
                "the model has no backbone to encode pixels with; set model.backbone = "
                "la.model.backbone.build_backbone(model.config), or give Features"
            )
        return self.encode_features(self.backbone(images))


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights and buffers of one module in the usual distributions of torch's layers."""
    match module:
        case nn.Linear() | nn.Conv2d() | nn.ConvTranspose2d():
            bound = 1 / math.sqrt(module.weight[0].numel())
            for weight in module.parameters(recurse=False):
                weight.uniform_(-bound, bound, generator=generator)
        case nn.LayerNorm():
            module.weight.fill_(1)
            module.bias.zero_()
        case nn.Embedding():
            module.weight.normal_(generator=generator)
        case TokenPool():
            module.pos_embedding.normal_(0, 0.1, generator=generator)
        case FourierPosition():
            module.positional_encoding_gaussian_matrix.normal_(generator=generator)
        case MaskDecoder(logit_scale=nn.Parameter() as scale):
            scale.zero_()
        case _ if list(module.parameters(recurse=False)):
            raise TypeError(f"nothing initialises the weights of {type(module).__name__}")
