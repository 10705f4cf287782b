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

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from dept_vl.untrusted.images import open_image
from dept_vl.untrusted.whole_files import write_whole
from dept_vl.vision import store as stores
from dept_vl.vision.batches import UnstorableFeatures
from dept_vl.vision.clip import FrozenClip
from dept_vl.vision.features import FeatureStore, MissingFeatures
from dept_vl.vision.shards import DamagedStore, ShardIndex, StoreFacts, open_shard, read_facts, shard_name, write_shard
from dept_vl.vision.store import UnreadableImages, describe, extract

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


def shards_of(folder):
    return sorted(folder.glob("*/*.safetensors"))


def rows_of(folder):
    """The rows of every shard, as its header says."""
    found = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as handle:
            found += json.loads(handle.metadata()["share"])["rows"]
    return found


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


def test_another_list_extracts_what_is_missing_alone(clip, make_images, tmp_path, count_images):
    images = make_images(9)
    keys = list(images)
    first = extract(clip, {key: images[key] for key in keys[2:7]}, tmp_path / "store", shard_size=2)
    before = files_of(first)
    fewer = extract(clip, {key: images[key] for key in keys[3:5]}, tmp_path / "store")
    assert count_images["images"] == 5 and files_of(fewer) == before and list(fewer.keys) == keys[3:5]
    whole = extract(clip, images, tmp_path / "store", shard_size=2)
    assert count_images["images"] == 9 and whole.folder == first.folder and list(whole.keys) == keys
    assert before.items() <= files_of(whole).items()
    assert torch.equal(whole.gather(first.keys), first.gather(first.keys))
    table, rows = first.resident()
    assert len(table) == 5 and torch.equal(table[[rows[key] for key in first.keys]], whole.gather(first.keys))


def test_an_image_is_known_by_its_bytes_not_by_its_name(clip, make_images, tmp_path, count_images):
    images = make_images(3)
    first = extract(clip, images, tmp_path / "store")
    renamed = {f"{number}.jpg": path for number, path in enumerate(reversed(images.values()))}
    renamed["again.jpg"] = images["000.png"]
    second = extract(clip, renamed, tmp_path / "store")
    assert count_images["images"] == 3 and files_of(second) == files_of(first) and len(second) == 4
    assert torch.equal(second.gather(["2.jpg", "again.jpg", "0.jpg"]), first.gather(["000.png", "000.png", "002.png"]))
    table, rows = second.resident()
    assert len(table) == 3 and rows["2.jpg"] == rows["again.jpg"]


def test_a_moved_clip_and_moved_images_find_the_same_store(clip, copy_clip, make_images, tmp_path, count_images):
    store = extract(clip, make_images(3), tmp_path / "store")
    moved = FrozenClip.load(copy_clip(), layer=-2, pooling="stack", resize="squash")
    assert extract(moved, make_images(3, folder="elsewhere"), tmp_path / "store").folder == store.folder
    assert count_images["images"] == 3


def test_any_change_of_what_features_are_made_of_gives_another_store(clip, load_clip, copy_clip, make_images, tmp_path):
    def scale(tensors):
        tensors["visual.layer3.0.conv1.weight"] *= 1.01

    clips = [
        clip,
        load_clip("resnet", layer=4, pooling="none"),
        load_clip("resnet", layer=3, pooling="none"),
        load_clip("resnet", layer=3, pooling="max", pool_size=3),
        load_clip("resnet", layer=3, pooling="max", pool_size=2),
        load_clip("resnet", layer=3, pooling="avg", pool_size=2),
        load_clip("resnet", layer=[3, 4], pooling="avg", pool_size=2),
        load_clip("resnet", layer=[4, 3], pooling="avg", pool_size=2),
        load_clip("resnet", layer=[3, 4], pooling="avg", pool_size=2, joined="tokens"),
        load_clip("resnet", layer=3, pooling="stack", resize="model"),
        load_clip("resnet", layer=3, pooling="stack", dtype="bfloat16"),
        load_clip("vit"),
        FrozenClip.load(copy_clip(weights=scale), layer=3, pooling="stack", resize="squash"),
    ]
    addresses = [describe(each, "float16").address for each in clips]
    addresses.append(describe(clip, "bfloat16").address)
    assert len(set(addresses)) == len(addresses) == 14
    images = make_images(2)
    folders = {extract(each, images, tmp_path / "store").folder for each in clips[:3]}
    assert {folder.name for folder in folders} == {address[:20] for address in addresses[:3]}


