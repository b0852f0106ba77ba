"""From a recipe to a data directory, and what stands in the way."""

import contextlib
import errno
import fcntl
import json
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mtmoe.config import recipe_from_dict
from mtmoe.data.prepared import encoding, preparation
from mtmoe.data.prepared.lexicon import learn_lexicon, load_lexicon
from mtmoe.data.prepared.preparation import HELD_OUT_TEST, open_prepared, prepare
from mtmoe.data.prepared.source_words import count_words, load_source_words
from mtmoe.data.subwords.sentencepiece_model import SubwordModel
from mtmoe.errors import UserError, Warned


def some_pairs(num_pairs, seed):
    generator = random.Random(seed)
    words = ["".join(generator.choices("abdeghiklmnorstuäöé", k=generator.randint(2, 7))) for _ in range(150)]
    sentence = lambda: " ".join(generator.choices(words, k=generator.randint(4, 9)))  # noqa: E731
    return [(sentence(), sentence()) for _ in range(num_pairs)]


class Workplace:
    """Text files, the recipe that names them, and a data directory."""

    def __init__(self, directory):
        self.directory = directory
        self.place = directory / "data"
        self.write("train", some_pairs(300, 1))
        self.write("valid", some_pairs(20, 2))
        self.write("test", some_pairs(15, 3))

    def write(self, name, pairs):
        for side, suffix in ((0, "de"), (1, "en")):
            text = "".join(pair[side] + "\n" for pair in pairs)
            (self.directory / f"{name}.{suffix}").write_bytes(text.encode("utf-8", "surrogateescape"))

    def source(self, name, /, **changes):
        return {
            "name": f"my-{name}",
            "format": "text",
            "source_file": {"path": str(self.directory / f"{name}.de")},
            "target_file": {"path": str(self.directory / f"{name}.en")},
        } | changes

    def recipe(self, *, subwords=(), seed=1, **data):
        data = {
            "source_language": "de",
            "target_language": "en",
            "train": [self.source("train")],
            "valid": [self.source("valid")],
            "test": [self.source("test")],
        } | data
        settings = {
            "name": "mine",
            "seed": seed,
            "data": data,
            "subwords": {"vocabulary_size": 350} | dict(subwords),
            "training": {"max_steps": 1},
        }
        return recipe_from_dict(settings, self.directory / "recipe.toml")

    def prepare(self, place=None, *, num_workers=1, **changes):
        return prepare(self.recipe(**changes), place or self.place, self.directory / "cache", num_workers=num_workers)


@pytest.fixture
def work(tmp_path):
    return Workplace(tmp_path)


