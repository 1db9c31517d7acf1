"""Fresh weights from a generator, in the usual distributions of torch's layers."""

import math

import torch
from torch import nn

from la.model.layers import FourierPosition
from la.model.mask_decoder import MaskDecoder
from la.model.plus import SimilarityResidual
from la.model.prototypes import TokenPool


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Set every weight and buffer of the model.

    Raises:
        TypeError: a module holds weights that nothing here sets.
    """
    with torch.no_grad():
        for name, module in model.named_modules():
            _initialise(name, module, generator)


def _initialise(name: str, module: nn.Module, generator: torch.Generator) -> None:
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
        case SimilarityResidual():
            module.log_scale.fill_(math.log(3))
            module.threshold.fill_(0.5)
            module.gain.fill_(1)
        case MaskDecoder():
            if module.logit_scale is not None:
                module.logit_scale.zero_()
        case _:
            if weights := dict(module.named_parameters(recurse=False)):
                raise TypeError(f"nothing initialises {', '.join(weights)} of {name}")