def test_a_changed_image_is_noticed_although_its_size_and_time_stamp_are_kept(clip, tmp_path, count_images):
    path = tmp_path / "x.bmp"
    images = {"x": path}

    def paint(colour):
        Image.new("RGB", (8, 8), colour).save(path)
        os.utime(path, (1e9, 1e9))

    paint("red")
    red = extract(clip, images, tmp_path / "store").gather(["x"])
    assert torch.equal(extract(clip, images, tmp_path / "store").gather(["x"]), red)
    paint("blue")
    assert not torch.equal(extract(clip, images, tmp_path / "store").gather(["x"]), red)
    assert count_images["images"] == 2


def test_hashes_of_settled_files_are_remembered(clip, make_images, tmp_path, monkeypatch):
    images = make_images(2)
    monkeypatch.setattr("dept_vl.vision.hashes._SETTLED_NS", 0)
    store = extract(clip, images, tmp_path / "store")
    monkeypatch.setattr("hashlib.file_digest", lambda *arguments: pytest.fail("read an image again"))
    assert extract(clip, images, tmp_path / "store").keys == store.keys
    (tmp_path / "store/hashes.json").write_text('{"cut')
    monkeypatch.undo()
    assert extract(clip, images, tmp_path / "store").keys == store.keys


def test_what_an_older_format_left_beside_the_stores_is_left_alone(clip, make_images, tmp_path):
    old = tmp_path / "store" / "6f19f529d43f84d8a84a"
    old.mkdir(parents=True)
    (old / "manifest.json").write_text("{}")
    (old / "0-4.safetensors").write_bytes(b"old")
    store = extract(clip, make_images(2), tmp_path / "store")
    assert store.folder != old and len(list(old.iterdir())) == 2


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
    assert len(shards_of(tmp_path / "store")) == 1
    assert len(FeatureStore.open(tmp_path / "store" / whole.folder.name)) == 4  # it opens, and holds what was published
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
    while len(shards_of(tmp_path / "store")) < 2:
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    finished = shards_of(tmp_path / "store")
    assert process.exitcode == -signal.SIGKILL and 2 <= len(finished) < 6
    count_images["images"] = 0
    store = extract(clip, images, tmp_path / "store", batch_size=1, shard_size=2)
    assert count_images["images"] == 12 - 2 * len(finished)
    assert {name: data for name, data in files_of(store).items() if name[0] != "."} == files_of(whole)


def test_what_a_killed_writer_left_is_removed(clip, make_images, tmp_path):
    images = make_images(2)
    folder = extract(clip, images, tmp_path / "store").folder
    left, at_work = folder / ".0-2.safetensors.1.a.tmp", folder / ".0-2.safetensors.2.b.tmp"
    left.write_bytes(b"half")
    at_work.write_bytes(b"half")
    with at_work.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        extract(clip, make_images(3), tmp_path / "store")
    assert at_work.exists() and not left.exists()


def test_several_runs_may_extract_into_one_store_at_once(clip, make_images, tmp_path):
    images = make_images(12)
    keys = list(images)
    whole = extract(clip, images, tmp_path / "whole", batch_size=2, shard_size=3)

    def extract_too(keys, shard_size):
        torch.set_num_threads(1)
        extract(clip, {key: images[key] for key in keys}, tmp_path / "store", batch_size=2, shard_size=shard_size)

    lists = (keys, 3), (keys, 3), (keys[:9], 5), (keys[4:], 2)
    processes = [FORK.Process(target=extract_too, args=each) for each in lists]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    store = extract(clip, images, tmp_path / "store")
    torch.testing.assert_close(store.gather(whole.keys), whole.gather(whole.keys), rtol=2**-10, atol=1e-4)
    assert not list(store.folder.glob(".*.tmp"))


