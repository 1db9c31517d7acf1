"""The weights of a backbone are fetched by the facts of its spec."""

import hashlib
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest

from la.errors import UserError
from la.experiment.planning import fetching
from la.model.backbones import BACKBONES
from la.model.backbones.spec import PublishedFile
from la.profiles import profile
from tests.file_server import Site

DOWNLOADED = [spec.name for spec in BACKBONES.values() if isinstance(spec.weights, PublishedFile)]


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_backbone_comes_from_a_mirror_under_its_published_path(name, tmp_path, monkeypatch):
    spec = BACKBONES[name]
    body = np.random.default_rng(0).bytes(2_000)
    facts = replace(spec.weights, size=len(body), sha256=hashlib.sha256(body).hexdigest())
    monkeypatch.setitem(BACKBONES, name, replace(spec, weights=facts))
    with Site() as site:
        site.files[urlsplit(facts.url).path] = body
        fetched = fetching.fetch(facts.fetch_name, tmp_path, mirror=site.url + "/")
    assert fetched.read_bytes() == body
    assert fetching.files_of(facts.fetch_name, tmp_path) == (fetched,)
    assert fetching.size_of(facts.fetch_name) == 2_000


def test_an_unknown_thing_lists_the_known_ones(tmp_path):
    with pytest.raises(
        UserError, match="'imagenet' cannot be fetched; known: coco, published, sam, mae, dinov2-"
    ):
        fetching.fetch("imagenet", tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("quick", None),
        ("photos", None),
        ("paper-sam", "sam"),
        ("dinov2", "dinov2-small"),
        ("published-mae", "published"),
    ],
)
def test_a_profile_says_which_weights_it_needs(name, what):
    assert fetching.weights_of(profile(name)) == what
