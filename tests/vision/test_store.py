import fcntl
import json
import multiprocessing
import os
import pickle
import resource
import signal
import threading
import time
import warnings
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dept_vl.untrusted.images import open_image
from dept_vl.untrusted.whole_files import write_whole
from dept_vl.vision.batches import UnstorableFeatures
from dept_vl.vision.clip import FrozenClip
from dept_vl.vision.features import DamagedStore, MissingFeatures, open_shard, write_shard
from dept_vl.vision.store import FeatureStore, UnreadableImages, extract

FORK = multiprocessing.get_context("fork")
REAL_IMAGES = Path(__file__).resolve().parents[3] / "shared" / "realdata" / "coco_open" / "images"


class Killed(Exception):
    pass


@pytest.fixture
def clip(load_clip):
    return load_clip("resnet", layer=3, pooling="stack")


@pytest.fixture
def count_images(monkeypatch):
    """Counts the images that go through any CLIP; after `limit` of them the next batch raises Killed."""
    counted = {"images": 0, "limit": None}
    run = FrozenClip.grid

    def grid(clip, pixels):
        if counted["limit"] is not None and counted["images"] >= counted["limit"]:
            raise Killed
        counted["images"] += len(pixels)
        return run(clip, pixels)

    monkeypatch.setattr(FrozenClip, "grid", grid)
    return counted


def direct(clip, images, keys):
    return clip.grid(torch.stack([clip.preprocess(open_image(images[key])) for key in keys]))


def files_of(store):
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


@pytest.mark.parametrize("dtype, bits", [("float16", 11), ("bfloat16", 8)])
def test_stored_features_are_direct_features(clip, make_images, tmp_path, dtype, bits):
    images = make_images(7)
    store = extract(clip, images, tmp_path / "store", dtype=dtype, batch_size=3, shard_size=4)
    keys = list(reversed(store.keys))
    stored, wanted = store.gather(keys), direct(clip, images, keys)
    assert stored.dtype == getattr(torch, dtype) and stored.shape == (7, 9, 1024)
    # Rounding to `bits` bits moves a number by at most half of its last bit; fp16 has its least step
    # 2^-24 near zero. Batches of other sizes may sum in another order: 1e-5 of the largest.
    slack = wanted.abs() * 2.0**-bits + 2.0**-25 + 1e-5 * wanted.abs().max()
    assert ((stored.float() - wanted).abs() <= slack).all()


def test_a_store_is_found_again_without_running_clip(clip, make_images, tmp_path, count_images):
    images = make_images(5)
    first = extract(clip, images, tmp_path / "store", batch_size=2, shard_size=3)
    assert count_images["images"] == 5
    shuffled = dict(reversed(images.items()))
    again = extract(clip, shuffled, tmp_path / "store", batch_size=4, shard_size=2)
    assert count_images["images"] == 5 and again.folder == first.folder
    assert torch.equal(again.gather(first.keys), first.gather(first.keys))


def test_a_moved_clip_and_moved_images_find_the_same_store(clip, copy_clip, make_images, tmp_path, count_images):
    store = extract(clip, make_images(3), tmp_path / "store")
    moved = FrozenClip.load(copy_clip(), layer=-2, pooling="stack", resize="squash")
    assert extract(moved, make_images(3, folder="elsewhere"), tmp_path / "store").folder == store.folder
    assert count_images["images"] == 3


def test_any_change_of_what_features_are_made_of_gives_another_store(clip, load_clip, copy_clip, make_images, tmp_path):
    def scale(tensors):
        tensors["visual.layer3.0.conv1.weight"] *= 1.01

    images = make_images(2)
    clips = [
        clip,
        load_clip("resnet", layer=4, pooling="none"),
        load_clip("resnet", layer=3, pooling="none"),
        load_clip("resnet", layer=3, pooling="max", pool_size=3),
        load_clip("resnet", layer=3, pooling="max", pool_size=2),
        load_clip("resnet", layer=3, pooling="stack", resize="model"),
        load_clip("resnet", layer=3, pooling="stack", dtype="bfloat16"),
        load_clip("vit"),
        FrozenClip.load(copy_clip(weights=scale), layer=3, pooling="stack", resize="squash"),
    ]
    folders = [extract(each, images, tmp_path / "store").folder for each in clips]
    folders.append(extract(clip, images, tmp_path / "store", dtype="bfloat16").folder)
    folders.append(extract(clip, {"000.png": images["000.png"]}, tmp_path / "store").folder)
    folders.append(extract(clip, {"a": images["000.png"], "b": images["001.png"]}, tmp_path / "store").folder)
    Image.new("RGB", (9, 9), "red").save(images["001.png"])
    folders.append(extract(clip, images, tmp_path / "store").folder)
    assert len(set(folders)) == len(folders) == 13


