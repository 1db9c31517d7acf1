"""Logits and prototypes of the published model, file by file, for any folder of golden files."""

import os
from pathlib import Path

import pytest
import torch

from la.model.label_anything import LabelAnything
from tests.model.official import GoldenFile, official_logits, to_batch

HERE = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("LA_GOLDEN", HERE.parents[1] / "shared" / "golden"))
FILES = {
    path.stem: path for folder in (HERE / "golden", FOLDER) for path in folder.glob("*__*.npz")
}
LOGITS, PROTOTYPES = 5e-4, 1e-4


def largest(name, ours, golden, record):
    """The largest absolute error where both are finite; infinities must be at the same places."""
    assert ours.shape == golden.shape
    assert torch.equal(ours.isinf(), golden.isinf()), f"{name}: -inf in other places"
    error = (ours - golden)[golden.isfinite()].abs().max().item()
    record(name, error)
    return error


@pytest.mark.parametrize("path", [pytest.param(FILES[name], id=name) for name in sorted(FILES)])
def test_the_published_logits_are_met(path, record_property, capsys):
    golden = GoldenFile(path)
    model = LabelAnything.empty(golden.config)
    model.load_state_dict(golden.weights(model))
    inputs = golden.inputs()
    batch = to_batch(inputs)
    errors = {}

    with torch.no_grad():
        support = model.support(batch)
        query = model.encode_features(batch.source.query)
        position = model.prompt_encoder.pe_layer.grid(*query.shape[-2:])
        low = model.mask_decoder(query, position, support.prototypes, batch.class_valid)
        logits = model(batch)
    valid = batch.class_valid[..., None, None]
    assert torch.equal(logits, low.masked_fill(~valid, -torch.inf))
    canvas = tuple(golden.sizes.amax((0, 1)).tolist())
    full = official_logits(
        low, golden.sizes[:, 0], canvas, golden.config.image_size, golden.config.resize == "pad"
    ).masked_fill(~valid, -torch.inf)

    expected_low = golden["out/logits_low"]
    if expected_low.isinf().any():
        low = logits
    largest("logits_low", low, expected_low, errors.__setitem__)
    largest("class_embs", support.prototypes, golden["out/class_embs"], errors.__setitem__)
    largest("logits", full, golden["out/logits"], errors.__setitem__)
    for name, error in errors.items():
        record_property(name, error)
    with capsys.disabled():
        print(
            f"\n{path.stem}: " + ", ".join(f"{name} {e:.1e}" for name, e in errors.items()), end=" "
        )
    assert errors["logits_low"] < LOGITS
    assert errors["logits"] < LOGITS
    assert errors["class_embs"] < PROTOTYPES
