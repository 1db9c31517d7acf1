"""Downloads: resumed, checked, never half there; archives that cannot write where they like."""

import hashlib
import io
import resource
import stat
import zipfile
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from la.data import download, transfer
from la.data.transfer import Remote
from la.errors import UserError
from la.rng import stream
from tests.file_server import Site


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr(
        "huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000
    )  # kept or lost whole
    with Site() as site:
        yield site


def _bytes(size: int, seed: int = 0) -> bytes:
    return stream(seed, "file", size).bytes(size)


def _remote(site: Site, body: bytes, path: str = "/a/file.bin") -> Remote:
    site.files[path] = body
    return Remote(site.url + path, len(body), f"sha256:{hashlib.sha256(body).hexdigest()}")


def _zip(entries: dict[str, bytes], *, link: str = "") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, body in entries.items():
            info = zipfile.ZipInfo(name)
            if name == link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            zipped.writestr(info, body)
    return held.getvalue()


def _names(folder) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_connection_that_breaks_twice_is_resumed_where_it_broke(site, tmp_path):
    body = _bytes(100_000)
    remote = _remote(site, body)
    site.breaks["/a/file.bin"] = 2
    path = transfer.download(remote, tmp_path / "file.bin")
    assert path.read_bytes() == body
    assert [first for _, first in site.log] == [0, 40_000, 64_000]
    assert _names(tmp_path) == ["file.bin"]


def test_a_part_left_by_an_earlier_run_is_completed_not_fetched_again(site, tmp_path):
    body = _bytes(5_000)
    (tmp_path / "file.bin.part").write_bytes(body[:3_000])
    transfer.download(_remote(site, body), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == body
    assert site.log == [("/a/file.bin", 3_000)]


def test_a_server_that_cannot_resume_is_read_from_the_start(site, tmp_path):
    body = _bytes(5_000)
    site.ranges = False
    (tmp_path / "file.bin.part").write_bytes(b"x" * 3_000)
    transfer.download(_remote(site, body), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == body


def test_one_corrupt_answer_is_downloaded_again_and_two_raise(site, tmp_path):
    body = _bytes(5_000)
    remote = _remote(site, body)
    site.corrupt["/a/file.bin"] = 1
    assert transfer.download(remote, tmp_path / "one").read_bytes() == body
    site.corrupt["/a/file.bin"] = 2
    with pytest.raises(
        ValueError, match="has the sha256 .* and the published file .*twice; try later"
    ):
        transfer.download(remote, tmp_path / "two")
    assert _names(tmp_path) == ["one"]


def test_a_connection_that_brings_nothing_is_given_up_and_its_part_kept(site, tmp_path):
    body = _bytes(5_000)
    remote = _remote(site, body)
    site.breaks["/a/file.bin"] = 100
    with pytest.raises(
        ConnectionError, match="stopped at 3000 of 5000 bytes .*run the same command"
    ):
        transfer.download(remote, tmp_path / "file.bin")
    assert _names(tmp_path) == ["file.bin.part"]
    site.breaks.clear()
    assert transfer.download(remote, tmp_path / "file.bin").read_bytes() == body


def test_what_the_server_lacks_or_has_in_another_size_is_said(site, tmp_path):
    remote = _remote(site, _bytes(1_000))
    absent = replace(remote, url=site.url + "/nothing")
    with pytest.raises(
        ConnectionError, match="/nothing could not be downloaded; .*404.*name a --mirror"
    ):
        transfer.download(absent, tmp_path / "f")
    for size in (999, 1_001):
        with pytest.raises(ConnectionError, match=f"should be of size {size} but has size 1000"):
            transfer.download(replace(remote, size=size), tmp_path / "f")
    with pytest.raises(ValueError, match="'file:///tmp' is not an address; give one like https"):
        transfer.download(remote, tmp_path / "f", mirror="file:///tmp")
    assert not (tmp_path / "f").exists()
    assert transfer.download(remote, tmp_path / "f").stat().st_size == 1_000


def test_a_file_that_is_there_is_checked_and_not_fetched(site, tmp_path):
    body = _bytes(1_000)
    remote = _remote(site, body)
    (tmp_path / "good").write_bytes(body)
    (tmp_path / "bad").write_bytes(_bytes(1_000, seed=1))
    assert transfer.download(remote, tmp_path / "good") == tmp_path / "good"
    with pytest.raises(ValueError, match="bad has the sha256 .*delete it and fetch it again"):
        transfer.download(remote, tmp_path / "bad")
    assert site.log == []


def test_a_disk_without_room_is_noticed_before_the_first_byte(site, tmp_path):
    remote = replace(_remote(site, b"x"), size=10**18)
    with pytest.raises(OSError, match=r"needs 1000000000.0 GB and has .* GB free; make room"):
        transfer.download(remote, tmp_path / "f")
    assert site.log == []


def test_a_disk_that_fills_up_is_named_and_leaves_no_file(site, tmp_path, monkeypatch):
    body = _bytes(5_000)
    remote, archive = _remote(site, body), tmp_path / "a.zip"
    archive.write_bytes(_zip({"a/1.jpg": body}))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*/f\.part"):
            transfer.download(remote, tmp_path / "f")
        with pytest.raises(OSError, match=r"File too large: .*/a/1\.jpg\.part"):
            transfer.unpack(archive, tmp_path, r".*\.jpg")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "f").exists() and not (tmp_path / "a/1.jpg").exists()
    assert transfer.download(remote, tmp_path / "f").read_bytes() == body
    transfer.unpack(archive, tmp_path, r".*\.jpg")
    assert (tmp_path / "a/1.jpg").read_bytes() == body


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:/evil", "..\\evil", "a/..\\..\\evil"]
)
def test_an_archive_with_an_entry_outside_its_folder_is_not_unpacked(name, tmp_path):
    archive = tmp_path / "in" / "a.zip"
    archive.parent.mkdir()
    archive.write_bytes(_zip({"a/1.jpg": b"one", name: b"evil"}))
    with pytest.raises(ValueError, match="points outside the folder; delete the archive"):
        transfer.unpack(archive, tmp_path / "to" / "here", ".*")
    assert _names(tmp_path) == ["in/a.zip"]