def test_a_changed_image_is_noticed_although_its_size_and_time_stamp_are_kept(clip, tmp_path, count_images):
    path = tmp_path / "x.bmp"
    images = {"x": path}

    def paint(colour):
        Image.new("RGB", (8, 8), colour).save(path)
        os.utime(path, (1e9, 1e9))

    paint("red")
    first = extract(clip, images, tmp_path / "store")
    assert extract(clip, images, tmp_path / "store").folder == first.folder
    paint("blue")
    assert extract(clip, images, tmp_path / "store").folder != first.folder
    assert count_images["images"] == 2


def test_hashes_of_settled_files_are_remembered(clip, make_images, tmp_path, monkeypatch):
    images = make_images(2)
    monkeypatch.setattr("dept_vl.vision.hashes._SETTLED_NS", 0)
    store = extract(clip, images, tmp_path / "store")
    monkeypatch.setattr("hashlib.file_digest", lambda *arguments: pytest.fail("read an image again"))
    assert extract(clip, images, tmp_path / "store").folder == store.folder
    (tmp_path / "store/hashes.json").write_text('{"cut')
    monkeypatch.undo()
    assert extract(clip, images, tmp_path / "store").folder == store.folder


@pytest.mark.parametrize("num_workers", [0, 2])
def test_worker_processes_decode_to_the_same_files(clip, make_images, tmp_path, num_workers):
    images = make_images(5)
    alone = extract(clip, images, tmp_path / "alone", batch_size=2, shard_size=3)
    store = extract(clip, images, tmp_path / "store", batch_size=2, shard_size=3, num_workers=num_workers)
    assert files_of(store) == files_of(alone)


