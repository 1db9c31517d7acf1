import json
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
from collections import namedtuple
from dataclasses import replace

import pytest
import torch

from la.data.feature_cache import features
from la.data.feature_cache.features import FeatureKey, FeatureStore
from la.data.feature_cache.packing import Float16
from la.files import PREFIX, atomic_write, claim, sweep

KEY = FeatureKey("tiny", "ab12", 96, "pad")
SHAPE = (5, 3, 2)


class Numbered:
    """A `FeatureStore` whose pictures are named by numbers."""

    def __init__(self, root, key):
        self.store = FeatureStore(root, key)
        self.folder = self.store.folder

    def missing(self, numbers):
        return [int(name) for name in self.store.missing(str(n) for n in numbers)]

    def write(self, numbers, load, encode, batch_size=8, progress=True):
        images = {str(n): n for n in numbers}
        self.store.write(images, load, encode, batch_size=batch_size, progress=progress)

    def read(self, numbers):
        return self.store.read([str(n) for n in numbers])


def load(image_id):
    return torch.full((3, 4, 4), float(image_id))


def encode(images):
    """(b, 5, 3, 2), channels last: each entry tells the image, the channel and the place."""
    grid = torch.arange(30.0).view(1, *SHAPE) / 7
    return (images[:, :1, :1, :1] + grid).contiguous(memory_format=torch.channels_last)


def expected(image_ids):
    return encode(torch.stack([load(i) for i in image_ids]))


def write(store, image_ids, **options):
    store.write(image_ids, load, encode, **{"batch_size": 3, "progress": False, **options})


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(features, "PART_IMAGES", 4)


def stored(store):
    """The ids of the images that have a file."""
    names = [path.name for path in store.folder.glob(f"[!.]*{Float16.suffix}")]
    return sorted(int(name.removesuffix(Float16.suffix)) for name in names)


def leftovers(store):
    return sorted(store.folder.glob(".*"))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_features_come_back_in_the_order_asked_for(tmp_path, small_parts, batch_size):
    store = Numbered(tmp_path, KEY)
    write(store, [7, 3, 11, 2, 5, 900, 4, 3], batch_size=batch_size)
    assert stored(store) == [2, 3, 4, 5, 7, 11, 900]
    for reader in (store, Numbered(tmp_path, KEY)):
        read = reader.read([900, 2, 2, 7])
        assert read.dtype == torch.float16 and read.shape == (4, *SHAPE)
        assert torch.equal(read, expected([900, 2, 2, 7]).half())
        assert reader.read([]).shape[0] == 0
    assert not leftovers(store)


def test_features_do_not_depend_on_what_else_was_missing(tmp_path):
    def rounds_by_size(images):  # as the kernels of a backbone do, only more
        return encode(images) * len(images)

    once, often = Numbered(tmp_path / "once", KEY), Numbered(tmp_path / "often", KEY)
    for store, parts in ((once, [range(10)]), (often, [[9], range(2, 5), range(10)])):
        for ids in parts:
            store.write(ids, load, rounds_by_size, batch_size=4, progress=False)
    assert torch.equal(once.read(range(10)), often.read(range(10)))


def test_the_disk_holds_half_of_float32(tmp_path, monkeypatch):
    def encode_large(images):
        return images[:, :1, :1, :1].expand(-1, 64, 16, 16)

    store = Numbered(tmp_path, KEY)
    store.write(range(50), load, encode_large, batch_size=8, progress=False)
    for path in store.folder.glob(f"*{Float16.suffix}"):
        assert path.stat().st_size == 64 * 16 * 16 * 2 + 4


def test_only_missing_images_are_computed(tmp_path):
    store = Numbered(tmp_path, KEY)
    write(store, [1, 2, 3])
    assert store.missing([5, 3, 4, 4]) == [5, 4]
    asked = set()
    store.write([1, 4, 3], lambda i: asked.add(i) or load(i), encode, progress=False)
    assert asked == {4}
    assert Numbered(tmp_path, KEY).missing([1, 2, 3, 4]) == []


def test_reading_what_is_not_there_names_the_image(tmp_path):
    store = Numbered(tmp_path, KEY)
    write(store, [1])
    with pytest.raises(ValueError, match="no features of picture 8, the first of 2; compute"):
        store.read([1, 8, 9])


@pytest.mark.parametrize(
    "change",
    [
        {"backbone": "sam_vit_b"},
        {"weights_sha256": "cd"},
        {"image_size": 480},
        {"resize": "squash"},
    ],
)
def test_another_key_is_another_folder(tmp_path, change):
    store, other = (Numbered(tmp_path, key) for key in (KEY, replace(KEY, **change)))
    assert store.folder != other.folder
    write(store, [1])
    assert other.missing([1]) == [1]
    written = json.loads((store.folder / "key.json").read_text())
    assert FeatureKey(**written) == KEY