def test_a_link_in_an_archive_becomes_a_plain_file(tmp_path):
    archive = tmp_path / "a.zip"
    archive.write_bytes(_zip({"a/1.jpg": b"/etc/passwd"}, link="a/1.jpg"))
    transfer.unpack(archive, tmp_path, ".*")
    assert not (tmp_path / "a/1.jpg").is_symlink()
    assert (tmp_path / "a/1.jpg").read_bytes() == b"/etc/passwd"


@pytest.mark.parametrize("damage", ["cut", "flip", "no zip"])
def test_a_damaged_archive_raises_and_leaves_no_damaged_file(damage, tmp_path):
    entries = {f"a/{i}.jpg": _bytes(3_000, seed=i) for i in range(3)}
    body = bytearray(_zip(entries))
    if damage == "cut":
        del body[len(body) // 2 :]
    elif damage == "flip":
        body[len(body) // 2] ^= 255
    else:
        body[:] = b"nonsense"
    (tmp_path / "a.zip").write_bytes(body)
    with pytest.raises(ValueError, match="not a complete archive .*delete it and fetch it again"):
        transfer.unpack(tmp_path / "a.zip", tmp_path / "to", r"a/.*\.jpg")
    for path in (tmp_path / "to").rglob("*.jpg"):
        assert path.read_bytes() == entries[f"a/{path.name}"]


@pytest.fixture
def coco(site, monkeypatch):
    """COCO in small, under the publisher's paths: what each archive unpacks to."""
    held = {
        "annotations": {
            "annotations/instances_train2014.json": b"{}",
            "annotations/instances_val2014.json": b"{}",
            "annotations/captions_train2014.json": b"not wanted",
        }
    }
    for seed, name in enumerate(("train2014", "val2014", "train2017", "val2017")):
        held[name] = {f"{name}/{i}.jpg": _bytes(20_000, seed * 100 + i) for i in range(seed + 2)}
    for name, entries in held.items():
        body, remote = _zip(entries), download.FILES[name]
        site.files[urlsplit(remote.url).path] = body
        small = {"size": len(body), "checksum": f"md5:{hashlib.md5(body).hexdigest()}"}
        files = 2 if name == "annotations" else len(entries)
        monkeypatch.setitem(download.FILES, name, replace(remote, files=files, **small))
    return held


def test_coco_from_an_empty_folder_over_a_bad_line_is_complete(site, coco, tmp_path):
    site.breaks["/zips/train2014.zip"] = 2
    site.corrupt["/zips/val2014.zip"] = 1
    root = tmp_path / "coco"
    assert download.coco_missing(root) == ("annotations", "train2014", "val2014")
    assert download.fetch("coco", root, mirror=site.url) == root
    assert download.coco_missing(root) == () and download.coco_bytes(root) == 0
    wanted = coco["annotations"] | coco["train2014"] | coco["val2014"]
    del wanted["annotations/captions_train2014.json"]
    assert _names(root) == sorted(wanted)
    assert all((root / name).read_bytes() == body for name, body in wanted.items())
    n_requests = len(site.log)
    download.fetch("coco", root, mirror=site.url)
    assert len(site.log) == n_requests


def test_images_of_2017_zipped_or_unpacked_are_used(site, coco, tmp_path):
    (tmp_path / "train2017.zip").write_bytes(site.files["/zips/train2017.zip"])
    for name, body in coco["val2017"].items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    assert download.coco_missing(tmp_path) == ("annotations", "train2017")
    download.fetch("coco", tmp_path, mirror=site.url)
    assert download.coco_missing(tmp_path) == ()
    assert {path for path, _ in site.log} == {"/annotations/annotations_trainval2014.zip"}
    assert (tmp_path / "train2017.zip").exists(), "an archive that was there is left there"


def test_unpacking_resumes_after_a_kill_and_completes_what_was_cut(site, coco, tmp_path):
    first, second = list(coco["val2014"])[:2]
    (tmp_path / "val2014").mkdir()
    (tmp_path / first).write_bytes(coco["val2014"][first][:100])
    (tmp_path / f"{second}.part").write_bytes(b"half")
    download.fetch("coco", tmp_path, mirror=site.url)
    assert all((tmp_path / n).read_bytes() == body for n, body in coco["val2014"].items())
    assert not list(tmp_path.rglob("*.part"))


def test_an_archive_with_too_few_images_is_said_so(site, coco, tmp_path):
    (tmp_path / "val2014.zip").write_bytes(_zip({"val2014/1.jpg": b"one"}))
    with pytest.raises(ValueError, match="val2014.zip does not hold the 3 files of val2014"):
        download.fetch("coco", tmp_path, mirror=site.url)


def test_an_unknown_thing_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="'imagenet' is unknown; fetch coco or published"):
        download.fetch("imagenet", tmp_path)


@pytest.fixture
def models(site):
    """Stand-ins for the authors' four models on the hub: (config.json, model.safetensors) each."""
    held = []
    for fold, model_id in enumerate(download.PUBLISHED):
        files = {"config.json": b"{}" * (fold + 1), "model.safetensors": _bytes(20_000, seed=fold)}
        site.publish(model_id, f"c{fold}" * 20, files)
        held.append(files)
    return held


def test_the_four_published_folds_are_fetched_once_each_at_one_commit(site, models, tmp_path):
    weights = "/pasqualedem/label_anything_coco_fold2_mae_2pnppb7k/resolve/" + "c2" * 20
    site.breaks[weights + "/model.safetensors"] = 2
    site.corrupt["/" + download.PUBLISHED[3] + "/resolve/" + "c3" * 20 + "/model.safetensors"] = 1
    assert download.fetch("published", tmp_path, mirror=site.url) == tmp_path
    for fold, files in enumerate(models):
        folder = download.published_folder(tmp_path, fold)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
        assert download.published_model(tmp_path, fold).read_bytes() == files["model.safetensors"]
    asked = [(path.split("/")[2][-8:], path.split("/")[4], first) for path, first in site.log]
    assert asked == [
        ("7a5p0t63", "c0" * 20, 0), ("7a5p0t63", "c0" * 20, 0),
        ("coh54ws0", "c1" * 20, 0), ("coh54ws0", "c1" * 20, 0),
        ("2pnppb7k", "c2" * 20, 0),
        ("2pnppb7k", "c2" * 20, 0), ("2pnppb7k", "c2" * 20, 8_000), ("2pnppb7k", "c2" * 20, 12_000),
        ("a2gk7tet", "c3" * 20, 0), ("a2gk7tet", "c3" * 20, 0), ("a2gk7tet", "c3" * 20, 0),
    ]  # fmt: skip
    download.fetch("published", tmp_path, mirror=site.url)
    assert len(site.log) == len(asked), "what is there is not fetched again"


def test_a_published_model_cut_short_is_resumed_and_a_wrong_one_raises(site, models, tmp_path):
    folder = download.published_folder(tmp_path, 1)
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").write_bytes(models[1]["model.safetensors"][:15_000])
    download.fetch("published", tmp_path, mirror=site.url)
    path = f"/{download.PUBLISHED[1]}/resolve/{'c1' * 20}/model.safetensors"
    assert site.log[3] == (path, 15_000)
    assert (folder / "model.safetensors").read_bytes() == models[1]["model.safetensors"]
    (folder / "model.safetensors").unlink()
    site.corrupt[path] = 2
    with pytest.raises(UserError, match="has the sha256 .* and the published file"):
        download.fetch("published", tmp_path, mirror=site.url)


def test_a_hub_that_lacks_a_model_is_one_sentence_with_the_command_that_gets_it(site, tmp_path):
    with pytest.raises(ConnectionError, match=(
        r"7a5p0t63 could not be downloaded from http://127.*404.*; try again later, or run: "
        r"hf download pasqualedem/.*_7a5p0t63 config.json model.safetensors --local-dir .*fold0"
    )):  # fmt: skip
        download.fetch("published", tmp_path, mirror=site.url)
