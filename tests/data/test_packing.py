"""Stored features: float16 as they are, int8 within half a step of each channel's scale."""

import numpy as np
import pytest
import torch

from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.memory import Memory
from la.data.feature_cache.packing import Float16, Int8, chosen_numbers
from la.errors import UserError

SHAPE = (6, 5, 4)


def features(n: int = 3) -> torch.Tensor:
    """Channels of very different sizes, one of them 0."""
    values = torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([0, 1e-3, 1, 40, 500, 6e4]).view(-1, 1, 1)
    return (values.clamp(-1, 1) * sizes).half()


def unpacked(packing: Float16 | Int8, rows: np.ndarray) -> torch.Tensor:
    """The features of stored rows, as `FeatureStore.read` gets them."""
    memory = Memory()
    read = memory.tensor((len(rows), *packing.shape), torch.float16)
    into = packing.rows_for(read, memory)
    into.copy_(torch.from_numpy(rows))
    packing.unpack(into, read)
    return read


def test_int8_is_within_half_a_step_of_each_channel():
    packing = Int8(SHAPE)
    stored = features()
    read = unpacked(packing, packing.pack(stored))
    assert read.shape == stored.shape and read.dtype == torch.float16
    for image, original in zip(read.float(), stored.float(), strict=True):
        for channel, expected in zip(image, original, strict=True):
            step = expected.abs().max() / 127
            rounding = expected.abs().max() * 2**-11  # of the result to float16
            assert (channel - expected).abs().max() <= step / 2 + rounding


def test_int8_keeps_zeros_and_the_largest_magnitude_of_a_channel():
    packing = Int8((1, 1, 4))
    stored = torch.tensor([[[[0.0, 254.0, -128.0, 2.0]]], [[[0.0, 0.0, 0.0, 0.0]]]]).half()
    assert torch.equal(unpacked(packing, packing.pack(stored)), stored)


def test_features_that_were_rounded_are_stored_exactly_the_second_time():
    packing = Int8(SHAPE)
    once = packing.pack(features())
    twice = packing.pack(unpacked(packing, once))
    assert np.array_equal(once[..., 4:], twice[..., 4:])


def test_float16_is_stored_as_it_is():
    packing = Float16(SHAPE)
    assert torch.equal(unpacked(packing, packing.pack(features())), features())


@pytest.mark.parametrize(("packing", "n_bytes"), [(Float16, 768 * 900 * 2), (Int8, 768 * 904)])
def test_the_bytes_of_an_image_are_those_of_its_array(packing, n_bytes):
    layout = packing((768, 30, 30))
    (row,) = layout.pack(torch.zeros(1, 768, 30, 30).half())
    assert row.shape == layout.row_shape
    assert layout.n_bytes == row.nbytes == n_bytes


def store(root, numbers) -> FeatureStore:
    return FeatureStore(root, FeatureKey("tiny", "ab12", 96, "pad", numbers))


def filled(root, numbers) -> FeatureStore:
    kept = store(root, numbers)
    images = {str(i): i for i in range(3)}

    def load(image_id):
        return torch.full((3, 1, 1), float(image_id))

    def encode(images):
        return torch.stack([features()[int(image[0, 0, 0])] for image in images]).float()

    kept.write(images, load, encode, batch_size=2, progress=False)
    return kept


def test_the_two_formats_have_folders_of_their_own_and_one_is_half_the_size(tmp_path):
    exact, rounded = filled(tmp_path, "float16"), filled(tmp_path, "int8")
    assert exact.folder != rounded.folder
    sizes = [sum(p.stat().st_size - 4 for p in s.folder.glob("[0-9].*")) for s in (exact, rounded)]
    assert sizes == [3 * 6 * 20 * 2, 3 * 6 * 24]
    expected = unpacked(Int8(SHAPE), Int8(SHAPE).pack(features()))
    assert torch.equal(exact.read(["2", "0"]), features()[[2, 0]])
    for reader in (rounded, store(tmp_path, "int8")):
        assert torch.equal(reader.read(["2", "0"]), expected[[2, 0]])
        assert reader.read([]).shape[0] == 0
    assert store(tmp_path / "none", "int8").read([]).shape[0] == 0


def test_a_flipped_bit_of_an_int8_file_is_found(tmp_path):
    filled(tmp_path, "int8")
    kept = store(tmp_path, "int8")
    victim = kept.folder / "1.i8"
    raw = bytearray(victim.read_bytes())
    raw[1] ^= 4
    victim.write_bytes(raw)
    with pytest.raises(ValueError, match="1.i8 was damaged and is removed"):
        kept.read(["1"])


def test_the_format_is_chosen_by_a_variable_and_an_unknown_one_raises(monkeypatch):
    monkeypatch.delenv("LA_FEATURES", raising=False)
    assert chosen_numbers() == "float16"
    monkeypatch.setenv("LA_FEATURES", "int8")
    assert chosen_numbers() == "int8"
    monkeypatch.setenv("LA_FEATURES", "int4")
    with pytest.raises(UserError, match="LA_FEATURES=int4 is unknown; use float16, int8 or none"):
        chosen_numbers()
