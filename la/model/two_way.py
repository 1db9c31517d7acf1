"""Self-attention blocks and the two-way transformer (paper 3.2, Eq. 1-4).

The published layers normalise after each step. The `PreNorm` ones normalise before it, keep every
residual and give the image an MLP of its own; they learn in far fewer steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from la.model.layers import Attention, Mlp

Context = Callable[[Tensor], Tensor]  # (B, T, X) -> (B, Tk, X), what each of B sequences may see


@dataclass(frozen=True)
class Sizes:
    """What the transformers of a model have in common."""

    dim: int  # D
    inner: int  # width of cross-attentions and mixers
    n_heads: int
    mlp_dim: int
    norm_first: bool
    first_residual: bool  # of the first self-attention

    def attention(self, inner: int | None = None) -> Attention:
        """An attention of these sizes."""
        return Attention(self.dim, inner or self.inner, self.n_heads)

    def mix_block(self, inner: int | None = None) -> "MixBlock":
        """A self-attention block of these sizes."""
        return (PreNormMixBlock if self.norm_first else MixBlock)(self, inner or self.inner)


class MixBlock(nn.Module):
    """Self-attention and an MLP, each with a residual; as published, with one norm for both."""

    def __init__(self, sizes: Sizes, inner: int) -> None:
        super().__init__()
        self.attn = sizes.attention(inner)
        self.norm = nn.LayerNorm(sizes.dim)
        self.mlp = Mlp(sizes.dim, sizes.mlp_dim, nn.GELU())

    def forward(self, x: Tensor, allowed: Tensor | None, context: Context | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D). A sequence attends to itself, or to what `context` gives it."""
        x = self.norm(x + self._attend(x, allowed, context))
        return self.norm(x + self.mlp(x))

    def _attend(self, x: Tensor, allowed: Tensor | None, context: Context | None) -> Tensor:
        k, v = self.attn.k_proj(x), self.attn.v_proj(x)
        if context is not None:
            k, v = context(k), context(v)
        return self.attn.attend_projected(x, k, v, allowed)


class PreNormMixBlock(MixBlock):
    """The same with the norm first, and one for each step."""

    def __init__(self, sizes: Sizes, inner: int) -> None:
        super().__init__(sizes, inner)
        self.norm_mlp = nn.LayerNorm(sizes.dim)

    def forward(self, x: Tensor, allowed: Tensor | None, context: Context | None = None) -> Tensor:
        x = x + self._attend(self.norm(x), allowed, context)
        return x + self.mlp(self.norm_mlp(x))


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, then the image to the tokens (Eq. 1-2).

    Eq. 1 adds the position to keys and values; the official code, which we follow, to keys only.
    """

    def __init__(self, sizes: Sizes, is_first: bool) -> None:
        super().__init__()
        self.self_attn = sizes.attention(sizes.dim)
        self.norm1 = nn.LayerNorm(sizes.dim)
        self.cross_attn_token_to_image = sizes.attention()
        self.norm2 = nn.LayerNorm(sizes.dim)
        self.mlp = Mlp(sizes.dim, sizes.mlp_dim, nn.ReLU())
        self.norm3 = nn.LayerNorm(sizes.dim)
        self.norm4 = nn.LayerNorm(sizes.dim)
        self.cross_attn_image_to_token = sizes.attention()
        self.is_first = is_first
        self.replaces = is_first and not sizes.first_residual

    def forward(
        self, tokens: Tensor, image: Tensor, start: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), image (B, h*w, D) -> the same, updated.

        `start` are the tokens before the first layer; they serve as the tokens' position.
        """
        reader, writer = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        tokens = self.norm1(self._self_attention(tokens, tokens, start, valid))
        tokens = self.norm2(tokens + reader.read(tokens + start, image, position))
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = writer.write(image, position, tokens + start, tokens, valid)
        return tokens, self.norm4(image + update)

    def _self_attention(
        self, tokens: Tensor, x: Tensor, start: Tensor, valid: Tensor | None
    ) -> Tensor:
        """`tokens` plus the self-attention of `x`; the first layer knows no position."""
        place = x if self.is_first else x + start
        allowed = None if valid is None else valid[:, None, None, :]
        update = self.self_attn(place, place, x, allowed)
        return update if self.replaces else tokens + update


class PreNormTwoWayLayer(TwoWayLayer):
    """The same with norms first, and an MLP on the image as well."""

    def __init__(self, sizes: Sizes, is_first: bool) -> None:
        super().__init__(sizes, is_first)
        self.norm5 = nn.LayerNorm(sizes.dim)
        self.norm6 = nn.LayerNorm(sizes.dim)
        self.image_mlp = Mlp(sizes.dim, sizes.mlp_dim, nn.GELU())

    def forward(
        self, tokens: Tensor, image: Tensor, start: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        reader, writer = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        tokens = self._self_attention(tokens, self.norm1(tokens), start, valid)
        seen = self.norm4(image)
        tokens = tokens + reader.read(self.norm2(tokens) + start, seen, position)
        tokens = tokens + self.mlp(self.norm3(tokens))
        x = self.norm5(tokens)
        image = image + writer.write(seen, position, x + start, x, valid)
        return tokens, image + self.image_mlp(self.norm6(image))


class TwoWayTransformer(nn.Module):
    """Two two-way layers, then a last look of the tokens at the image."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        layer = PreNormTwoWayLayer if sizes.norm_first else TwoWayLayer
        self.layers = nn.ModuleList([layer(sizes, is_first=True), layer(sizes, is_first=False)])
        self.final_attn_token_to_image = sizes.attention()
        self.norm_final_attn = nn.LayerNorm(sizes.dim)
        self.norm_image = nn.LayerNorm(sizes.dim) if sizes.norm_first else nn.Identity()

    def forward(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), image (B, h*w, D) -> the same, updated; `valid` (B, T), or None."""
        start = tokens
        tokens, image = self._layers(tokens, image, position, valid)
        image = self.norm_image(image)
        update = self.final_attn_token_to_image.read(tokens + start, image, position)
        return self.norm_final_attn(tokens + update), image

    def image_mean(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> Tensor:
        """The updated image averaged over its cells, (B, D).

        For this the last look, which changes only the tokens, is not computed. A final norm comes
        after the mean: before it, each cell would weigh the same, however strongly it is prompted.
        """
        _, image = self._layers(tokens, image, position, valid)
        return self.norm_image(image.mean(1))

    def _layers(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        start = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, position, valid)
        return tokens, image
