"""Label Anything: a batch of episodes to logits (paper 3.2, Fig. 1)."""

import math

import torch
from torch import Tensor, nn

from la.config import ModelConfig
from la.errors import UserError
from la.model.exact import ExactMaskDecoder, ExactPromptEncoder
from la.model.layers import LayerNorm2d
from la.model.mask_decoder import MaskDecoder
from la.model.position import FourierPosition
from la.model.prompt_encoder import PromptEncoder, TokenPool
from la.model.prototypes import Support
from la.model.start import agreeing
from la.types import Batch, ModelCard, Pixels


class LabelAnything(nn.Module):
    """The model: a function of only its weights and the batch.

    `forward` composes `query`, `support` and `decode`, which can be used alone: a support set is a
    value, and each further query that shares it costs `query` and `decode` only.
    `backbone` is None until a caller that has pixels sets it; checkpoints leave it out.
    """

    neck: nn.Sequential  # empty, as published, where backbone and model are equally wide
    prompt_encoder: PromptEncoder
    mask_decoder: MaskDecoder

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.config = config
        self.neck = nn.Sequential()
        if config.backbone_dim != dim:
            narrow = nn.Conv2d(config.backbone_dim, dim, 1, bias=False)
            smooth = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
            self.neck = nn.Sequential(
                narrow,
                LayerNorm2d(dim),
                smooth,
                LayerNorm2d(dim),
            )
        if config.mode == "exact":
            if config.background != "unprompted":
                raise UserError(
                    'mode="exact" is the published model: background must be "unprompted"'
                )
            self.prompt_encoder = ExactPromptEncoder(config)
            self.mask_decoder = ExactMaskDecoder(config)
        else:
            self.prompt_encoder = PromptEncoder(config)
            self.mask_decoder = MaskDecoder(config)
        self.backbone: nn.Module | None = None
        self.card: ModelCard | None = None  # which weights these are, if they were loaded

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        generator: torch.Generator,
        features: Tensor | None = None,
    ) -> "LabelAnything":
        """A model with fresh weights, drawn from `generator`; without a backbone.

        Args:
            features: (n, V, h, w) of training images; only `agreeing.agree` uses them.

        Raises:
            UserError: the configuration's parts do not fit together.
        """
        model = cls.empty(config)
        with torch.no_grad():
            for module in model.modules():
                _initialise(module, generator, config.token_pool_std)
        if config.start == "agreeing":
            agreeing.agree(model, config, generator, features)
        return model

    @classmethod
    def empty(cls, config: ModelConfig) -> "LabelAnything":
        """A model whose weights are not set, to be loaded next."""
        with torch.device("meta"):
            model = cls(config)
        return model.to_empty(device="cpu")

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, H/4, W/4) in the input frame; rows that are not `class_valid` are -inf."""
        query = self.query(batch)
        return self.decode(query, self.support(batch))

    def query(self, batch: Batch) -> Tensor:
        """Embeddings (B, D, h, w) of the query image of each episode."""
        return self.encode(batch, batch.source.query)

    def support(self, batch: Batch) -> Support:
        """The support set of each episode as prototypes."""
        images = self.encode(batch, batch.source.support)
        pairs = self.prompt_encoder.encode(
            images,
            batch.prompts,
            batch.support_episode,
            batch.token_rows,
        )
        return self.prompt_encoder.combine(pairs, batch.class_valid)

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
        if len(self.neck) > 0 and has_autocast:
            return self.neck(features)  # its first layer converts them from 16 bits to 16 bits
        dtype = self.prompt_encoder.no_mask_embed.weight.dtype
        return self.neck(features.to(dtype))

    def encode(self, batch: Batch, images: Tensor) -> Tensor:
        """Query or support images of the batch, which come as pixels or as features."""
        if not isinstance(batch.source, Pixels):
            return self.encode_features(images)
        if self.backbone is None:
            raise ValueError(
                "the model has no backbone to encode pixels with; set model.backbone = "
                "la.model.backbone.build_backbone(model.config), or give Features"
            )
        features = self.backbone(images)
        return self.encode_features(features)


def _initialise(
    module: nn.Module,
    generator: torch.Generator,
    token_pool_std: float,
) -> None:
    """Weights and buffers of one module in the usual distributions of torch's layers."""
    match module:
        case nn.Linear() | nn.Conv2d() | nn.ConvTranspose2d():
            fan_in = module.weight[0].numel()
            bound = 1 / math.sqrt(fan_in)
            for weight in module.parameters(recurse=False):
                weight.uniform_(-bound, bound, generator=generator)
        case nn.LayerNorm():
            module.weight.fill_(1)
            module.bias.zero_()
        case nn.Embedding():
            module.weight.normal_(generator=generator)
        case TokenPool():
            module.pos_embedding.normal_(0, token_pool_std, generator=generator)
        case FourierPosition():
            module.positional_encoding_gaussian_matrix.normal_(generator=generator)
        case MaskDecoder(logit_scale=nn.Parameter()):
            module.get_parameter("logit_scale").zero_()
        case _ if list(module.parameters(recurse=False)):
            raise TypeError(f"nothing initialises the weights of {type(module).__name__}")
