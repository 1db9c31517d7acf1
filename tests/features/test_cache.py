"""How the features of a profile are rounded: by what is said, then by what exists."""

import pytest

from la.features.cache import FeatureCache
from la.profiles import profile


@pytest.mark.parametrize(
    ("existing", "told", "numbers"),
    [
        ((), "", "float16"),
        (("int8",), "", "int8"),
        (("float16",), "", "float16"),
        (("float16", "int8"), "", "float16"),
        (("int8",), "float16", "float16"),
        (("float16",), "int8", "int8"),
    ],
)
def test_a_profile_keeps_to_the_features_that_exist(tmp_path, monkeypatch, existing, told, numbers):
    monkeypatch.setenv("LA_FEATURES", told)
    cache = FeatureCache(tmp_path, profile("smoke").model, embedded=False)
    for each in existing:
        (tmp_path / cache.key(each).folder).mkdir()
    assert cache.numbers == numbers
    assert cache.source.endswith(" in int8") == (numbers == "int8")


def test_features_of_the_embedded_images_and_of_a_plan_ignore_what_exists(tmp_path, monkeypatch):
    monkeypatch.delenv("LA_FEATURES", raising=False)
    model = profile("smoke").model
    embedded = FeatureCache(tmp_path, model, embedded=True)
    (tmp_path / embedded.key("int8").folder).mkdir()
    assert embedded.numbers == "float16"
    assert FeatureCache(tmp_path, model, embedded=False, rounding="float16").numbers == "float16"


def test_without_a_cache_features_are_another_source(tmp_path, monkeypatch):
    monkeypatch.setenv("LA_FEATURES", "none")
    cache = FeatureCache(tmp_path, profile("smoke").model, embedded=False)
    assert cache.source == f"{cache.backbone_sha256} on the fly"