def test_a_run_leaves_out_what_another_has_published_meanwhile(clip, make_images, tmp_path, monkeypatch):
    images, run, batches = make_images(9), FrozenClip.grid, []

    def grid(clip, pixels):
        batches.append(len(pixels))
        if len(batches) == 1:  # another run makes all of it while this one is at its first batch
            extract(clip, images, tmp_path / "store", batch_size=3, shard_size=9)
        return run(clip, pixels)

    monkeypatch.setattr(FrozenClip, "grid", grid)
    store = extract(clip, images, tmp_path / "store", batch_size=3, shard_size=3)
    assert batches == [3, 3, 3, 3]  # one of this run, three of the other
    assert len(rows_of(store.folder)) == len(set(rows_of(store.folder))) == 9


def test_what_another_run_published_for_a_process_is_found(clip, make_images, tmp_path):
    """The second process of this run has nothing to tell of, since another run made its shards meanwhile."""
    images, calls = make_images(10), []

    def gather(each):
        calls.append(each)
        if len(calls) != 2:
            return [each, each]
        extract(clip, images, tmp_path / "store", batch_size=2, shard_size=3)
        return [each, ([], {})]

    store = extract(clip, images, tmp_path / "store", batch_size=2, shard_size=3, rank=0, world=2, gather=gather)
    assert len(calls) == 3 and sorted(store.keys) == sorted(images)


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

    def note(folder, features, rows, facts):
        made.append((threading.current_thread().name, shard_name(rows)))
        return write_shard(folder, features, rows, facts)

    monkeypatch.setattr("dept_vl.vision.store.write_shard", note)
    first = extract_together(2, clip, make_images(10), tmp_path / "store", batch_size=2, shard_size=3)[0]
    rows = sorted(rows_of(first.folder))
    wanted = [shard_name(rows[start : start + 3]) for start in range(0, 10, 3)]
    shares = [[name for who, name in made if who == each] for each in sorted({who for who, _ in made})]
    assert sorted(shares) == sorted([wanted[::2], wanted[1::2]])


def test_a_run_of_any_number_of_processes_goes_on_where_one_of_several_was_killed(
    clip, make_images, tmp_path, count_images
):
    images = make_images(12)
    whole = extract(clip, images, tmp_path / "whole", batch_size=2, shard_size=2)
    for world in (1, 2, 3):
        folder = tmp_path / f"then_{world}"
        count_images.update(images=0, limit=4)
        ended = extract_together(2, clip, images, folder, batch_size=2, shard_size=2)
        assert any(isinstance(each, Killed) for each in ended)
        finished = len(shards_of(folder))
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
        images[key].write_bytes(images[key].read_bytes()[:60] + key.encode())
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
    assert count_images["images"] == 13  # what could be read is kept


def test_unreadable_images_can_be_reported_instead(clip, half_readable, tmp_path):
    for _ in range(2):
        with pytest.warns(UserWarning, match="14 of 27 images are unreadable and not in the feature store"):
            store = extract(clip, half_readable, tmp_path / "store", shard_size=1, on_unreadable="report")
    readable = sorted(half_readable)[1:-1:2]
    assert list(store.keys) == readable and len(store) == 13
    assert set(store.unreadable) == set(half_readable) - set(readable)
    assert "there is none" in store.unreadable["zz-missing.png"]
    slack = {"rtol": 2**-10, "atol": 1e-4}
    wanted = direct(clip, half_readable, readable)
    torch.testing.assert_close(store.gather(readable).float(), wanted, **slack)
    table, rows = store.resident()
    torch.testing.assert_close(table[[rows[key] for key in readable]].float(), wanted, **slack)
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
    assert torch.equal(store.gather(store.keys), table[[rows[key] for key in store.keys]])
    assert table.shape == (7, 9, 1024)
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


def test_a_store_is_read_lazily(tmp_path):
    """One row of a shard of 60 MB takes no 60 MB of memory."""
    rows, facts = [f"{row:064x}" for row in range(3400)], StoreFacts("0" * 64, "float16", 9, 1024, {})
    name = write_shard(tmp_path, torch.zeros(len(rows), 9, 1024, dtype=torch.float16), rows, facts)
    size = (tmp_path / name).stat().st_size

    def resident_bytes():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    lazy = FeatureStore(tmp_path, facts, ShardIndex(tmp_path, facts).places)
    before = resident_bytes()
    lazy.gather([rows[5], rows[3000]])
    assert resident_bytes() - before < 10e6 < size


