"""Self-attention blocks and the two-way transformer (paper 3.2, Eq. 1-4).

The published layers normalise after each step. With `norm_first` they normalise before it, keep
every residual and give the image an MLP of its own; they learn in far fewer steps.
"""

from collections.abc import Callable

from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import Attention, Mlp, TokenToImageAttention

Context = Callable[[Tensor], Tensor]  # (B, T, X) -> (B, Tk, X), what each of B sequences may see


def _attention(config: ModelConfig, inner: int | None = None) -> Attention:
    """As wide as the model's cross-attentions and mixers, or `inner`."""
    inner = inner or config.embed_dim // config.attention_downsample
    return Attention(config.embed_dim, inner, config.n_heads)


def _reading_attention(config: ModelConfig) -> TokenToImageAttention:
    inner = config.embed_dim // config.attention_downsample
    return TokenToImageAttention(config.embed_dim, inner, config.n_heads)


class MixBlock(nn.Module):
    """Self-attention and an MLP, each with a residual; as published, with one norm for both."""

    def __init__(self, config: ModelConfig, inner: int | None = None) -> None:
        super().__init__()
        self.attn = _attention(config, inner)
        self.norm = nn.LayerNorm(config.embed_dim)
        self.mlp = Mlp(config.embed_dim, config.mlp_dim, nn.GELU())
        self.norm_mlp = nn.LayerNorm(config.embed_dim) if config.norm_first else None

    def forward(self, x: Tensor, allowed: Tensor | None, context: Context | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D). A sequence attends to itself, or to what `context` gives it."""
        if self.norm_mlp is None:
            x = self.norm(x + self._attend(x, allowed, context))
            return self.norm(x + self.mlp(x))
        x = x + self._attend(self.norm(x), allowed, context)
        return x + self.mlp(self.norm_mlp(x))

    def _attend(self, x: Tensor, allowed: Tensor | None, context: Context | None) -> Tensor:
        k, v = self.attn.k_proj(x), self.attn.v_proj(x)
        if context is not None:
            k, v = context(k), context(v)
        return self.attn.attend_projected(x, k, v, allowed)


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens (Eq. 1-2).

    Eq. 1 adds the position to keys and values; the official code, which we follow, to keys only.
    """

    def __init__(self, config: ModelConfig, is_first: bool) -> None:
        super().__init__()
        dim = config.embed_dim
        self.self_attn = _attention(config, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = _reading_attention(config)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_dim, nn.ReLU())
        self.norm3, self.norm4 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross_attn_image_to_token = _attention(config)
        self.norm_first, self.is_first = config.norm_first, is_first
        self.replaces = is_first and not config.first_residual  # as published
        if config.norm_first:
            self.norm5, self.norm6 = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.image_mlp = Mlp(dim, config.mlp_dim, nn.GELU())

    def forward(
        self, tokens: Tensor, image: Tensor, start: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), image (B, h*w, D) -> the same, updated.

        `start` are the tokens before the first layer; they serve as the tokens' position.
        """
        read, write = self.cross_attn_token_to_image, self.cross_attn_image_to_token.write
        if not self.norm_first:
            tokens = self.norm1(self._self_attention(tokens, tokens, start, valid))
            tokens = self.norm2(tokens + read(tokens + start, image, position))
            tokens = self.norm3(tokens + self.mlp(tokens))
            update = write(image, position, tokens + start, tokens, valid)
            return tokens, self.norm4(image + update)
        tokens = self._self_attention(tokens, self.norm1(tokens), start, valid)
        seen = self.norm4(image)
        tokens = tokens + read(self.norm2(tokens) + start, seen, position)
        tokens = tokens + self.mlp(self.norm3(tokens))
        x = self.norm5(tokens)
        image = image + write(seen, position, x + start, x, valid)
        return tokens, image + self.image_mlp(self.norm6(image))

    def _self_attention(
        self, tokens: Tensor, x: Tensor, start: Tensor, valid: Tensor | None
    ) -> Tensor:
        """`tokens` plus the self-attention of `x`; the first layer knows no position."""
        place = x if self.is_first else x + start
        allowed = None if valid is None else valid[:, None, None, :]
        update = self.self_attn(place, place, x, allowed)
        return update if self.replaces else tokens + update


class TwoWayTransformer(nn.Module):
    """Two two-way layers, then a last look of the tokens at the image.

    `forward` and `image_mean` take tokens (B, T, D) of which `valid` (B, T) count, or all, an image
    (B, h*w, D) and the position (h*w, D) of its cells.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.layers = nn.ModuleList([TwoWayLayer(config, True), TwoWayLayer(config, False)])
        self.final_attn_token_to_image = _reading_attention(config)
        self.norm_final_attn = nn.LayerNorm(dim)
        self.norm_image = nn.LayerNorm(dim) if config.norm_first else nn.Identity()

    def forward(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens and image, updated."""
        start = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, position, valid)
        image = self.norm_image(image)
        update = self.final_attn_token_to_image(tokens + start, image, position)
        return self.norm_final_attn(tokens + update), image

    def image_mean(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> Tensor:
        """The updated image averaged over its cells, (B, D); without the last look, of tokens only.

        A final norm comes after the mean: before it, each cell would weigh the same, however
        strongly it is prompted.
        """
        start = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, position, valid)
        return self.norm_image(image.mean(1))