def tree(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def pairs_of(corpus, model):
    return [(model.decode(corpus.source(i)), model.decode(corpus.target(i))) for i in range(len(corpus))]


# ----------------------------------------------------------------------------------------- what comes out


def test_text_comes_out_encoded_and_in_order(work):
    prepared = work.prepare().prepared
    model = SubwordModel(prepared.subwords_path)
    assert pairs_of(prepared.train, model) == some_pairs(300, 1)
    assert pairs_of(prepared.valid, model) == some_pairs(20, 2)
    assert list(zip(prepared.valid_source, prepared.valid_target, strict=True)) == some_pairs(20, 2)
    assert list(prepared.test_sets) == ["my-test"]
    source, reference = (path.read_text().splitlines() for path in prepared.test_sets["my-test"])
    assert list(zip(source, reference, strict=True)) == some_pairs(15, 3)
    assert prepared.manifest.num_pairs == {"train": 300, "valid": 20}
    assert prepared.manifest.test_sets == {"my-test": 15}
    assert prepared.report.train["my-train"]["kept"] == 300


def test_only_what_is_listed_is_left_in_the_directory(work):
    work.prepare()
    corpus = {"corpus.json", "source.ids.bin", "source.offsets.npy", "target.ids.bin", "target.offsets.npy"}
    assert set(tree(work.place)) == {
        "manifest.json",
        "origin.json",
        "report.json",
        "subwords.model",
        "lexicon.safetensors",
        "translation_table.safetensors",
        "source_words.tsv",
        "text/valid.source",
        "text/valid.target",
        "text/test/my-test.source",
        "text/test/my-test.target",
        *(f"{part}/{name}" for part in ("train", "valid") for name in corpus),
    }
    assert not list(work.directory.glob(".*"))


def test_the_lexicon_is_that_of_the_encoded_training_text(work):
    prepared = work.prepare().prepared
    found = load_lexicon(prepared.lexicon_path, prepared.train.vocabulary_size)
    for one, other in zip(found, learn_lexicon(prepared.train), strict=True):
        assert np.array_equal(one, other)


def test_the_source_words_are_those_of_the_training_text(work):
    prepared = work.prepare().prepared
    vocabulary, train = SubwordModel.load(prepared.subwords_path), prepared.train
    sources = (vocabulary.decode(train.source(number).tolist()) for number in range(len(train)))
    assert load_source_words(prepared.source_words_path) == count_words(sources)


def test_the_same_text_gives_the_same_bytes_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PAIRS_PER_CHUNK", 50)
    monkeypatch.setattr(encoding, "CHUNKS_BEFORE_WORKERS", 1)
    trees = []
    for name, num_workers in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        work = Workplace(tmp_path / name)
        work.prepare(tmp_path / f"data-{name}", num_workers=num_workers)
        trees.append(tree(tmp_path / f"data-{name}"))
    origins = [files.pop("origin.json") for files in trees]
    assert trees[0] == trees[1]
    assert str(tmp_path / "one").encode() in origins[0]  # which says where it lay, and so differs


def test_the_manifest_tells_the_hash_of_every_file(work):
    work.prepare()
    outputs = json.loads((work.place / "manifest.json").read_text())["outputs"]
    assert set(outputs) == set(tree(work.place)) - {"manifest.json", "origin.json"}
    assert all(len(digest) == 64 for digest in outputs.values())


def test_training_text_is_cleaned_and_every_rule_counted(work):
    pairs = some_pairs(300, 1)
    leaked = (some_pairs(20, 2)[4][0].upper() + "!", "abd ehg")
    work.write("train", [*pairs, pairs[0], ("", "abd"), leaked, ("a\u2028b  c", "x\u00a0y")])
    prepared = work.prepare().prepared
    report = prepared.report.train["my-train"]
    assert (report["read"], report["kept"]) == (304, 301)
    assert (report["duplicate"], report["empty_side"], report["in_dev_or_test"]) == (1, 1, 1)
    assert pairs_of(prepared.train, SubwordModel(prepared.subwords_path))[-1] == ("a b c", "x y")


def test_sources_keep_their_names_weights_and_order(work):
    work.write("more", some_pairs(40, 9))
    train = [work.source("train"), work.source("more", weight=2.5)]
    prepared = work.prepare(train=train).prepared
    assert [tuple(part) for part in prepared.train.parts] == [("my-train", 1.0, 300), ("my-more", 2.5, 40)]
    model = SubwordModel(prepared.subwords_path)
    assert pairs_of(prepared.train, model)[300:] == some_pairs(40, 9)


def test_dev_and_test_text_is_never_dropped_and_references_stay_as_they_are(work):
    odd = [("a\u2028b  c", " x\u2028y  z "), ("", ""), ("same", "same"), ("same", "same"), ("e\u0301", "e\u0301")]
    for name in ("valid", "test"):
        work.write(name, odd)
    prepared = work.prepare().prepared
    assert list(prepared.valid_source) == ["a b c", "", "same", "same", "\u00e9"]
    assert list(prepared.valid_target) == [" x y  z ", "", "same", "same", "e\u0301"]
    assert len(prepared.valid) == 5
    assert SubwordModel(prepared.subwords_path).decode(prepared.valid.target(0)) == "x y z"
    source, reference = prepared.test_sets["my-test"]
    assert source.read_text().split("\n")[:-1] == list(prepared.valid_source)
    assert reference.read_text().split("\n")[:-1] == list(prepared.valid_target)


def test_several_dev_sources_are_one_dev_set(work):
    prepared = work.prepare(valid=[work.source("valid"), work.source("test")], test=[]).prepared
    assert len(prepared.valid) == len(prepared.valid_source) == 35
    assert prepared.test_sets == {}


def test_a_split_holds_out_dev_and_test_from_all_sources(work):
    work.write("more", some_pairs(100, 9))
    train = [work.source("train"), work.source("more", weight=2.0)]
    held_out = {"valid_pairs": 30, "test_pairs": 20}
    prepared = work.prepare(train=train, valid="split", test="split", held_out=held_out).prepared
    model = SubwordModel(prepared.subwords_path)
    kept = pairs_of(prepared.train, model)
    valid = list(zip(prepared.valid_source, prepared.valid_target, strict=True))
    test = list(zip(*(path.read_text().splitlines() for path in prepared.test_sets[HELD_OUT_TEST]), strict=True))
    assert (len(kept), len(valid), len(test)) == (350, 30, 20)
    assert sorted([*kept, *valid, *test]) == sorted(some_pairs(300, 1) + some_pairs(100, 9))
    first, second = prepared.train.parts
    assert (first.name, second.name, second.weight) == ("my-train", "my-more", 2.0)
    assert set(kept[: first.num_pairs]) <= set(some_pairs(300, 1))
    assert set(kept[first.num_pairs :]) <= set(some_pairs(100, 9))
    assert len(kept) == first.num_pairs + second.num_pairs
    assert prepared.report.split["train"] == 350


def test_a_split_test_set_leaves_a_dev_set_of_its_own_alone(work):
    prepared = work.prepare(test="split", held_out={"test_pairs": 20}).prepared
    assert list(prepared.test_sets) == [HELD_OUT_TEST]
    assert (len(prepared.train), len(prepared.valid)) == (280, 20)


def test_every_stage_ends_where_done_is_the_total(work):
    calls = []
    prepare(work.recipe(), work.place, work.directory / "cache", progress=lambda *call: calls.append(call))
    last = {stage: (done, total, unit) for stage, done, total, unit in calls}
    assert last["read"] == (335, 335, "pairs")
    assert last["subwords"] == (600, 600, "sentences")
    assert last["encode"] == (300, 300, "pairs")
    assert last["lexicon"] == (600, 600, "pairs")  # each pair is read twice
    assert last["translations"] == (1800, 1800, "pairs")  # and three times for each direction


# --------------------------------------------------------------------------------------- a second time


def test_finished_data_is_used_again(work, monkeypatch):
    assert not work.prepare().reused
    before = tree(work.place)
    monkeypatch.setattr(preparation, "make_vocabulary", None)
    again = work.prepare()
    assert again.reused
    assert len(again.prepared.train) == 300
    assert tree(work.place) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subwords": {"vocabulary_size": 360}}, "subwords.vocabulary_size is 360, but was 350"),
        ({"seed": 2}, "seed is 2, but was 1"),
        ({"cleaning": {"max_characters": 99}}, "data.cleaning.max_characters is 99, but was 2000"),
        ({"test": []}, r'data.test is \[\], but was \["my-test"\] \(and 4 more differences\)'),
    ],
)
def test_data_of_other_settings_is_not_overwritten(work, changes, message):
    work.prepare()
    before = tree(work.place)
    with pytest.raises(UserError, match=message) as error:
        work.prepare(**changes)
    assert "name a new directory" in error.value.fix
    assert tree(work.place) == before