def test_opening_writes_nothing_and_a_read_only_folder_can_be_read(tmp_path):
    Numbered(tmp_path / "none", KEY)
    assert not (tmp_path / "none").exists()


def test_a_disk_without_room_is_noticed_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 10**6, 10_000))
    seen = []
    store = Numbered(tmp_path, KEY)
    with pytest.raises(OSError, match=r"needs 0\.0 GB and has 0\.0 GB free; make room"):
        store.write(range(500), lambda i: seen.append(i) or load(i), encode, progress=False)
    assert len(seen) == 1  # to learn the size
    assert not stored(store) and not leftovers(store)


def test_a_disk_that_fills_up_leaves_whole_files_only(tmp_path, monkeypatch):
    store = Numbered(tmp_path, KEY)
    real, calls = features._checksum, []

    def fails_in_the_sixth_file(image_id, half):
        calls.append(image_id)
        if len(calls) == 6:
            raise OSError(28, "No space left on device")
        return real(image_id, half)

    monkeypatch.setattr(features, "_checksum", fails_in_the_sixth_file)
    with pytest.raises(OSError, match="No space left.*5.f16"):
        write(store, range(8))
    assert stored(store) == [0, 1, 2, 3, 4] and not leftovers(store)
    monkeypatch.undo()
    write(store, range(8))
    assert torch.equal(store.read(range(8)), expected(range(8)).half())


def test_a_batch_is_written_while_the_next_one_is_computed(tmp_path, monkeypatch):
    second_is_computed = threading.Event()
    real = features._checksum

    def waits(picture, half):
        assert picture != "0" or second_is_computed.wait(timeout=60)
        return real(picture, half)

    def encode_and_tell(images):
        if images[0, 0, 0, 0] == 1:
            second_is_computed.set()
        return encode(images)

    monkeypatch.setattr(features, "_checksum", waits)
    store = Numbered(tmp_path, KEY)
    store.write(range(3), load, encode_and_tell, batch_size=1, progress=False)
    assert torch.equal(store.read(range(3)), expected(range(3)).half())


@pytest.mark.parametrize("value", [1e6, float("inf"), float("nan")])
def test_what_half_precision_cannot_hold_raises_with_the_image(tmp_path, value):
    def encode_one_badly(images):
        found = encode(images)
        found[images[:, 0, 0, 0] == 3, 2, 1, 1] = value
        return found

    store = Numbered(tmp_path, KEY)
    with pytest.raises(ValueError, match="image 3: a feature is not finite in float16"):
        store.write(range(6), load, encode_one_badly, progress=False)
    assert stored(store) == [0, 1, 2] and not leftovers(store)


def test_large_features_of_many_places_are_finite(tmp_path):
    store = Numbered(tmp_path, KEY)
    store.write([1], load, lambda x: torch.full((1, 64, 32, 32), 6e4), progress=False)
    assert store.read([1]).max() == 6e4 - 6e4 % 32


@pytest.mark.parametrize("change", [lambda raw: raw[:-10], lambda raw: raw + b"0", lambda raw: b""])
def test_a_file_of_another_size_is_named_on_opening_and_remade(tmp_path, change, caplog):
    write(Numbered(tmp_path, KEY), range(8))
    victim = Numbered(tmp_path, KEY).folder / f"5{Float16.suffix}"
    victim.write_bytes(change(victim.read_bytes()))
    store = Numbered(tmp_path, KEY)
    assert f"{victim} is damaged" in caplog.text
    assert store.missing(range(8)) == [5]
    write(store, range(8))
    assert torch.equal(store.read(range(8)), expected(range(8)).half())


@pytest.mark.parametrize("position", [0, -5, -1], ids=["first", "last feature", "checksum"])
def test_a_flipped_bit_is_found_named_and_remade(tmp_path, position):
    write(Numbered(tmp_path, KEY), range(8))
    store = Numbered(tmp_path, KEY)
    victim = store.folder / f"5{Float16.suffix}"
    raw = bytearray(victim.read_bytes())
    raw[position] ^= 4
    victim.write_bytes(raw)
    with pytest.raises(ValueError, match=f"{victim.name} was damaged and is removed"):
        store.read(range(8))
    for reader in (store, Numbered(tmp_path, KEY)):
        assert reader.missing(range(8)) == [5]
    write(store, range(8))
    assert torch.equal(store.read(range(8)), expected(range(8)).half())


