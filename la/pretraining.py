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
from tqdm.auto import tqdm

from la.data.scenes import SPANS, pretraining_scenes
from la.model.tiny import TinyViT
from la.rng import stream

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)  # ImageNet's, of RGB in [0, 1]
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
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
    images, targets = _draw_images(n_images, seed, progress)
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
    bar = tqdm(range(steps), desc="pretraining", disable=not progress)
    for step in bar:
        rng = stream(seed, "pretraining batch", step)
        batch, target = _draw_batch(images, targets, batch_size, rng)
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
    _measure(model.eval(), images[:1024])
    return model.requires_grad_(False)


def _draw_batch(
    images: Tensor, targets: Tensor, batch_size: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Some of the images and their targets, each flipped either way or not."""
    n = len(images)
    picked = torch.from_numpy(rng.choice(n, batch_size, replace=n < batch_size))
    batch, target = images[picked], targets[picked]
    for axis in (1, 2):
        flip = torch.from_numpy(rng.random(batch_size) < 0.5)
        batch[flip], target[flip] = batch[flip].flip(axis), target[flip].flip(axis)
    return batch, target


def normalise(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to ImageNet-normalised (B, 3, H, W) float, in channels-last memory."""
    return (images.permute(0, 3, 1, 2) / 255 - MEAN) / STD


def _draw_images(n_images: int, seed: int, progress: bool) -> tuple[Tensor, Tensor]:
    """Images (n, H, W, 3) uint8, and targets (n, H / 4, W / 4) uint8 from the cells' centres."""
    images, targets = [], []
    scenes = pretraining_scenes(n_images, seed=seed)
    for scene in tqdm(scenes, total=n_images, desc="drawing images", disable=not progress):
        images.append(scene.image)
        targets.append(scene.class_map()[2::4, 2::4])
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(targets))


@torch.no_grad()
def _measure(model: TinyViT, images: Tensor) -> None:
    """Set the channel statistics that the features are standardised with."""
    features = torch.cat([model(normalise(part)) for part in images.split(64)])
    std, mean = torch.std_mean(features, dim=(0, 2, 3))
    model.mean.copy_(mean[:, None, None])
    model.std.copy_(std[:, None, None])


def save(model: TinyViT, path: Path, **made_with: int) -> None:
    """Write the weights in float32, with how they were made in the file's metadata."""
    note = {name: str(value) for name, value in made_with.items()}
    note |= {"data": "generated scenes of the 200 pretraining shapes", "format": "pt"}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, path, metadata=note)