def test_data_of_other_text_is_not_overwritten(work):
    work.prepare()
    work.write("train", some_pairs(301, 1))
    with pytest.raises(UserError, match=r"data\.train\.my-train\.source_file\.sha256 is .* but was"):
        work.prepare()


def test_text_that_only_moved_is_the_same_text(work):
    work.prepare()
    for name in ("train.de", "train.en"):
        (work.directory / name).rename(work.directory / f"moved-{name}")
    assert work.prepare(train=[work.source("moved-train", name="my-train")]).reused


def test_what_a_killed_run_left_is_cleared_away(work):
    leftover = work.directory / ".data.part"
    (leftover / "train").mkdir(parents=True)
    (leftover / "stray").write_text("half")
    work.prepare()
    assert "stray" not in tree(work.place)
    assert not leftover.exists()


def test_two_processes_do_not_prepare_the_same_directory(work):
    busy = work.directory / ".data.part"
    busy.mkdir()
    lock = os.open(busy, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(UserError, match="another process is preparing it"):
            work.prepare()
    finally:
        os.close(lock)
    assert not work.prepare().reused


# -------------------------------------------------------------------- directories that are there, and links to them


def _into(work, target: Path):
    """Prepare into what `data` stands for, and see that another time finds it done."""
    assert not work.prepare().reused
    assert work.prepare().reused
    assert (target / "manifest.json").is_file()
    assert not [path for path in (*target.iterdir(), *work.directory.iterdir()) if path.name.startswith(".")]


@pytest.mark.parametrize("target_is_there", [True, False])
def test_what_a_link_points_to_is_filled_and_the_link_stays(work, target_is_there):
    target = work.directory / "far" / "target"
    target.parent.mkdir()
    if target_is_there:
        target.mkdir()
    work.place.symlink_to("far/target")
    _into(work, target)
    assert work.place.is_symlink()


def test_an_empty_directory_that_is_there_is_filled_and_keeps_its_mode(work):
    work.place.mkdir()
    work.place.chmod(0o750)
    inode = work.place.stat().st_ino
    (work.place / "lost+found").mkdir()  # as in a new file system
    assert not work.prepare().reused
    assert (work.place.stat().st_ino, work.place.stat().st_mode & 0o777) == (inode, 0o750)
    assert ".mtmoe.part" not in os.listdir(work.place)


@contextlib.contextmanager
def _mounted(place: Path, options: str):
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_mount_point_is_filled(work):
    with _mounted(work.place, "size=20m"):
        _into(work, work.place)


def test_a_read_only_file_system_is_told_before_any_work(work):
    with _mounted(work.place, "ro"):
        with pytest.raises(UserError, match=f"{work.place}: cannot be made: .*: Read-only file system"):
            prepare(work.recipe(), work.place, work.directory / "cache", progress=lambda *_: pytest.fail("too late"))


@pytest.mark.parametrize("kilobytes", [8, 40, 80, 120, 160])
def test_a_disk_that_is_full_at_any_moment_is_told_and_nothing_is_left(work, kilobytes):
    with _mounted(work.place, f"size={kilobytes}k"):
        with pytest.raises(UserError, match="data: cannot be written: No space left on device"):
            work.prepare()
        assert os.listdir(work.place) == []


def test_the_same_bytes_come_into_a_directory_that_is_there(work):
    work.prepare()
    before = tree(work.place)
    work.place.rename(work.directory / "other")
    work.place.mkdir()
    work.prepare()
    assert tree(work.place) == before


def test_what_a_killed_process_had_half_moved_into_place_is_moved_on(work):
    work.prepare()
    before = tree(work.place)
    hidden = work.place / ".mtmoe.part"
    hidden.mkdir()
    for name in ("valid", "text", "manifest.json"):
        (work.place / name).rename(hidden / name)
    assert work.prepare().reused
    assert tree(work.place) == before
    assert not hidden.exists()


def test_what_a_killed_process_left_in_a_directory_that_was_there_is_cleared_away(work):
    hidden = work.place / ".mtmoe.part"
    hidden.mkdir(parents=True)
    (hidden / "train.spool").write_text("half")
    _into(work, work.place)


def test_a_link_in_the_place_of_the_hidden_directory_is_not_followed(work):
    precious = work.directory / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (work.directory / ".data.part").symlink_to("precious")
    with pytest.raises(UserError, match=r"\.data\.part: cannot be made"):
        work.prepare()
    assert (precious / "file").exists()


def test_a_file_system_without_locks_is_told_once_and_stops_nothing(work, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    monkeypatch.setattr("mtmoe.system.locks.told_of", set())
    with pytest.warns(Warned, match="has no locks") as warned:
        work.prepare()
    assert len([warning for warning in warned if warning.category is Warned]) == 1


# ------------------------------------------------------------------------------------ what stands in the way


def test_an_error_in_the_text_leaves_nothing(work):
    (work.directory / "train.en").write_text("only\nthree\nlines\n")
    with pytest.raises(UserError, match=r"train\.de has 300, .*train\.en has 3"):
        work.prepare()
    assert not work.place.exists()
    assert not list(work.directory.glob(".*"))


def test_an_interruption_leaves_nothing(work, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(preparation, "encode_corpus", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work.prepare()
    assert not work.place.exists()
    assert not list(work.directory.glob(".*"))


def test_a_full_disk_is_told_as_such(work, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation, "encode_corpus", full)
    with pytest.raises(UserError, match=r"data: cannot be written: No space left on device\nmake room"):
        work.prepare()


def test_an_empty_directory_is_a_place(work):
    work.place.mkdir()
    assert not work.prepare().reused


def test_a_directory_with_other_things_is_not(work):
    work.place.mkdir()
    (work.place / "thesis.tex").write_text("...")
    with pytest.raises(UserError, match=r"data: is not empty and holds no prepared data"):
        work.prepare()
    assert tree(work.place) == {"thesis.tex": b"..."}


def test_a_file_is_no_place(work):
    work.place.write_text("...")
    with pytest.raises(UserError, match="data: is a file, not a directory"):
        work.prepare()


def test_nothing_left_to_train_on_is_an_error_that_counts_the_reasons(work):
    work.write("train", [*some_pairs(20, 2), ("", "abd")])
    with pytest.raises(
        UserError, match=r"no pair of the 21 that were read is left .*\(1 empty side, 20 in dev or test\)"
    ):
        work.prepare()


def test_invalid_text_in_a_dev_set_is_never_skipped(work):
    lines = (work.directory / "valid.de").read_bytes().split(b"\n")
    lines[2] = b"abd \xff"
    (work.directory / "valid.de").write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"valid\.de:3: invalid UTF-8; sentences of dev and test .* never left out"):
        work.prepare(cleaning={"on_invalid_utf8": "skip"})


def test_a_recipe_without_a_dev_set_is_an_error(work):
    with pytest.raises(UserError, match=r"data\.valid names no source"):
        work.prepare(valid=[])


# ------------------------------------------------------------------------------------------------- opening


def test_what_is_no_data_directory_is_told_apart(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: no such directory\nmake it: mtmoe preprocess RECIPE"):
        open_prepared(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"not a data directory \(it has no manifest\.json\)"):
        open_prepared(tmp_path)


def test_another_format_version_is_refused(work):
    work.prepare()
    path = work.place / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(UserError, match="format version 99, but this mtmoe reads version 2"):
        open_prepared(work.place)


def test_a_damaged_manifest_is_refused(work):
    work.prepare()
    for content, message in (("{", "damaged: Invalid JSON"), ("[]", "damaged: Input should be an object")):
        (work.place / "manifest.json").write_text(content)
        with pytest.raises(UserError, match=rf"manifest\.json: {message}"):
            open_prepared(work.place)


def test_data_suits_recipes_of_the_same_languages_and_subwords(work):
    prepared = work.prepare().prepared
    prepared.check_suits(work.recipe(seed=5, train=[work.source("valid", weight=2.0)]))
    with pytest.raises(UserError, match=r"was not prepared for this recipe: subwords\.vocabulary_size is 360"):
        prepared.check_suits(work.recipe(subwords={"vocabulary_size": 360}))
    with pytest.raises(UserError, match=r'data\.source_language is "fr", but was "de"'):
        prepared.check_suits(work.recipe(source_language="fr"))


def test_rows_of_dev_and_test_sets_without_a_pair_are_told_by_name_and_number(tmp_path):
    place = Workplace(tmp_path)
    (tmp_path / "rows.tsv").write_text("one\teins\n\ntwo\t\n \t \nthree\tdrei\n")
    rows = {"name": "rows", "format": "tsv", "file": {"path": str(tmp_path / "rows.tsv")}}
    prepared = prepare(place.recipe(test=[rows]), place.place, tmp_path / "cache").prepared
    told = prepared.report.test["rows"]
    assert (told.unreadable, told.first_unreadable) == (1, ("line 2: blank line",))
    assert prepared.test_sets["rows"].reference.read_text() == "eins\n\n \ndrei\n"  # an empty side is no reason
