"""Pretrains the tiny backbone: the quick profile's stand-in for a pretrained SAM or MAE.

The task is per-pixel classification of the 200 shapes that the benchmark does not use, on
generated scenes. The scenes share the benchmark's textures and hues but none of its
shapes, so the backbone learns to distinguish objects, not to recognise these ones.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from la.config import IMAGE_MEAN, IMAGE_STD
from la.data.embedded.classes import SPANS
from la.data.embedded.scenes import pretraining_scenes
from la.files import progress_bar
from la.model.backbones.tiny import TinyViT
from la.rng import stream

SHAPES = SPANS["pretraining"]
N_ROWS = 1 + SHAPES.stop - SHAPES.start  # background and the shapes
FEATURES = 128  # channels of a TinyViT
FINER = 2  # targets have this many cells per feature cell, along each side
LR = 2e-3
WARMUP_STEPS = 50
WEIGHT_DECAY = 0.05  # of matrices and kernels; none of vectors
FOREGROUND, BACKGROUND = 2.0, 0.6  # loss weights

log = logging.getLogger(__name__)


def pretrain(
    *,
    steps: int,
    seed: int,
    n_images: int = 12_000,
    batch_size: int = 32,
    progress: bool = True,
) -> TinyViT:
    """A backbone trained for `steps` batches of scenes, with its feature statistics set.

    AdamW with a short warm-up, then a cosine to zero; flips are the only augmentation. The
    same arguments give the same weights on the same machine and number of threads.
    """
    images, targets = _training_images(n_images, seed, progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TinyViT()
        head = nn.Conv2d(FEATURES, N_ROWS * FINER**2, 1)
    model.train().to(memory_format=torch.channels_last)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer = _optimizer(parameters)
    class_weights = torch.full((N_ROWS,), FOREGROUND)
    class_weights[0] = BACKGROUND
    bar = progress_bar(range(steps), desc="pretraining", disable=not progress)
    for step in bar:
        rng = stream(seed, "pretraining batch", step)
        batch, target = _batch(images, targets, batch_size, rng)
        for group in optimizer.param_groups:
            group["lr"] = _learning_rate(step, steps)
        features = model(normalise(batch))
        logits = F.pixel_shuffle(head(features), FINER)
        loss = F.cross_entropy(logits, target.long(), class_weights)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            log.info("step %d: loss %.4f", step, loss.item())
    model.eval().requires_grad_(False)
    _set_statistics(model, images[:1024])
    return model


def _learning_rate(step: int, steps: int) -> float:
    """A linear warm-up, then a cosine to zero."""
    warm_up = (step + 1) / WARMUP_STEPS
    cosine = 0.5 + 0.5 * np.cos(np.pi * step / steps)
    return LR * min(warm_up, cosine)


def _training_images(
    n_images: int,
    seed: int,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """Images (n, H, W, 3) and targets (n, H/4, W/4), sampled at the cells' centres, in uint8."""
    scenes = pretraining_scenes(n_images, seed=seed)
    images = []
    targets = []
    for scene in progress_bar(scenes, total=n_images, desc="drawing images", disable=not progress):
        target = scene.class_map()[2::4, 2::4]
        images.append(torch.from_numpy(scene.image))
        targets.append(torch.from_numpy(target))
    return torch.stack(images), torch.stack(targets)


def _optimizer(parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and kernels, and none on biases and norms."""
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LR)


def _batch(
    images: Tensor,
    targets: Tensor,
    batch_size: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Random images with their targets; each is flipped along each axis with probability 1/2."""
    n_images = len(images)
    numbers = rng.choice(n_images, batch_size, replace=n_images < batch_size)
    batch = images[numbers]
    target = targets[numbers]
    for axis in (1, 2):
        flip = torch.from_numpy(rng.random(batch_size) < 0.5)
        batch[flip] = batch[flip].flip(axis)
        target[flip] = target[flip].flip(axis)
    return batch, target


def _set_statistics(model: TinyViT, images: Tensor) -> None:
    """Standardise each feature channel to mean 0 and deviation 1 over these images."""
    features = torch.cat([model(normalise(part)) for part in images.split(64)])
    std, mean = torch.std_mean(features, dim=(0, 2, 3))
    model.get_buffer("mean").copy_(mean[:, None, None])
    model.get_buffer("std").copy_(std[:, None, None])


def normalise(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to ImageNet-normalised (B, 3, H, W) float, in channels-last memory."""
    mean = torch.tensor(IMAGE_MEAN).view(3, 1, 1)
    std = torch.tensor(IMAGE_STD).view(3, 1, 1)
    images = images.permute(0, 3, 1, 2)
    return (images / 255 - mean) / std


def save(
    model: TinyViT,
    path: Path,
    *,
    steps: int,
    seed: int,
    n_images: int,
) -> None:
    """Write the weights in float32; the file's metadata says how they were trained."""
    metadata = {
        "steps": str(steps),
        "seed": str(seed),
        "n_images": str(n_images),
        "data": "generated scenes of the 200 pretraining shapes",
        "format": "pt",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata=metadata)
