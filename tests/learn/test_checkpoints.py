"""Checkpoints come back as they were, in our layout and the published, or are refused by name."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from la.config import ModelConfig
from la.errors import UserError
from la.learn.weights import checkpoints, hub
from la.model.backbone import empty_backbone
from la.model.backbones.vit import name_in_transformers_5
from la.model.label_anything import LabelAnything
from la.profiles import profile
from tests.conftest import fresh_model
from tests.model.official import small
from tests.published_file import published_name, write_published

MAE = ModelConfig(
    backbone="mae_vit_b", image_size=480, resize="squash", embed_dim=256,
    mixers=(), token_pool=0, mode="exact",
)  # fmt: skip
SAM = ModelConfig(mode="exact")
SMALL_MAE = small(MAE, image_size=480)
SHARED = Path(os.environ.get("LA_SHARED", Path(__file__).parents[3] / "shared"))


def assert_same_weights(model, other):
    assert model.state_dict().keys() == other.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize("config", [profile("quick").model, small(SAM)])
def test_our_file_gives_back_weights_and_configuration(config, tmp_path):
    model = fresh_model(config)
    checkpoints.save(model, tmp_path / "m.safetensors")
    loaded = checkpoints.load(tmp_path / "m.safetensors")
    assert loaded.config == config
    assert not loaded.training
    assert_same_weights(model, loaded)


def test_our_file_says_what_the_weights_were_trained_on_and_their_bias(tmp_path):
    path = tmp_path / "m.safetensors"
    checkpoints.save(fresh_model(SMALL_MAE), path, trained_on="cats, fold 3", bias=0.25)
    card = checkpoints.load(path).card
    assert (card.name, card.trained_on, card.bias) == ("m.safetensors", "cats, fold 3", 0.25)
    assert card.sha256 == checkpoints.file_sha256(path)


def test_our_file_leaves_the_backbone_out(tmp_path):
    model = fresh_model(SMALL_MAE)
    model.backbone = torch.nn.Linear(2, 2)
    checkpoints.save(model, tmp_path / "m.safetensors")
    assert not any("backbone" in key for key in load_file(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(("config", "n"), [(MAE, 8_932_908), (SAM, 27_436_556)])
def test_the_published_models_have_as_many_parameters_as_the_authors_say(config, n):
    with torch.device("meta"):
        model = LabelAnything(config)
    assert sum(p.numel() for p in model.parameters()) == n


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "n_keys", "names"), [(MAE, 425, "keys_mae480.tsv"), (SAM, 417, "keys_sam1024.tsv")]
)
def test_a_full_size_model_with_encoder_round_trips_in_the_published_layout(
    config, n_keys, names, tmp_path
):
    model = fresh_model(config)
    model.backbone = empty_backbone(config)
    for value in model.backbone.state_dict().values():
        value.fill_(0.01)
    write_published(model, tmp_path)
    shapes = {k: list(v.shape) for k, v in load_file(tmp_path / "model.safetensors").items()}
    assert len(shapes) == n_keys
    if (SHARED / "spec" / names).exists():
        rows = (line.split("\t") for line in (SHARED / "spec" / names).read_text().splitlines())
        assert shapes == {key: json.loads(shape) for key, shape, _ in rows}

    loaded = checkpoints.load(tmp_path)
    assert loaded.config == config
    assert_same_weights(model, loaded)
    if config is MAE:
        features = torch.randn(1, 768, 4, 4)
        with torch.no_grad():
            pair = [m.encode_features(features) for m in (model.eval(), loaded)]
        assert torch.equal(*pair)


@pytest.mark.parametrize("mixers", [(), ("example",), ("class", "example", "class_example")])
@pytest.mark.parametrize("token_pool", [0, 7])
@pytest.mark.parametrize("spatial_convs", [True, False])
def test_the_architecture_is_read_off_the_tensors(mixers, token_pool, spatial_convs, tmp_path):
    config = small(
        SAM, mixers=mixers, token_pool=token_pool, spatial_convs=spatial_convs, image_size=1024
    )
    model = fresh_model(config)
    write_published(model, tmp_path)
    options = json.loads((tmp_path / "config.json").read_text())
    wrong = {"embed_dim": 7, "example_attention": not mixers, "spatial_convs": None}
    (tmp_path / "config.json").write_text(json.dumps(options | wrong))
    loaded = checkpoints.load(tmp_path)
    assert loaded.config == config
    assert_same_weights(model, loaded)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_single_file_loads_with_or_without_the_prefix(suffix, prefix, tmp_path):
    model = fresh_model(SMALL_MAE)
    weights = {prefix + key: value for key, value in model.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    assert_same_weights(model, checkpoints.load(path))


def test_what_is_not_passed_to_the_constructor_has_the_authors_default(tmp_path):
    checkpoints.save(fresh_model(SMALL_MAE), tmp_path / "m.safetensors")
    weights = load_file(tmp_path / "m.safetensors")
    bare = checkpoints.infer(weights, {"encoder": "vit_b_mae"})
    assert (bare.backbone, bare.image_size, bare.resize) == ("mae_vit_b", 480, "pad")
    squashed = checkpoints.infer(weights, {"custom_preprocess": False, "image_size": 96})
    assert (squashed.backbone, squashed.image_size, squashed.resize) == ("mae_vit_b", 96, "squash")


@pytest.mark.slow
def test_both_spellings_of_the_encoder_load(tmp_path):
    model = fresh_model(SMALL_MAE)
    model.backbone = empty_backbone(SMALL_MAE)
    for i, value in enumerate(model.backbone.state_dict().values()):
        value.fill_(i)
    own = model.backbone.encoder.state_dict()
    for spell in (name_in_transformers_5, published_name):
        weights = {f"image_encoder.{spell(k)}": v.contiguous() for k, v in own.items()}
        assert len(weights) == len(own)
        rest = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
        save_file(rest | weights, tmp_path / "m.safetensors")
        assert_same_weights(model, checkpoints.load(tmp_path / "m.safetensors"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("neck.2.weight"), "lacks the tensor 'neck.2.weight'"),
        (lambda w: w.update(extra=torch.zeros(1)), "'extra', for which the model has no place"),
        (
            lambda w: w.update({"neck.2.weight": torch.zeros(32, 32, 1, 1)}),
            r"'neck.2.weight' in shape \(32, 32, 1, 1\), not \(32, 32, 3, 3\)",
        ),
        (lambda w: w.pop("prompt_encoder.no_mask_embed.weight"), "not a Label Anything checkpoint"),
    ],
    ids=["missing", "unexpected", "mis-shaped", "another model"],
)
def test_a_tensor_that_does_not_fit_is_named(change, message, tmp_path):
    weights = dict(fresh_model(SMALL_MAE).state_dict())
    change(weights)
    save_file(weights, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=message):
        checkpoints.load(tmp_path / "m.safetensors")


def test_a_tensor_missing_in_the_encoder_is_named(tmp_path):
    model = fresh_model(SMALL_MAE)
    model.backbone = empty_backbone(SMALL_MAE)
    key = "image_encoder.encoder.layer.3.attention.attention.key.bias"
    write_published(model, tmp_path, without=key)
    with pytest.raises(ValueError, match=r"encoder in .* lacks .*layers?.3.*(key|k_proj).bias"):
        checkpoints.load(tmp_path)


class Trap:
    """What a hostile pickle would hold."""

    def __reduce__(self):
        return (os.mkdir, ("trapped",))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Trap()}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="might run code"):
        checkpoints.load(tmp_path / "m.pt")
    assert not (tmp_path / "trapped").exists()


def test_damaged_and_unknown_sources_are_refused(tmp_path):
    checkpoints.save(fresh_model(SMALL_MAE), tmp_path / "m.safetensors")
    whole = (tmp_path / "m.safetensors").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        checkpoints.load(tmp_path / "m.safetensors")
    with pytest.raises(FileNotFoundError, match="one of: photos, quick, pasqualedem"):
        checkpoints.load(tmp_path / "nothing")
    torch.save({"step": 3}, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="not a state dict"):
        checkpoints.load(tmp_path / "m.pt")
    for content in (b"", b"hello", b"\x80\x02]", bytes(range(256))):
        (tmp_path / "m.pt").write_bytes(content)
        with pytest.raises(ValueError, match="m.pt cannot be loaded: it is damaged"):
            checkpoints.load(tmp_path / "m.pt")


@pytest.mark.parametrize(("pin", "revision"), [("", "main"), ("@1f2e3d", "1f2e3d")])
def test_a_hub_id_is_fetched_at_the_revision_that_it_names(pin, revision, tmp_path, monkeypatch):
    model, asked = fresh_model(SMALL_MAE), []
    write_published(model, tmp_path)

    def download(*, repo_id, filename, revision):
        asked.append((repo_id, filename, revision))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    name = next(known.name for known in hub.KNOWN if "/" in known.name)
    assert_same_weights(model, checkpoints.load(name + pin))
    assert asked == [(name, file, revision) for file in ("config.json", "model.safetensors")]


def test_a_hub_model_that_came_once_stays_and_needs_no_network(tmp_path, monkeypatch):
    repo, commit = tmp_path / "models--someone--some_model", "0123456789abcdef" * 2 + "01234567"
    model = fresh_model(SMALL_MAE)
    write_published(model, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    assert_same_weights(model, checkpoints.load("someone/some_model"))
    assert_same_weights(model, checkpoints.load(f"someone/some_model@{commit}"))


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def download(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(FileNotFoundError, match="not in the local cache.*no network"):
        checkpoints.load("someone/some_model")
    with pytest.raises(FileNotFoundError, match="does not provide it"):
        checkpoints.load("someone/some model")  # no name that a hub can have


def test_an_id_may_have_a_dot_and_a_mistyped_path_does_not_ask_the_hub(tmp_path, monkeypatch):
    asked = []

    def download(*, repo_id, filename, revision):
        asked.append(repo_id)
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for path in (
        "runs/modle",
        "./modle",
        "nowhere/model.safetensors",
        "a/b/c",
        "modle",
        "quick@20",
    ):
        with pytest.raises(FileNotFoundError, match=f"no checkpoint at {path}; give a file"):
            checkpoints.load(path)
    assert asked == []
    for name in ("someone/model-v1.5", "some.one/model"):
        with pytest.raises(FileNotFoundError, match="does not provide it"):
            checkpoints.load(name)
    assert asked == ["someone/model-v1.5", "some.one/model"]


def test_a_configuration_with_an_unknown_field_is_one_sentence(tmp_path):
    model = fresh_model(SMALL_MAE)
    told = {"model": asdict(model.config) | {"depth": 3}, "trained_on": ""}
    raw = checkpoints.as_bytes(model.state_dict(), {"la": json.dumps(told)})
    (tmp_path / "m.safetensors").write_bytes(raw)
    with pytest.raises(UserError, match="m.safetensors has the configuration field 'depth'"):
        checkpoints.load(tmp_path / "m.safetensors")


def test_a_files_sha256_is_that_of_its_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert checkpoints.file_sha256(tmp_path / "x").startswith("ba7816bf")
