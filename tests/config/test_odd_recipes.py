"""Files and values that are no recipe, or one in an odd form."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtmoe.config import load_recipe
from mtmoe.errors import UserError

_GOOD = """
[data]
source_language = "en"
target_language = "fr"
train = [{ name = "a", format = "tsv", file.path = "a.tsv" }]
valid = "split"
test = "split"
[training]
max_steps = 3000
"""


def _write(folder: Path, content: str | bytes, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def _problem(recipe: Path | str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, overrides)
    return str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_recipe(tmp_path: Path) -> None:
    assert load_recipe(_write(tmp_path, b"\xef\xbb\xbf" + _GOOD.encode())) == load_recipe(_write(tmp_path, _GOOD))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "data is missing"),
        (b"\x00\x01\x02", "not valid TOML"),
        (b"\xff\xfe[\x00d\x00", "not UTF-8 (byte 0), in line 1"),
        (b"[data]\nx = '\xe9'", "not UTF-8 (byte 12), in line 2"),
        (b"[training]\nmax_steps = 1\nmax_steps = 2\n", "line 3"),
        (b"seed = " + b"9" * 5000, "more digits than any setting takes"),
        (b"seed = 0x" + b"f" * 5000, "mine.toml:1: seed: a number of 20000 bits"),
        (b"seed = nan", "mine.toml:1: seed: nan is no number"),
        (b"seed = " + b"[" * 5000 + b"]" * 5000, "nested more than 40 deep"),
        (b"seed = " + b"[" * 100 + b"]" * 100, "nested more than 40 deep"),
        (b"[" + b"a." * 3000 + b"a]\nb = 1", "nested more than 40 deep"),
        (b"name = 1979-05-27", "mine.toml:1: name: 1979-05-27 is a date"),
        (b"#" * (1 << 21), "more than 1,048,576 bytes"),
        (b"extend = 3", "extend = 3 is not a text"),
        (b'extend = "no-such-recipe"', "no recipe is named 'no-such-recipe'"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_recipe_is_told_with_its_file(tmp_path: Path, content: bytes, told: str) -> None:
    problem = _problem(_write(tmp_path, content))
    assert told in problem
    assert "mine.toml" in problem or content.startswith(b'extend = "')


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    assert "pipe.toml: is a pipe or a device" in _problem(tmp_path / "pipe.toml")
    assert "/dev/zero: is a pipe or a device" in _problem("/dev/zero")
    assert "is a directory, not a recipe file" in _problem(tmp_path)


def test_recipes_in_a_circle_are_told_however_their_names_are_spelt(tmp_path: Path) -> None:
    _write(tmp_path, 'extend = "./b.toml"', "a.toml")
    _write(tmp_path, 'extend = "link.toml"', "b.toml")
    (tmp_path / "link.toml").symlink_to("a.toml")
    assert "in a circle" in _problem(tmp_path / "a.toml")


def test_a_contradiction_names_the_lines_of_both_settings_wherever_they_are(tmp_path: Path) -> None:
    base = _write(tmp_path, _GOOD + 'schedule.kind = "cosine"\nschedule.warmup_steps = 400\n', "base.toml")
    own = _write(tmp_path, 'extend = "base.toml"\n[training]\nmax_steps = 300\n', "own.toml")
    assert _problem(own).startswith(f"{base}:11 and {own}:3: ")
    assert _problem(base, "training.max_steps=300").startswith(f"{base}:11 and --set training.max_steps=300: ")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("max_steps=15", "did you mean 'training.max_steps'?"),
        ("batch_tokens=15", "did you mean 'training.batch_tokens' or 'decoding.batch_tokens'?"),
        ("trainin.max_steps=15", "did you mean 'training.max_steps'?"),
        ("training.maxsteps=15", "did you mean 'max_steps'?"),
        ("a", "not of the form section.key=value"),
        ("=", "not of the form"),
        ("=1", "not of the form"),
        ("", "not of the form"),
        ("a.b.c.d=1", "unknown setting a"),
        ("a..b=1", "is not a setting"),
        (".=1", "is not a setting"),
        ("a." * 5000 + "b=1", "is not a setting"),
        ("seed.x=1", "seed is not a table (it is 1)"),
        ("seed=" + "9" * 5000, "more digits than any setting takes"),
        ("seed=" + "[" * 5000 + "]" * 5000, "nested more than 40 deep"),
        ("seed=[1, 2]", "seed = [1, 2]"),
        ("seed='1'", 'seed = "1"'),
        ("seed={}", "seed = {}"),
        ('name="half', "begins with a quotation mark"),
        ("name='half\"", "begins with a quotation mark"),
        ("seed=2\nname='lost'", "has several lines"),
        ("seed=2\n[data]", "has several lines"),
        ("training.max_steps=12:30:00", "is a date or a time"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_set_that_cannot_be_is_told_with_what_is_near(tmp_path: Path, override: str, told: str) -> None:
    problem = _problem(_write(tmp_path, "seed = 1" + _GOOD), override)
    assert problem.startswith("--set ")
    assert told in problem


def test_of_a_setting_that_is_repeated_the_last_counts(tmp_path: Path) -> None:
    path = _write(tmp_path, _GOOD)
    assert load_recipe(path, ["seed=3", "seed = 4", "name=x"]).seed == 4


def test_a_table_that_is_off_comes_back_by_what_is_set_of_it(tmp_path: Path) -> None:
    path = _write(tmp_path, _GOOD + "sampled_softmax = false\nlabel_smoothing = 0.0\n")
    recipe = load_recipe(path, ["training.sampled_softmax.num_samples=5"])
    assert recipe.training.sampled_softmax is not None
    assert recipe.training.sampled_softmax.num_samples == 5


def test_a_chain_of_bases_is_not_endless(tmp_path: Path) -> None:
    for number in range(1500):
        _write(tmp_path, f'extend = "{number + 1}.toml"\n', f"{number}.toml")
    assert "is the base of a base, more than 20 deep" in _problem(tmp_path / "0.toml")


def test_a_pipe_beside_a_recipe_is_no_base_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    problem = _problem(_write(tmp_path, 'extend = "pipe.toml"\n'))
    assert problem.startswith(f"{tmp_path}/pipe.toml: is a pipe or a device")


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_what_only_python_takes_for_ends_of_lines_does_not_shift_the_lines(tmp_path: Path, separator: str) -> None:
    problem = _problem(_write(tmp_path, f"# a{separator}b\nseeed = 1\n"))
    assert problem.startswith(f"{tmp_path}/mine.toml:2: unknown setting seeed")
