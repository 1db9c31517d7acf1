"""Self-attention blocks and the two-way transformer (paper 3.2, Eq. 1-4).

The published layers normalise after each step. With `norm_first` they normalise before it, keep
every residual and give the image an MLP of its own; they learn in far fewer steps.
"""

from collections.abc import Callable

from torch import Tensor, nn

from la.config import ModelConfig
from la.model.layers import Attention, Mlp, TokenToImageAttention

Context = Callable[[Tensor], Tensor]  # (B, T, X) -> (B, Tk, X), what each sequence attends to


class MixBlock(nn.Module):
    """Self-attention and an MLP, each with a residual; as published, with one norm for both."""

    def __init__(self, config: ModelConfig, inner: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.attn = Attention(dim, inner, config.n_heads)
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_dim, nn.GELU())
        self.norm_mlp = nn.LayerNorm(dim) if config.norm_first else None

    def forward(
        self,
        x: Tensor,
        allowed: Tensor | None,
        context: Context | None = None,
    ) -> Tensor:
        """(B, T, D) -> (B, T, D). A sequence attends to itself, or to what `context` gives it."""
        if self.norm_mlp is None:
            x = self.norm(x + self._attend(x, allowed, context))
            return self.norm(x + self.mlp(x))
        x = x + self._attend(self.norm(x), allowed, context)
        return x + self.mlp(self.norm_mlp(x))

    def _attend(
        self,
        x: Tensor,
        allowed: Tensor | None,
        context: Context | None,
    ) -> Tensor:
        keys = self.attn.k_proj(x)
        values = self.attn.v_proj(x)
        if context is not None:
            keys = context(keys)
            values = context(values)
        return self.attn.attend_projected(x, keys, values, allowed)


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens (Eq. 1-2).

    Eq. 1 adds the position to keys and values; the official code, which we follow, to keys only.
    """

    def __init__(self, config: ModelConfig, is_first: bool) -> None:
        super().__init__()
        dim = config.embed_dim
        inner = dim // config.attention_downsample
        self.self_attn = Attention(dim, dim, config.n_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = TokenToImageAttention(dim, inner, config.n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_dim, nn.ReLU())
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, inner, config.n_heads)
        self.norm_first = config.norm_first
        self.is_first = is_first
        self.has_residual = config.first_residual or not is_first  # around the self-attention
        if config.norm_first:
            self.norm5 = nn.LayerNorm(dim)
            self.norm6 = nn.LayerNorm(dim)
            self.image_mlp = Mlp(dim, config.mlp_dim, nn.GELU())

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        start: Tensor,
        position: Tensor,
        valid: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), image (B, h*w, D) -> the same, updated.

        Args:
            start: the tokens before the first layer, which are the tokens' position.
            position: (h*w, D) of the image's cells.
            valid: (B, T), which of the tokens count; None for all.
        """
        read = self.cross_attn_token_to_image
        write = self.cross_attn_image_to_token.write
        if not self.norm_first:
            tokens = self.norm1(self._self_attention(tokens, tokens, start, valid))
            tokens = self.norm2(tokens + read(tokens + start, image, position))  # Eq. 1
            tokens = self.norm3(tokens + self.mlp(tokens))
            update = write(image, position, tokens + start, tokens, valid)  # Eq. 2
            return tokens, self.norm4(image + update)
        tokens = self._self_attention(tokens, self.norm1(tokens), start, valid)
        normed_image = self.norm4(image)
        tokens = tokens + read(self.norm2(tokens) + start, normed_image, position)  # Eq. 1
        tokens = tokens + self.mlp(self.norm3(tokens))
        normed = self.norm5(tokens)
        update = write(
            normed_image,
            position,
            normed + start,
            normed,
            valid,
        )  # Eq. 2
        image = image + update
        return tokens, image + self.image_mlp(self.norm6(image))

    def _self_attention(
        self,
        tokens: Tensor,
        x: Tensor,
        start: Tensor,
        valid: Tensor | None,
    ) -> Tensor:
        """`tokens` plus the self-attention of `x`; the first layer adds no position."""
        placed = x if self.is_first else x + start
        allowed = None if valid is None else valid[:, None, None, :]
        update = self.self_attn(placed, placed, x, allowed)
        return tokens + update if self.has_residual else update


class TwoWayTransformer(nn.Module):
    """Two two-way layers, then a final token-to-image attention.

    `forward` and `image_mean` take tokens (B, T, D) of which `valid` (B, T) count, or all, an image
    (B, h*w, D) and the position (h*w, D) of its cells.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        inner = dim // config.attention_downsample
        first = TwoWayLayer(config, is_first=True)
        self.layers = nn.ModuleList([first, TwoWayLayer(config, is_first=False)])
        self.final_attn_token_to_image = TokenToImageAttention(dim, inner, config.n_heads)
        self.norm_final_attn = nn.LayerNorm(dim)
        self.norm_image = nn.LayerNorm(dim) if config.norm_first else nn.Identity()

    def forward(
        self,
        tokens: Tensor,
        image: Tensor,
        position: Tensor,
        valid: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens and image, updated."""
        start = tokens
        tokens, image = self._two_way(tokens, image, position, valid)
        image = self.norm_image(image)
        update = self.final_attn_token_to_image(tokens + start, image, position)
        return self.norm_final_attn(tokens + update), image

    def image_mean(
        self,
        tokens: Tensor,
        image: Tensor,
        position: Tensor,
        valid: Tensor | None,
    ) -> Tensor:
        """The updated image averaged over its cells, (B, D); the final attention is not needed.

        A final norm comes after the mean: before it, each cell would weigh the same, however
        strongly it is prompted.
        """
        _, image = self._two_way(tokens, image, position, valid)
        return self.norm_image(image.mean(1))

    def _two_way(
        self,
        tokens: Tensor,
        image: Tensor,
        position: Tensor,
        valid: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        start = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, position, valid)
        return tokens, image
