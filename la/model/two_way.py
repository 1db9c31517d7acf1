"""Self-attention blocks and the two-way transformer (paper 3.2, Eq. 1-2 and 3-4).

The published layers normalise after each step. The `PreNorm` ones normalise before it, keep a residual
everywhere and give the image an MLP of its own; they learn in far fewer steps.
"""

from collections.abc import Callable

from torch import Tensor, nn

from la.model.layers import Attention, Mlp


class MixBlock(nn.Module):
    """Self-attention and an MLP, each with a residual; the official block has one norm for both."""

    def __init__(self, dim: int, inner: int, n_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.attn = Attention(dim, inner, n_heads)
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_dim, nn.GELU())

    def forward(
        self, x: Tensor, allowed: Tensor | None, context: "Context | None" = None
    ) -> Tensor:
        """(B, T, D) -> (B, T, D). `context` maps what B sequences offer to what each of them may see."""
        x = self.norm(x + self._attend(x, allowed, context))
        return self.norm(x + self.mlp(x))

    def _attend(self, x: Tensor, allowed: Tensor | None, context: "Context | None") -> Tensor:
        k, v = self.attn.k_proj(x), self.attn.v_proj(x)
        if context is not None:
            k, v = context(k), context(v)
        return self.attn.attend_projected(x, k, v, allowed)


class PreNormMixBlock(MixBlock):
    """The same with the norm first, and one for each step."""

    def __init__(self, dim: int, inner: int, n_heads: int, mlp_dim: int) -> None:
        super().__init__(dim, inner, n_heads, mlp_dim)
        self.norm_mlp = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, allowed: Tensor | None, context: "Context | None" = None
    ) -> Tensor:
        x = x + self._attend(self.norm(x), allowed, context)
        return x + self.mlp(self.norm_mlp(x))


Context = Callable[[Tensor], Tensor]  # (B, T, inner) -> (B, Tk, inner)


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, then the image attends to the tokens (Eq. 1-2).

    Eq. 1 adds the position to keys and values; the official code, which we follow, to keys only.
    """

    def __init__(
        self,
        dim: int,
        inner: int,
        n_heads: int,
        mlp_dim: int,
        *,
        is_first: bool,
        first_residual: bool,
    ) -> None:
        super().__init__()
        self.self_attn = Attention(dim, dim, n_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, inner, n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_dim, nn.ReLU())
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, inner, n_heads)
        self.is_first = is_first
        self.replaces = is_first and not first_residual

    def forward(
        self, tokens: Tensor, image: Tensor, start: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), image (B, h*w, D) -> the same, updated.

        `start` are the tokens before the first layer; they serve as the tokens' position.
        """
        tokens = self.norm1(self._self_attention(tokens, tokens, start, valid))
        tokens = tokens + self.cross_attn_token_to_image.read(tokens + start, image, position)
        tokens = self.norm2(tokens)
        tokens = self.norm3(tokens + self.mlp(tokens))
        update = self.cross_attn_image_to_token.write(
            image, position, tokens + start, tokens, valid
        )
        return tokens, self.norm4(image + update)

    def _self_attention(
        self, tokens: Tensor, x: Tensor, start: Tensor, valid: Tensor | None
    ) -> Tensor:
        """`tokens` plus the self-attention of `x`; without position in the first layer."""
        place = x if self.is_first else x + start
        allowed = None if valid is None else valid[:, None, None, :]
        update = self.self_attn(place, place, x, allowed)
        return update if self.replaces else tokens + update


class PreNormTwoWayLayer(TwoWayLayer):
    """The same with norms first, and an MLP on the image as well."""

    def __init__(
        self,
        dim: int,
        inner: int,
        n_heads: int,
        mlp_dim: int,
        *,
        is_first: bool,
        first_residual: bool,
    ) -> None:
        super().__init__(
            dim, inner, n_heads, mlp_dim, is_first=is_first, first_residual=first_residual
        )
        self.norm5 = nn.LayerNorm(dim)
        self.norm6 = nn.LayerNorm(dim)
        self.image_mlp = Mlp(dim, mlp_dim, nn.GELU())

    def forward(
        self, tokens: Tensor, image: Tensor, start: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        tokens = self._self_attention(tokens, self.norm1(tokens), start, valid)
        seen = self.norm4(image)
        reader, writer = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        tokens = tokens + reader.read(self.norm2(tokens) + start, seen, position)
        tokens = tokens + self.mlp(self.norm3(tokens))
        x = self.norm5(tokens)
        image = image + writer.write(seen, position, x + start, x, valid)
        return tokens, image + self.image_mlp(self.norm6(image))


class TwoWayTransformer(nn.Module):
    """Two two-way layers, then a last look of the tokens at the image."""

    def __init__(
        self,
        dim: int,
        inner: int,
        n_heads: int,
        mlp_dim: int,
        *,
        norm_first: bool,
        first_residual: bool,
    ) -> None:
        super().__init__()
        layer = PreNormTwoWayLayer if norm_first else TwoWayLayer
        self.layers = nn.ModuleList(
            layer(dim, inner, n_heads, mlp_dim, is_first=i == 0, first_residual=first_residual)
            for i in range(2)
        )
        self.final_attn_token_to_image = Attention(dim, inner, n_heads)
        self.norm_final_attn = nn.LayerNorm(dim)
        if norm_first:
            self.norm_image = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens (B, T, D), image (B, h*w, D) -> the same, updated. `valid` (B, T) or all."""
        start = tokens
        tokens, image = self.exchange(tokens, image, position, valid)
        if hasattr(self, "norm_image"):
            image = self.norm_image(image)
        update = self.final_attn_token_to_image.read(tokens + start, image, position)
        return self.norm_final_attn(tokens + update), image

    def exchange(
        self, tokens: Tensor, image: Tensor, position: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The layers alone, for who wants only the image: the last look changes the tokens alone."""
        start = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, start, position, valid)
        return tokens, image

    def image_summary(self, image: Tensor) -> Tensor:
        """Global average pooling (B, h*w, D) -> (B, D), normalised after it where norms come first."""
        pooled = image.mean(1)
        return self.norm_image(pooled) if hasattr(self, "norm_image") else pooled
