"""The frozen encoders have one signature and are what they should be."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from la.config import ModelConfig
from la.data.sampling.geometry import Frame
from la.model.backbone import build_backbone, empty_backbone, weights_sha256
from la.model.backbones.tiny import TINY
from la.model.label_anything import LabelAnything
from la.profiles import profile
from la.types import Batch, Pixels, Prompts

SAM = ModelConfig(mode="exact")
MAE = replace(SAM, backbone="mae_vit_b", image_size=480, resize="squash", embed_dim=256, mixers=())
PHOTOS = Path(os.environ.get("LA_SHARED", Path(__file__).parents[3] / "shared")) / "coco-real"


def random_backbone(config):
    backbone = empty_backbone(config)
    g = torch.Generator().manual_seed(0)
    for value in backbone.state_dict().values():
        value.normal_(0, 0.02, generator=g)
    return backbone


def test_the_tiny_backbone_is_the_pretrained_one():
    config, images = profile("quick").model, torch.randn(2, 3, 96, 96)
    backbone = build_backbone(config)
    shipped = load_file(TINY.weights.path())
    assert all(torch.equal(v, shipped[k]) for k, v in backbone.encoder.state_dict().items())
    assert backbone(images).shape == (2, config.backbone_dim, 12, 12)
    assert len(weights_sha256(config)) == 64


def test_a_backbone_stays_frozen_in_a_training_model():
    backbone = build_backbone(profile("quick").model)
    torch.nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert not backbone(torch.randn(1, 3, 96, 96, requires_grad=True)).requires_grad


def test_mae_gives_a_map_of_cells_without_the_class_token():
    backbone = random_backbone(MAE)
    images = torch.randn(1, 3, 64, 48)
    features = backbone(images)
    assert features.shape == (1, 768, 4, 3)
    tokens = backbone.encoder(images, interpolate_pos_encoding=True).last_hidden_state
    torch.testing.assert_close(features[0, :, 1, 2], tokens[0, 1 + 1 * 3 + 2])


def test_sam_gives_its_last_block_not_its_neck():
    config = replace(SAM, image_size=64)
    backbone, blocks = random_backbone(config), []
    backbone.encoder.blocks[-1].register_forward_hook(lambda m, x, y: blocks.append(y))
    features = backbone(torch.randn(1, 3, 64, 64))
    assert features.shape == (1, 768, 4, 4)
    assert torch.equal(features, blocks[0].permute(0, 3, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("config", [MAE, SAM], ids=["mae", "sam"])
def test_a_photograph_goes_from_pixels_to_logits_at_full_size(config):
    photos = sorted(PHOTOS.rglob("*.jpg"))
    image = Image.open(photos[0]).convert("RGB") if photos else Image.new("RGB", (640, 427), "red")
    frame = Frame((image.height, image.width), config.image_size, config.resize)
    pixels = frame.image(image)[None]
    model = LabelAnything.from_config(config, torch.Generator().manual_seed(0)).eval()
    model.backbone = random_backbone(config)
    if config is SAM:
        # Of its blocks, which are alike, the first three: the third attends to the whole image.
        model.backbone.encoder.blocks = model.backbone.encoder.blocks[:3]
    one = torch.zeros(1, dtype=torch.int64)
    prompts = Prompts(
        masks=torch.ones(1, 256, 256), mask_example=one,
        points=torch.tensor([[[99.0, 99.0]]]), point_labels=one[None] + 1,
        boxes=torch.zeros(1, 0, 4), boxes_valid=torch.zeros(1, 0, dtype=torch.bool),
        example_support=one, example_row=one + 1,
    )  # fmt: skip
    size = torch.tensor([[image.height, image.width]])
    rows, valid = torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool)
    target = torch.zeros(1, 1, 1, dtype=torch.int64)
    with torch.inference_mode():
        logits = model(Batch(Pixels(pixels, pixels), one, prompts, rows, valid, target, size))
    assert logits.shape == (1, 2, config.image_size // 4, config.image_size // 4)
    assert logits.isfinite().all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 6 * 2**20  # KiB