def test_extraction_does_not_move_the_random_stream(clip, make_images, tmp_path):
    state = torch.random.get_rng_state()
    extract(clip, make_images(2), tmp_path / "store")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_interrupted_extraction_goes_on_at_the_next_missing_shard(clip, make_images, tmp_path, count_images):
    images = make_images(10)
    whole = extract(clip, images, tmp_path / "whole", batch_size=2, shard_size=4)
    count_images.update(images=0, limit=6)
    with pytest.raises(Killed):
        extract(clip, images, tmp_path / "store", batch_size=2, shard_size=4)
    [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    assert [path.name for path in folder.iterdir()] == ["0-4.safetensors"]
    with pytest.raises(DamagedStore, match="wanted a feature store with its manifest.json.*run it again"):
        FeatureStore.open(folder)
    count_images.update(images=0, limit=None)
    store = extract(clip, images, tmp_path / "store", batch_size=2, shard_size=4)
    assert count_images["images"] == 6
    assert files_of(store) == files_of(whole)


def test_a_killed_extraction_goes_on_at_the_next_missing_shard(clip, make_images, tmp_path, monkeypatch, count_images):
    images = make_images(12)
    whole = extract(clip, images, tmp_path / "whole", batch_size=1, shard_size=2)

    def extract_slowly():
        torch.set_num_threads(1)
        run = FrozenClip.grid
        FrozenClip.grid = lambda clip, pixels: (time.sleep(0.05), run(clip, pixels))[1]
        extract(clip, images, tmp_path / "store", batch_size=1, shard_size=2)

    process = FORK.Process(target=extract_slowly)
    process.start()
    deadline = time.monotonic() + 60
    while len(finished := list((tmp_path / "store").glob("*/[0-9]*.safetensors"))) < 2:
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    finished = list((tmp_path / "store").glob("*/[0-9]*.safetensors"))
    assert process.exitcode == -signal.SIGKILL and 2 <= len(finished) < 6
    count_images["images"] = 0
    store = extract(clip, images, tmp_path / "store", batch_size=1, shard_size=2)
    assert count_images["images"] == 12 - 2 * len(finished)
    assert {name: data for name, data in files_of(store).items() if name[0] != "."} == files_of(whole)


def test_what_a_killed_writer_left_is_removed(clip, make_images, tmp_path):
    images = make_images(2)
    folder = extract(clip, images, tmp_path / "store").folder
    (folder / "manifest.json").unlink()
    left, at_work = folder / ".0-2.safetensors.1.a.tmp", folder / ".0-2.safetensors.2.b.tmp"
    left.write_bytes(b"half")
    at_work.write_bytes(b"half")
    with at_work.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        extract(clip, images, tmp_path / "store")
    assert at_work.exists() and not left.exists()


def test_two_processes_may_extract_the_same_list(clip, make_images, tmp_path):
    images = make_images(12)
    whole = extract(clip, images, tmp_path / "whole", batch_size=2, shard_size=3)

    def extract_too(shard_size):
        torch.set_num_threads(1)
        extract(clip, images, tmp_path / "store", batch_size=2, shard_size=shard_size)

    processes = [FORK.Process(target=extract_too, args=(size,)) for size in (3, 3, 5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = extract(clip, images, tmp_path / "store")
    torch.testing.assert_close(store.gather(whole.keys), whole.gather(whole.keys), rtol=2**-10, atol=1e-4)
    assert not list(store.folder.glob(".*.tmp"))


def extract_together(world, *arguments, **settings):
    """What each of `world` processes of one run, threads here, was given or refused."""
    meeting, given, ended = threading.Barrier(world), [None] * world, [None] * world

    def work(rank):
        def gather(each):
            given[rank] = each
            meeting.wait(60)
            everyone = list(given)
            meeting.wait(60)  # nobody gives more before all have read
            return everyone

        try:
            ended[rank] = extract(*arguments, **settings, rank=rank, world=world, gather=gather)
        except Exception as error:
            meeting.abort()  # a process that ends, as the others see it
            ended[rank] = error

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def test_the_processes_of_a_run_make_the_store_of_one(clip, make_images, tmp_path, count_images):
    images = make_images(10)
    whole = extract(clip, images, tmp_path / "whole", batch_size=2, shard_size=3)
    for world in (2, 3, 5):  # of 4 shards: the last process has none
        count_images.update(images=0)
        for again in range(2):
            stores = extract_together(world, clip, images, tmp_path / f"by_{world}", batch_size=2, shard_size=3)
            assert [files_of(store) for store in stores] == [files_of(whole)] * world
            assert count_images["images"] == 10, again


def test_each_process_of_a_run_makes_its_own_shards(clip, make_images, tmp_path, monkeypatch):
    made = []

    def note(path, *arguments):
        made.append((threading.current_thread().name, path.name))
        write_shard(path, *arguments)

    monkeypatch.setattr("dept_vl.vision.store.write_shard", note)
    extract_together(2, clip, make_images(10), tmp_path / "store", batch_size=2, shard_size=3)
    first, second = ({name for who, name in made if who == each} for each in sorted({who for who, _ in made}))
    shares = ["0-3.safetensors", "6-9.safetensors"], ["3-6.safetensors", "9-10.safetensors"]
    assert sorted([sorted(first), sorted(second)]) == sorted(shares) and len(made) == 4


def test_a_run_of_any_number_of_processes_goes_on_where_one_of_several_was_killed(
    clip, make_images, tmp_path, count_images
):
    images = make_images(12)
    whole = extract(clip, images, tmp_path / "whole", batch_size=2, shard_size=2)
    for world in (1, 2, 3):
        folder = tmp_path / f"then_{world}"
        count_images.update(images=0, limit=4)
        ended = extract_together(2, clip, images, folder, batch_size=2, shard_size=2)
        assert any(isinstance(each, Killed) for each in ended) and not list(folder.glob("*/manifest.json"))
        finished = len(list(folder.glob("*/*.safetensors")))
        assert 0 < finished < 6
        count_images.update(images=0, limit=None)
        stores = extract_together(world, clip, images, folder, batch_size=2, shard_size=2)
        assert count_images["images"] == 12 - 2 * finished
        assert [files_of(store) for store in stores] == [files_of(whole)] * world


def test_several_processes_tell_of_unreadable_images_once(clip, half_readable, tmp_path, monkeypatch):
    warned, sizes = [], {"batch_size": 4, "shard_size": 5}
    monkeypatch.setattr(warnings, "warn", lambda message, *_, **__: warned.append(message))  # no catcher knows threads
    first, *others = extract_together(3, clip, half_readable, tmp_path / "refused", **sizes)
    assert isinstance(first, UnreadableImages) and len(first.reasons) == 14
    assert all(isinstance(each, threading.BrokenBarrierError) for each in others)  # wait for one that has ended
    assert not warned
    told = extract_together(3, clip, half_readable, tmp_path / "told", **sizes, on_unreadable="report")
    [message] = warned
    assert message.startswith("14 of 27 images are unreadable and not in the feature store")
    alone = extract(clip, half_readable, tmp_path / "alone", **sizes, on_unreadable="report")
    assert [files_of(store) for store in told] == [files_of(alone)] * 3


@pytest.fixture
def half_readable(make_images, tmp_path):
    images = make_images(26)
    for key in list(images)[::2]:
        images[key].write_bytes(images[key].read_bytes()[:60])
    images["zz-missing.png"] = tmp_path / "images" / "zz-missing.png"
    return images


def test_unreadable_images_are_all_found_before_the_list_is_refused(clip, half_readable, tmp_path, count_images):
    for _ in range(2):
        with pytest.raises(UnreadableImages) as caught:
            extract(clip, half_readable, tmp_path / "store", batch_size=4, shard_size=5)
        message = str(caught.value)
        assert message.startswith("14 of 27 images are unreadable:\n  000.png: ")
        assert "wanted a whole image" in message and message.endswith("... and 4 more")
        assert message.count("\n") == 11 and len(caught.value.reasons) == 14
    assert not list((tmp_path / "store").glob("*/manifest.json"))


def test_unreadable_images_can_be_reported_instead(clip, half_readable, tmp_path):
    for _ in range(2):
        with pytest.warns(UserWarning, match="14 of 27 images are unreadable and not in the feature store"):
            store = extract(clip, half_readable, tmp_path / "store", shard_size=1, on_unreadable="report")
    readable = sorted(half_readable)[1:-1:2]
    assert list(store.keys) == readable and len(store) == 13
    assert set(store.unreadable) == set(half_readable) - set(readable)
    assert "there is none" in store.unreadable["zz-missing.png"]
    assert json.loads((store.folder / "manifest.json").read_text())["unreadable"] == store.unreadable
    slack = {"rtol": 2**-10, "atol": 1e-4}
    wanted = direct(clip, half_readable, readable)
    torch.testing.assert_close(store.gather(readable).float(), wanted, **slack)
    torch.testing.assert_close(store.resident()[0].float(), wanted, **slack)
    with pytest.raises(MissingFeatures, match="'000.png'. '000.png' was unreadable: .*wanted a whole image"):
        store.gather(["001.png", "000.png"])
    with pytest.raises(UnreadableImages, match="14 of 27"):
        extract(clip, half_readable, tmp_path / "store")


def test_a_list_without_one_readable_image_is_always_refused(clip, tmp_path):
    with pytest.raises(UnreadableImages, match="1 of 1 images are unreadable"):
        extract(clip, {"x": tmp_path / "none.jpg"}, tmp_path / "store", on_unreadable="report")


def test_an_image_that_could_not_be_read_is_tried_again(clip, make_images, tmp_path, monkeypatch):
    images = make_images(3)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.ImageFile.load", lambda image: (_ for _ in ()).throw(OSError("stale handle")))
        with pytest.raises(UnreadableImages, match="stale handle"):
            extract(clip, images, tmp_path / "store")
    assert len(extract(clip, images, tmp_path / "store")) == 3


@pytest.fixture
def store(clip, make_images, tmp_path):
    return extract(clip, make_images(7), tmp_path / "store", shard_size=3)


def test_gather_takes_any_order_and_repetition(store):
    table, rows = store.resident()
    keys = ["006.png", "000.png", "003.png", "000.png"]
    assert torch.equal(store.gather(keys), table[[rows[key] for key in keys]])
    assert torch.equal(store.gather(store.keys), table) and table.shape == (7, 9, 1024)
    assert store.gather([]).shape == (0, *store.shape) and len(store) == 7
    assert "006.png" in store and "007.png" not in store


def test_a_missing_key_is_named(store):
    with pytest.raises(MissingFeatures) as caught:
        store.gather(["006.png", "06.png", "x"])
    message = str(caught.value)
    assert message.startswith(f"2 of 3 images are not among the 7 of the feature store {store.folder}: '06.png', 'x'.")
    assert message.endswith("Did you mean '006.png'?")


def gather_in_worker(store, queue):
    queue.put(store.gather(store.keys).float().sum().item())


def test_a_store_works_in_worker_processes(store):
    wanted = store.gather(store.keys).float().sum().item()
    queue = FORK.Queue()
    workers = [FORK.Process(target=gather_in_worker, args=(store, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=60) for _ in workers] == [wanted, wanted]
    for worker in workers:
        worker.join()
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.gather(copy.keys), store.gather(store.keys))


def test_a_store_is_read_lazily(clip, store, tmp_path):
    """One row of a shard of 60 MB takes no 60 MB of memory."""
    manifest = msgspec.to_builtins(store.manifest)
    keys = [f"{row}" for row in range(3400)]
    big = tmp_path / "big"
    big.mkdir()
    path = big / "0-3400.safetensors"
    zeros = torch.zeros(len(keys), 9, 1024, dtype=torch.float16)
    write_shard(path, zeros, tuple(keys), {}, manifest["address"])
    size = path.stat().st_size
    manifest["shards"] = [{"file": path.name, "bytes": size, "keys": keys}]
    (big / "manifest.json").write_text(json.dumps(manifest))

    def resident_bytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    lazy = FeatureStore.open(big)
    before = resident_bytes()
    lazy.gather(["5", "3000"])
    assert resident_bytes() - before < 10e6 < size


@pytest.mark.parametrize("damage", ["cut", "missing", "swapped", "foreign"])
def test_a_damaged_shard_is_named_and_made_anew(clip, store, tmp_path, make_images, count_images, damage):
    wanted = store.gather(store.keys)
    shard, other = store.folder / "3-6.safetensors", store.folder / "0-3.safetensors"
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif damage == "missing":
        shard.unlink()
    elif damage == "swapped":
        shard.write_bytes(other.read_bytes())
    else:
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DamagedStore, match=r"shard .*3-6\.safetensors.* extract again"):
        FeatureStore.open(store.folder).gather(["004.png"])
    count_images["images"] = 0
    if damage in ("cut", "missing"):
        with pytest.warns(UserWarning, match="anew"):
            store = extract(clip, make_images(7), tmp_path / "store", shard_size=3)
    else:
        (store.folder / "manifest.json").unlink()
        shard.unlink()
        store = extract(clip, make_images(7), tmp_path / "store", shard_size=3)
    assert count_images["images"] == 3
    assert torch.equal(store.gather(store.keys), wanted)


def test_a_shard_cut_while_the_store_is_open_is_named(store):
    shard = store.folder / "3-6.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DamagedStore, match=r"3-6\.safetensors is no whole file of features .*delete .* extract again"):
        store.gather(["004.png"])


def test_a_manifest_cut_short_is_named(store):
    path = store.folder / "manifest.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedStore, match="manifest.json is no manifest of a feature store .*extract again"):
        FeatureStore.open(store.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": None}, "got `null` - at `\\$.patch`"),
        ({"width": -1024}, ">= 1 - at `\\$.width`"),
        ({"patch": 10**9}, "wanted 3 rows of 2,048,000,000,000 bytes, given"),
        ({"unreadable": [1]}, "\\$.unreadable"),
        (
            {"shards": [{"file": "../0-3.safetensors", "bytes": 10**6, "keys": []}]},
            "\\$.shards.0..file",
        ),
        ({"shards": [{"file": "/etc/passwd", "bytes": 10**6, "keys": []}]}, "\\$.shards.0..file"),
        ({"shards": [{"file": "0-3.safetensors", "bytes": "9", "keys": []}]}, "got `str` - at `\\$.shards.0..bytes"),
        (
            {"shards": [{"file": "0-3.safetensors", "bytes": 9, "keys": [3]}]},
            "got `int` - at `\\$.shards.0..keys.0.",
        ),
        ({"shards": [{"file": "..", "bytes": 0, "keys": []}]}, "\\$.shards.0..file"),
        ({"shards": [{"file": "0-3.safetensors", "bytes": 0, "keys": []}] * 2}, "each shard and each key once"),
        ({"shards": [{}]}, "missing required field `file`"),
    ],
)
def test_a_manifest_from_a_stranger_is_checked_before_anything_is_read_or_allocated(store, changes, message):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps(msgspec.to_builtins(store.manifest) | changes))
    with pytest.raises(DamagedStore, match=f"manifest.json is no manifest of a feature store .*{message}"):
        FeatureStore.open(store.folder)


