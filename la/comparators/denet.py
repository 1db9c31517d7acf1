"""DENet, in this harness: a bank of classifiers whose rows the support overwrites.

Liu, Cao, Liu, Zhang, Ge: "Dynamic Extension Nets for Few-shot Semantic Segmentation",
2020. The bank holds a classifier vector for each base class. The supports generate vectors
for the classes of the episode, and the rest of the bank is background.
"""

import torch
from torch import Tensor, nn

from la.comparators.learned import Adapter, Learned
from la.comparators.tokens import Tokens, as_maps, share, tokens
from la.config import ModelConfig
from la.types import Batch

BANK = 128  # rows; the row of a class is its id modulo this number


class DENet(Learned):
    """Row c is F_q w_c with the generated w_c; row 0 is the largest F_q W_r of the bank.

    No base labels are used: the segmentation loss trains the bank as vectors of background,
    and the row of a class learns from the episodes in which that class is background. Rows
    of classes that were in no training episode are not used.
    """

    trained: Tensor  # (BANK,) bool, a buffer: rows whose class was in a training episode

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        dim = config.embed_dim
        self.adapter = nn.Sequential(Adapter(config.backbone_dim, dim), nn.ReLU())
        self.squeeze = nn.Linear(dim, dim, bias=False)  # W_1
        self.excite = nn.Linear(dim, dim, bias=False)  # W_2
        self.generate = nn.Linear(dim, dim, bias=False)  # W_3
        self.bank = nn.Parameter(torch.randn(BANK, dim) / dim)
        self.register_buffer("trained", torch.zeros(BANK, dtype=torch.bool))
        # Dot products of the features start near 1, as no vector is normalised.
        nn.init.eye_(self.generate.weight)
        self.generate.weight.data /= dim

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, C, h, w)."""
        t = tokens(batch, self.raster, self.adapter)
        used = self.bank_rows(batch)  # (B, BANK)
        classes = t.query @ self.generated(t).transpose(1, 2)  # (B, I, C)
        bank = t.query @ self.bank.T  # (B, I, BANK)
        bank = bank.masked_fill(~used[:, None], -torch.inf)
        background = bank.amax(-1, keepdim=True)
        scores = torch.cat([background, classes[..., 1:]], dim=-1)
        return as_maps(scores, t, batch)

    def generated(self, t: Tokens) -> Tensor:
        """Classifier vectors (B, C, D): W_3 MAP(g * F_s, V_sc), the mean over shots."""
        # a is the mean over *all* cells of V_sc F_s
        covered = torch.einsum("bltc,bltd->blcd", t.weights, t.support)
        mean_covered = covered / t.weights.shape[2]
        gate = self.excite(self.squeeze(mean_covered).relu()).sigmoid()
        # The gate is constant over the cells, so it multiplies the masked average.
        weights = share(t.weights, dim=2)
        pooled = gate * torch.einsum("bltc,bltd->blcd", weights, t.support)
        n_shots = t.has_example.sum(1).clamp(min=1)  # (B, C)
        return self.generate(pooled.sum(1) / n_shots[..., None])

    def bank_rows(self, batch: Batch) -> Tensor:
        """(B, BANK) bool: the rows that are background in each episode.

        In training mode the classes of the batch are marked as trained.
        """
        n_episodes = len(batch.class_valid)
        counts = torch.zeros(n_episodes, BANK, device=self.bank.device)
        if batch.class_ids is not None:
            rows = batch.class_ids.remainder(BANK)
            is_class = batch.class_ids >= 0
            # Counted in float32, because CUDA reduces no booleans.
            counts.scatter_add_(1, rows, is_class.float())
        in_episode = counts > 0
        if self.training:
            self.trained |= in_episode.any(0)
        background = self.trained & ~in_episode
        # Without any trained row an episode uses all other rows, so that background has a score.
        has_none = ~background.any(1, keepdim=True)
        return background | (has_none & ~in_episode)
