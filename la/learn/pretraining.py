"""Makes the tiny backbone's weights: the quick profile's stand-in for pretraining SAM or MAE.

Per-pixel classification of the 200 shapes that the benchmark does not use, on generated scenes.
Textures and hues are those of the benchmark, shapes are not: what is learned is to tell objects
apart, not these objects.
"""

import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from la.data.embedded.scenes import SPANS, pretraining_scenes
from la.data.geometry import MEAN, STD
from la.files import progress_bar
from la.model.backbone import TinyViT
from la.rng import stream

FINER = 2  # targets are on a grid this much finer than the feature cells
LR = 2e-3
FOREGROUND, BACKGROUND = 2.0, 0.6  # loss weights


def pretrain(
    *, steps: int, seed: int, n_images: int = 12_000, batch_size: int = 32, progress: bool = True
) -> TinyViT:
    """A backbone trained for `steps` batches of scenes, and its feature statistics.

    AdamW with a short warm-up, then a cosine to zero; flips are the only augmentation. The
    same arguments give the same weights on the same machine and number of threads.
    """
    scenes = pretraining_scenes(n_images, seed=seed)
    scenes = progress_bar(scenes, total=n_images, desc="drawing images", disable=not progress)
    drawn = [(s.image, s.class_map()[2::4, 2::4]) for s in scenes]  # targets from cells' centres
    images, targets = (torch.from_numpy(np.stack(x)) for x in zip(*drawn, strict=True))  # uint8
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TinyViT()
        n_rows = 1 + SPANS["pretraining"].stop - SPANS["pretraining"].start
        head = nn.Conv2d(128, n_rows * FINER**2, 1)
    model.train().to(memory_format=torch.channels_last)
    parameters = [*model.parameters(), *head.parameters()]
    vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
    others = {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05}
    optimizer = torch.optim.AdamW([others, vectors], lr=LR)
    weight = torch.full((n_rows,), FOREGROUND).index_fill_(0, torch.tensor(0), BACKGROUND)
    for step in (bar := progress_bar(range(steps), desc="pretraining", disable=not progress)):
        rng = stream(seed, "pretraining batch", step)
        picked = torch.from_numpy(rng.choice(n_images, batch_size, replace=n_images < batch_size))
        batch, target = images[picked], targets[picked]
        for axis in (1, 2):
            flip = torch.from_numpy(rng.random(batch_size) < 0.5)
            batch[flip], target[flip] = batch[flip].flip(axis), target[flip].flip(axis)
        rate = min((step + 1) / 50, 0.5 + 0.5 * np.cos(np.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = LR * rate
        logits = F.pixel_shuffle(head(model(normalise(batch))), FINER)
        loss = F.cross_entropy(logits, target.long(), weight)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            logging.getLogger(__name__).info("step %d: loss %.4f", step, loss.item())
    model.eval().requires_grad_(False)
    features = torch.cat([model(normalise(part)) for part in images[:1024].split(64)])
    std, mean = torch.std_mean(features, dim=(0, 2, 3))
    model.mean.copy_(mean[:, None, None])
    model.std.copy_(std[:, None, None])
    return model


def normalise(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to ImageNet-normalised (B, 3, H, W) float, in channels-last memory."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    return (images.permute(0, 3, 1, 2) / 255 - mean) / std


def save(model: TinyViT, path: Path, **made_with: int) -> None:
    """Write the weights in float32, with how they were made in the file's metadata."""
    note = {name: str(value) for name, value in made_with.items()}
    note |= {"data": "generated scenes of the 200 pretraining shapes", "format": "pt"}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata=note)