@pytest.fixture
def no_file_over_20_kb():
    """The kernel refuses to let a file grow: the nearest a test comes to a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_nothing_half_written(clip, make_images, tmp_path, no_file_over_20_kb):
    with pytest.raises(OSError, match=r"could not save 0-2\.safetensors .* before is kept"):
        extract(clip, make_images(2), tmp_path / "store")
    [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    assert list(folder.iterdir()) == []


def test_a_full_disk_leaves_the_older_file(tmp_path, no_file_over_20_kb):
    path = tmp_path / "manifest.json"
    write_whole(path, b"old")
    with pytest.raises(OSError, match=r"could not save manifest.json \(30,000 bytes\)"):
        write_whole(path, bytes(30_000))
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_reader_keeps_the_file_it_opened_while_another_is_put_in_its_place(tmp_path):
    path = tmp_path / "0-2.safetensors"
    write_whole(path, b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_features_beyond_fp16_are_refused_and_named(copy_clip, make_images, tmp_path):
    def enlarge(tensors):
        tensors["visual.layer3.0.downsample.1.weight"] *= 1e6

    clip = FrozenClip.load(copy_clip(weights=enlarge), layer=3, pooling="none", resize="squash")
    images = make_images(2)
    with pytest.raises(UnstorableFeatures, match="'000.png': wanted finite numbers of torch.float16, .*bfloat16"):
        extract(clip, images, tmp_path / "store")
    assert extract(clip, images, tmp_path / "store", dtype="bfloat16").resident()[0].isfinite().all()


def test_progress_is_shown_only_when_asked(clip, make_images, tmp_path, capfd):
    extract(clip, make_images(3), tmp_path / "silent")
    assert capfd.readouterr() == ("", "")
    extract(clip, make_images(3), tmp_path / "shown", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "CLIP features: 100%" in err and "3/3" in err


def test_no_images_are_refused_before_anything_is_written(clip, tmp_path):
    with pytest.raises(ValueError, match="wanted at least one image, given none"):
        extract(clip, {}, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_manifest_says_what_the_features_are(clip, store):
    manifest = msgspec.to_builtins(store.manifest)
    assert manifest["identity"] == clip.identity()
    assert (manifest["patch"], manifest["width"], manifest["dtype"]) == (*store.shape, "float16")
    assert manifest["shards"][0]["keys"] == ["000.png", "001.png", "002.png"]


@pytest.mark.skipif(not REAL_IMAGES.exists(), reason="skipped: no ../shared")
def test_real_pictures_go_through(clip, tmp_path):
    images = {path.name: path for path in sorted(REAL_IMAGES.iterdir())[:24]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = extract(clip, images, tmp_path / "store", batch_size=8)
    keys = store.keys[3:7]
    torch.testing.assert_close(store.gather(keys).float(), direct(clip, images, keys), rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize(
    "share", ['{"keys": [], "unreadable": {}}', '{"keys": 3, "unreadable": {}, "address": "a"}', "[]", '"x"',
              '{"keys": [], "unreadable": {}, "address": 5}'],
)  # fmt: skip
def test_a_shard_whose_header_lacks_what_it_should_say_is_named(tmp_path, share):
    save_file({"features": torch.zeros(0, 2, 3)}, tmp_path / "0-1.safetensors", metadata={"share": share})
    with pytest.raises(DamagedStore, match=r"0-1\.safetensors is no whole file of features .*extract again"):
        open_shard(tmp_path / "0-1.safetensors", "a", (2, 3))