def test_a_file_under_another_images_name_is_noticed(tmp_path):
    store = Numbered(tmp_path, KEY)
    write(store, range(3))
    shutil.copyfile(store.folder / f"1{Float16.suffix}", store.folder / f"2{Float16.suffix}")
    with pytest.raises(ValueError, match=f"2{Float16.suffix} was damaged"):
        store.read([2])


FORK = multiprocessing.get_context("fork")


def writer(root, first, last, pause, begin=None, loads=None):
    """A process that writes range(first, last), pausing at each image, once `begin` is set."""

    def work():
        def slow_load(image_id):
            with loads.get_lock():
                loads.value += 1
            time.sleep(pause(image_id))
            return load(image_id)

        store = Numbered(root, KEY)
        begin.wait()
        store.write(range(first, last), slow_load, encode, batch_size=2, progress=False)
        os._exit(0 if store.missing(range(first, last)) == [] else 1)

    begin, loads = begin or FORK.Barrier(1), loads or FORK.Value("i")
    process = FORK.Process(target=work)
    process.start()
    return process


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)


def test_a_killed_writer_loses_at_most_its_batch(tmp_path, small_parts):
    store = Numbered(tmp_path, KEY)
    loads = FORK.Value("i")
    process = writer(tmp_path, 0, 40, lambda i: 0 if i < 12 else 60, loads=loads)
    wait_for(lambda: stored(store) == list(range(12)))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = Numbered(tmp_path, KEY)
    assert store.missing(range(40)) == list(range(12, 40))
    write(store, range(40))
    assert torch.equal(store.read(range(40)), expected(range(40)).half())
    assert not leftovers(store)


def test_writers_at_the_same_time_share_the_work(tmp_path, small_parts):
    begin, loads = FORK.Barrier(3), [FORK.Value("i") for _ in range(3)]
    running = [writer(tmp_path, 0, 60, lambda i: 0.005, begin, count) for count in loads]
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0, 0]
    counts = [count.value for count in loads]
    assert sum(counts) <= 60 + 3 and min(counts) > 4  # each looks at one image first
    store = Numbered(tmp_path, KEY)
    assert torch.equal(store.read(range(60)), expected(range(60)).half())
    assert not leftovers(store)


def test_writers_of_overlapping_lists_do_not_disturb_one_another(tmp_path, small_parts):
    begin = FORK.Barrier(2)
    running = [writer(tmp_path, *span, lambda i: 0.002, begin) for span in ((0, 30), (13, 40))]
    for process in running:
        process.join()
    assert [process.exitcode for process in running] == [0, 0]
    store = Numbered(tmp_path, KEY)
    assert torch.equal(store.read(range(40)), expected(range(40)).half())
    assert not leftovers(store)


def test_a_writer_takes_over_from_one_that_dies(tmp_path, small_parts):
    store = Numbered(tmp_path, KEY)
    process = writer(tmp_path, 0, 4, lambda i: 0.6)
    wait_for(lambda: any("claim" in path.name for path in leftovers(store)))
    threading.Timer(0.2, process.kill).start()
    write(store, range(4))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert store.missing(range(4)) == [] and not leftovers(store)


def test_what_is_being_written_is_not_swept_and_what_is_left_behind_is(tmp_path):
    left = tmp_path / f"{PREFIX}left"
    left.write_bytes(b"half")
    with atomic_write(tmp_path / "whole") as file:
        file.write(b"one")
        assert not left.exists()
        sweep(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        assert not (tmp_path / "whole").exists()
    assert (tmp_path / "whole").read_bytes() == b"one"
    with pytest.raises(RuntimeError, match="stop"), atomic_write(tmp_path / "whole") as file:
        file.write(b"two")
        raise RuntimeError("stop")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    assert (tmp_path / "whole").read_bytes() == b"one"


def test_of_those_that_wait_for_a_claim_one_at_a_time_has_it(tmp_path):
    holders, seen = [], []

    def work():
        for _ in range(40):
            with claim(tmp_path / "made", wait=True) as granted:
                holders.append(granted)
                time.sleep(0.0005)
                seen.append(holders.copy())
                holders.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [[True]] * 160 and not list(tmp_path.iterdir())


def test_a_store_is_sent_to_a_worker_process_without_its_features(tmp_path):
    store = FeatureStore(tmp_path, KEY)
    images = {f"{n}": n for n in range(20)}
    store.write(images, load, encode, progress=False)
    before = len(pickle.dumps(store))
    store.read([*images])
    sent = pickle.dumps(store)
    assert len(sent) == before
    assert torch.equal(pickle.loads(sent).read(["3"]), store.read(["3"]))
