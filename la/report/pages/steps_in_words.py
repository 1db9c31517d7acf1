"""What the pictures of the page `model` show, in sentences made from the values of its steps."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from la.config import ModelConfig
from la.learn.attention_loss import object_cells, object_shares
from la.learn.evaluation import original_scores
from la.report.figures.pictures import EpisodePicture
from la.report.pages.walkthrough import Steps
from la.types import IGNORE
from la.wording import counted


def episode(shown: EpisodePicture) -> str:
    """The classes of an episode by their numbers, and which of them the query shows."""
    assert shown.target is not None
    names = [f"{row} is {name}" for row, name in enumerate(shown.class_names, 1)]
    rows = np.unique(shown.target)
    present = [str(row) for row in rows if row not in (0, IGNORE)]
    query = f"shows class {' and '.join(present)}" if present else "shows none of them"
    return (
        f"{counted(len(shown.supports), 'support image')} with their prompts, then the query and "
        f"its truth; class {'; class '.join(names)}. The query {query}."
    )


def features(images: Tensor) -> str:
    """How much of the variance of (n, D, h, w) embeddings the three colours show."""
    cells = images.flatten(2).transpose(1, 2).flatten(0, 1).double()  # (n*h*w, D)
    strengths = torch.linalg.svdvals(cells - cells.mean(0)).square()
    share = 100 * (strengths[:3].sum() / strengths.sum()).item()
    return f"Three directions hold {share:.0f} % of the variance of the {images.shape[1]} channels."


@torch.inference_mode()
def attention(steps: Steps) -> str:
    """The share of each layer's attention on the prompted objects, beside that of all cells."""
    assert steps.batch.objects is not None
    cells = object_cells(steps.batch.objects, steps.supports.shape[-1])  # (E, h*w)
    texts = []
    for layer, read in enumerate(steps.reads, 1):
        of_tokens = object_shares(read, cells).mean(1)  # (E, T), the mean over heads
        share = of_tokens[steps.tokens_valid].mean().item()
        of_attention = " of their attention" if layer == 1 else ""
        texts.append(f"{100 * share:.0f} %{of_attention} in layer {layer}")
    filled = 100 * cells.float().mean().item()
    return (
        f"The prompt tokens put {' and '.join(texts)} on the prompted objects, which "
        f"fill {filled:.0f} % of the cells."
    )


def prototypes(steps: Steps) -> str:
    """The mean cosine between embeddings of one class and of different classes."""
    is_class = steps.pairs.row > 0
    vectors = F.normalize(steps.pairs.embeddings[is_class], dim=1)
    rows = steps.pairs.row[is_class]
    cosine = vectors @ vectors.T
    same = rows[:, None] == rows
    others = ~torch.eye(len(rows), dtype=torch.bool)
    texts = []
    for name, pairs in (("one class", same & others), ("different classes", ~same)):
        if pairs.any():
            texts.append(f"embeddings of {name} have a mean cosine of {cosine[pairs].mean():.2f}")
    sentence = ", ".join(texts) or "there is one embedding, and nothing to compare it with"
    return f"{sentence[0].upper()}{sentence[1:]}."


@torch.inference_mode()
def probabilities(shown: EpisodePicture, steps: Steps, config: ModelConfig) -> str:
    """The IoU of each class with the truth, if each pixel gets the row of the largest logit."""
    scores = original_scores(steps.logits, steps.batch, config)[0]
    predicted = EpisodePicture(
        number=None,
        class_names=shown.class_names,
        supports=shown.supports,
        query=shown.query,
        target=shown.target,
        prediction=scores.argmax(0).cpu().numpy(),
    )
    texts = []
    for row, value in enumerate(predicted.iou, 1):
        text = f"has an IoU of {100 * value:.0f} %"
        texts.append(f"class {row} {'is neither shown nor painted' if np.isnan(value) else text}")
    return f"If each pixel gets its most probable class, {' and '.join(texts)}."