@pytest.mark.parametrize("damage", ["cut", "missing", "swapped", "foreign"])
def test_a_damaged_shard_is_named_and_what_it_held_is_made_anew(
    clip, store, tmp_path, make_images, count_images, damage
):
    wanted = store.gather(store.keys)
    other, shard, _ = shards_of(tmp_path / "store")
    rows = len(open_shard(shard, store.facts)[1].rows)
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-10])
    elif damage == "missing":
        shard.unlink()
    elif damage == "swapped":
        shard.write_bytes(other.read_bytes())
    else:
        shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DamagedStore, match=rf"shard .*{shard.name}.* extract again"):
        pickle.loads(pickle.dumps(store)).gather(store.keys)  # as another process, which has opened none
    count_images["images"] = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = extract(clip, make_images(7), tmp_path / "store", shard_size=3)
    assert [shard.name in str(each.message) for each in caught] == [True] * (damage != "missing")
    assert count_images["images"] == rows
    assert torch.equal(again.gather(again.keys), wanted)
    assert not ShardIndex(store.folder, store.facts).damaged


def test_a_damaged_shard_that_no_run_needs_is_left(clip, store, tmp_path, make_images, count_images):
    broken = shards_of(tmp_path / "store")[0]
    rows = open_shard(broken, store.facts)[1].rows
    broken.write_bytes(broken.read_bytes()[:-10])
    left = [key for key, (number, _) in store._places.items() if number != 0]
    images = make_images(7)
    count_images["images"] = 0
    again = extract(clip, {key: images[key] for key in left}, tmp_path / "store")
    assert count_images["images"] == 0 and len(again) == 7 - len(rows)


def test_a_shard_cut_while_the_store_is_open_is_named(store, tmp_path):
    shard = shards_of(tmp_path / "store")[1]
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(DamagedStore, match=rf"{shard.name} is no whole file of features .*extract again"):
        store.gather(store.keys)


def test_a_description_cut_short_is_named_and_written_anew(clip, store, tmp_path, make_images):
    path = store.folder / "store.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(DamagedStore, match="store.json describes no feature store .*anew"):
        FeatureStore.open(store.folder)
    path.unlink()
    with pytest.raises(DamagedStore, match="wanted a feature store with its store.json, given none"):
        FeatureStore.open(store.folder)
    path.write_bytes(whole[:100])
    extract(clip, make_images(8), tmp_path / "store")
    assert path.read_bytes() == whole and len(FeatureStore.open(store.folder)) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch": None}, "got `null` - at `\\$.patch`"),
        ({"width": -1024}, ">= 1 - at `\\$.width`"),
        ({"dtype": "int8"}, "\\$.dtype"),
        ({"address": "../x"}, "\\$.address"),
        ({"identity": []}, "\\$.identity"),
    ],
)
def test_a_description_from_a_stranger_is_checked(store, changes, message):
    path = store.folder / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(DamagedStore, match=f"store.json describes no feature store .*{message}"):
        FeatureStore.open(store.folder)


def test_a_shard_of_another_shape_type_or_store_is_refused_before_anything_is_allocated(store, tmp_path):
    path = shards_of(tmp_path / "store")[0]
    for change in ({"patch": 10**9}, {"width": 512}, {"dtype": "bfloat16"}, {"address": "f" * 64}):
        facts = StoreFacts(**{field: getattr(store.facts, field) for field in StoreFacts.__struct_fields__} | change)
        with pytest.raises(DamagedStore, match=rf"{path.name}: wanted features \[.*given \["):
            open_shard(path, facts)
        assert not ShardIndex(store.folder, facts).places


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
    with pytest.raises(OSError, match=r"could not save [0-9a-f]{20}\.safetensors .* before is kept"):
        extract(clip, make_images(2), tmp_path / "store")
    [folder] = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    assert [path.name for path in folder.iterdir()] == ["store.json"]


