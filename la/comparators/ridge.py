"""A linear classifier of the support tokens, solved in closed form for each episode.

Bertinetto, Henriques, Torr, Vedaldi: "Meta-learning with differentiable closed-form
solvers", 2019. This is only the classifier, without meta-learning.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from la.comparators.tokens import OnTokens, Tokens


@dataclass(frozen=True)
class Ridge(OnTokens):
    """Ridge regression of V_jc on the support tokens, where all classes have equal mass.

    The weights are W = (X' D X + penalty I)^-1 X' Y: X holds normalised support tokens
    with a 1 appended for the intercept, Y the balanced V_jc, and D the sum of Y over c.
    """

    penalty: float = 0.01  # relative to a mass of 1 per class

    def score(self, t: Tokens) -> Tensor:
        """Scores (B, I, C)."""
        x = _with_intercept(t.support_hat)  # (B, J, V + 1)
        y = t.balanced  # (B, J, C)
        mass = y.sum(-1, keepdim=True)
        normal = (x * mass).transpose(1, 2) @ x  # X' D X
        identity = torch.eye(x.shape[-1], device=x.device)
        normal = normal + self.penalty * identity
        moments = x.transpose(1, 2) @ y
        w = torch.linalg.solve(normal, moments)  # (B, V + 1, C)
        return _with_intercept(t.query_hat) @ w


def _with_intercept(points: Tensor) -> Tensor:
    return F.pad(points, (0, 1), value=1.0)