def test_a_full_disk_leaves_the_older_file(tmp_path, no_file_over_20_kb):
    path = tmp_path / "store.json"
    write_whole(path, b"old")
    with pytest.raises(OSError, match=r"could not save store.json \(30,000 bytes\)"):
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
    with pytest.raises(UnstorableFeatures, match="'00[01].png': wanted finite numbers of torch.float16, .*bfloat16"):
        extract(clip, images, tmp_path / "store")
    assert extract(clip, images, tmp_path / "store", dtype="bfloat16").resident()[0].isfinite().all()


def test_progress_is_shown_only_when_asked(clip, make_images, tmp_path, capfd):
    extract(clip, make_images(3), tmp_path / "silent")
    assert capfd.readouterr() == ("", "")
    extract(clip, make_images(3), tmp_path / "shown", progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "image features: 100%" in err and "3/3" in err


def test_no_images_are_refused_before_anything_is_written(clip, tmp_path):
    with pytest.raises(ValueError, match="wanted at least one image, given none"):
        extract(clip, {}, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_description_says_what_the_features_are(clip, store):
    facts = read_facts(store.folder)
    assert facts.identity == clip.identity() and facts == store.facts
    assert (facts.patch, facts.width, facts.dtype) == (*store.shape, "float16")
    assert store.folder.name == facts.address[:20]


@pytest.mark.skipif(not REAL_IMAGES.exists(), reason="skipped: no ../shared")
def test_real_pictures_go_through(clip, tmp_path):
    images = {path.name: path for path in sorted(REAL_IMAGES.iterdir())[:24]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = extract(clip, images, tmp_path / "store", batch_size=8)
    keys = store.keys[3:7]
    torch.testing.assert_close(store.gather(keys).float(), direct(clip, images, keys), rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize(
    "share", ['{"rows": []}', '{"rows": 3, "sha256": "", "address": "a"}', "[]", '"x"',
              '{"rows": ["../x"], "sha256": "", "address": "a"}'],
)  # fmt: skip
def test_a_shard_whose_header_lacks_what_it_should_say_is_named(tmp_path, share):
    save_file({"features": torch.zeros(0, 2, 3).half()}, tmp_path / "x.safetensors", metadata={"share": share})
    with pytest.raises(DamagedStore, match=r"x\.safetensors is no whole file of features .*extract again"):
        open_shard(tmp_path / "x.safetensors", StoreFacts("0" * 64, "float16", 2, 3, {}))


def test_many_images_are_decoded_by_a_worker_a_core_to_the_same_features(clip, make_images, tmp_path, monkeypatch):
    images, asked = make_images(6), []
    plain = extract(clip, images, tmp_path / "plain")
    run = stores.run_tower
    monkeypatch.setattr(stores, "run_tower", lambda *given: asked.append(given[3]) or run(*given))
    monkeypatch.setattr(stores, "MANY", 6)
    monkeypatch.setattr(stores, "_cores", lambda: 2)
    many = extract(clip, images, tmp_path / "many", num_workers=None)
    few = extract(clip, make_images(5, "few", seed=1), tmp_path / "few", num_workers=None)
    assert asked == [2, 0] and files_of(many) == files_of(plain) and len(few) == 5
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none=False: "spawn")
    extract(clip, images, tmp_path / "spawned", num_workers=None)
    assert asked == [2, 0, 0]


def test_a_cpu_takes_few_images_at_a_time(clip, make_images, tmp_path, monkeypatch):
    sizes, grid = [], FrozenClip.grid
    monkeypatch.setattr(FrozenClip, "grid", lambda tower, pixels: sizes.append(len(pixels)) or grid(tower, pixels))
    rows, columns = clip.preprocess.size
    for place, (pixels, wanted) in enumerate([(2.5 * rows * columns, [2, 2, 1]), (1, [1] * 5)]):
        monkeypatch.setattr(stores, "CPU_PIXELS", int(pixels))
        extract(clip, make_images(5), tmp_path / str(place), batch_size=4)
        assert sizes == wanted
        sizes.clear()
