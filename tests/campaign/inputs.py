"""Malformed inputs: text in every bad shape, tables, translation memories, archives, recipes, over all commands."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from tests.campaign.harness import EARLIER, Case
from tests.campaign.setup import Sound, recipe_text

_LINES = ("the red dog runs today", "a man sees the house", "the cat sleeps")
_NASTY = (
    "",
    " ",
    "\t",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "\u2028",
    "\u0085",
    "\x0c",
    "\ufeff",
    "\u202e",
    "\U0001f600" * 50,
    "a" * 3000,
    "." * 4000,
    "the " * 500,
    "<b and c>",
    "{{ name }} %ld https://x.org/(a)",
    "\u0301" * 100,
    "<2fr> the",
    "((((((((((",
    "\\",
    "'",
    '"',
    "$(rm x)",
    "-",
    "--help",
    "\u4e2d\u6587",
    "%s%n",
    "\ue000",
    "e\u0301",
    "\u200b",
    "ﷺ" * 40,
)


GPUS = ("--gpus", "2", "--gpu", "h100")


def text_content(generator: random.Random) -> bytes:
    """Return the bytes of a text file with one or several things wrong with it."""
    lines = [generator.choice((*_LINES, *_NASTY)) for _ in range(generator.randint(0, 12))]
    end = generator.choice(("\n", "\n", "\n", "\r\n", "\r"))
    text = end.join(lines) + generator.choice(("", end))
    encoding = generator.choice(("utf-8",) * 5 + ("utf-16", "utf-32", "utf-8-sig", "utf-16-le", "cp1252", "shift_jis"))
    content = text.encode(encoding, "replace")
    spoil = generator.randrange(8)
    if spoil == 0 and content:
        place = generator.randrange(len(content))
        content = content[:place] + bytes([generator.randrange(256)]) + content[place + 1 :]
    elif spoil == 1:
        content = generator.randbytes(generator.randint(1, 400))
    elif spoil == 2:
        content = content[: generator.randint(0, max(1, len(content)))]
    elif spoil == 3:
        content += b"\xff\xfe\xc3(\xed\xa0\x80\n"
    return content


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: zstandard.ZstdCompressor().compress(content),
}


def write_text_input(path: Path, generator: random.Random) -> Path:
    """Write a bad text file, or something else in its place; return its path, with the suffix of its compression."""
    kind = generator.randrange(14)
    suffix = generator.choice(tuple(_PACKERS)) if generator.random() < 0.4 else ""
    path = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to("nowhere")
    elif kind == 2:
        pass  # missing
    elif kind == 3:
        os.mkfifo(path)
    elif kind == 4:
        path.symlink_to("/dev/null")
    else:
        content = text_content(generator)
        packed = _PACKERS[suffix](content)
        damage = generator.randrange(5)
        if suffix and damage == 0:
            packed = packed[: generator.randrange(len(packed))]
        elif suffix and damage == 1:
            packed = content
        elif not suffix and damage == 2:
            packed = gzip.compress(content)
        path.write_bytes(packed)
    return path


def _names(place: Path, num_texts: int, seed: int) -> list[str]:
    """The names that :func:`_write_texts` gives, which depend on the seed alone."""
    generator = random.Random(seed)
    return [
        write_text_input(place / "in" / f"t{number}", generator).relative_to(place).as_posix()
        for number in range(num_texts)
    ]


def text_cases(sound: Sound, seeds: range) -> Iterator[Case]:
    """Commands that read text, with bad files."""
    import tempfile

    run, lm = str(sound.run), str(sound.lm)
    commands: list[tuple[str, int, Callable[[list[str], random.Random], list[str]]]] = [
        ("translate", 1, lambda t, g: ["translate", run, *t, "--output", EARLIER]),
        ("translate-json", 1, lambda t, g: ["translate", run, "--format", "json", *t]),
        ("translate-tsv", 1, lambda t, g: ["translate", run, "--format", "tsv", "--column", "2", *t]),
        ("translate-terms", 2, lambda t, g: ["translate", run, t[0], "--terms", t[1]]),
        ("translate-dir", 2, lambda t, g: ["translate", run, *t, "--output-dir", "out"]),
        ("score", 2, lambda t, g: ["score", run, *t]),
        ("score-lm", 1, lambda t, g: ["score", lm, *t]),
        ("bleu", 2, lambda t, g: ["bleu", "--hypothesis", t[0], "--reference", t[1]]),
        ("bleu-run", 2, lambda t, g: ["bleu", run, "--source", t[0], "--reference", t[1]]),
        ("bleu-results", 1, lambda t, g: ["bleu", "--results", t[0]]),
        ("preprocess", 2, lambda t, g: ["preprocess", str(sound.recipe), "out", "--train", *t]),
        ("preprocess-valid", 2, lambda t, g: ["preprocess", str(sound.recipe), "out", "--valid", *t]),
        ("recipe", 1, lambda t, g: [g.choice(["describe", "plan", "preprocess"]), t[0]]),
        ("train-recipe", 1, lambda t, g: ["train", t[0], "out", "--set", "training.max_steps=1"]),
        ("run", 1, lambda t, g: [g.choice(["translate", "bleu", "export", "average", "doctor"]), t[0]]),
    ]
    for seed in seeds:
        generator = random.Random(seed)
        name, num_texts, arguments = commands[seed % len(commands)]
        with tempfile.TemporaryDirectory() as trial:
            texts = _names(Path(trial), num_texts, seed)
        given = arguments(texts, generator)
        if given[0] == "plan":
            given += GPUS
        if name == "recipe" and given[0] == "preprocess":
            given.append("out")
        if name == "run" and given[0] == "export":
            given.append(EARLIER)
        yield Case(f"inputs:{name}:{seed}", tuple(given), functools.partial(_write_texts, num_texts, seed))
        if name.startswith("translate") and num_texts == 1:
            yield Case(
                f"inputs:{name}-stdin:{seed}",
                tuple(argument for argument in given if argument not in (*texts, "--output", EARLIER)),
                stdin=text_content(generator),
            )


def _write_texts(num_texts: int, seed: int, place: Path) -> None:
    (place / EARLIER).write_text("of an earlier command\n")
    _names(place, num_texts, seed)


# -------------------------------------------------------------------------------------- formats of corpora


def _json_line(generator: random.Random) -> str:
    good = {"text": "the dog", "translation": {"en": "the dog", "fr": "dog the"}, "en": "the dog", "fr": "dog the"}
    odd: list[object] = [None, 1, 1.5, [], {}, "\ud800", "x" * 1000, True, float("nan"), 10**400, [["a"]], ""]
    kind = generator.randrange(7)
    if kind == 0:
        return generator.choice(
            ("{", "[]", "null", "NaN", '"text"', "[" * 2000, "{}", '{"text": "a", "text": 3}', "1" * 5000)
        )
    if kind < 4:
        good[generator.choice(list(good))] = generator.choice(odd)  # type: ignore[assignment]
    if kind == 4:
        good["phrases"] = generator.choice([["dog"], "dog", [1], [""], ["dog"] * 50])  # type: ignore[assignment]
    if kind == 5:
        good["prefix"] = generator.choice(["dog", 1, "", "dog " * 300])  # type: ignore[assignment]
    return (
        json.dumps(good, ensure_ascii=generator.random() < 0.5)
        .encode("utf-8", "surrogatepass")
        .decode("utf-8", "replace")
    )


def _tmx(generator: random.Random) -> bytes:
    unit = '<tu><tuv xml:lang="en"><seg>the dog</seg></tuv><tuv xml:lang="fr"><seg>dog the</seg></tuv></tu>'
    bad = [
        "<tu/>",
        "<tu><tuv/></tu>",
        '<tu><tuv xml:lang="en"/></tu>',
        unit.replace("the dog", "the&nbsp;dog"),
        unit.replace("the dog", "a<bpt i='1'>x</bpt>b<ept i='1'/>"),
        unit.replace("</seg>", ""),
        unit.replace('"en"', '"EN-us"'),
        unit.replace("the dog", "&#0;"),
        unit.replace("the dog", "&bomb;"),
        unit.replace("the dog", "<sub>x</sub>"),
        unit.replace("<seg>the dog</seg>", ""),
        unit.replace("the dog", "\x01"),
        unit * 3,
        "<note>x",
        "]]>",
        "<!-- ",
    ]
    body = "".join(generator.choice([unit, unit, *bad]) for _ in range(generator.randint(0, 6)))
    declared = generator.choice(["utf-8", "UTF-16", "Shift_JIS", "x-foo", "latin-1", "utf-7", "idna", "base64"])
    doctype = generator.choice(["", "", '<!DOCTYPE tmx SYSTEM "tmx14.dtd">', '<!DOCTYPE x [<!ENTITY bomb "x">]>'])
    text = f'<?xml version="1.0" encoding="{declared}"?>{doctype}<tmx version="1.4"><header/><body>{body}</body></tmx>'
    encoding = declared if declared in ("UTF-16", "Shift_JIS", "latin-1") and generator.random() < 0.7 else "utf-8"
    content = text.encode(encoding, "replace")
    if generator.random() < 0.2:
        content = content[: generator.randrange(len(content))]
    return content


def _archive(generator: random.Random) -> tuple[str, bytes]:
    """An archive with odd members, as (suffix, content)."""
    stream = io.BytesIO()
    name = generator.choice(["t", "../t", "/etc/t", "a/../t", "", "t\n", "x" * 300, "t"])
    content = generator.choice([b"the dog\n" * 5, b"", b"\0" * 1_000_000])
    if generator.random() < 0.5:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(name or "t", content)
        suffix = ".zip"
    else:
        with tarfile.open(fileobj=stream, mode=generator.choice(["w", "w:gz", "w:xz"])) as tar:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.type = generator.choice([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE])
            member.linkname = "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))
        suffix = ".tar"
    whole = bytearray(stream.getvalue())
    if generator.random() < 0.4 and whole:
        whole[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
    if generator.random() < 0.2:
        whole = whole[: generator.randrange(len(whole))]
    return suffix, bytes(whole)


def _write_corpus(sound: Sound, seed: int, place: Path) -> None:
    generator = random.Random(seed)
    inputs = place / "in"
    inputs.mkdir()
    kind = generator.choice(("json-lines", "tmx", "tsv", "archive"))
    extra = ""
    if kind == "json-lines":
        lines = [_json_line(generator) for _ in range(generator.randint(0, 8))]
        (inputs / "c").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
        extra = '\nsource_key = "en"\ntarget_key = "fr"'
    elif kind == "tmx":
        (inputs / "c").write_bytes(_tmx(generator))
    elif kind == "tsv":
        rows = [generator.choice(("a\tb", "a", "\t", "a\tb\tc", "", *_NASTY)) for _ in range(generator.randint(0, 8))]
        (inputs / "c").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8", errors="replace")
    else:
        suffix, content = _archive(generator)
        (inputs / f"c{suffix}").write_bytes(content)
    part = generator.choice(("valid", "test", "train"))
    skip = generator.choice(("", '\n[data.cleaning]\non_invalid_utf8 = "skip"'))
    file = f'file.path = "in/c"{extra}' if kind != "archive" else f'file.path = "in/c{suffix}"\nfile.member = "t"'
    source = f'[[data.{part}]]\nname = "c"\nformat = "{kind if kind != "archive" else "tsv"}"\n{file}\n'
    (inputs / "r.toml").write_text(f'extend = "{sound.recipe}"\n{source}{skip}\n', encoding="utf-8")


def corpus_cases(sound: Sound, seeds: range) -> Iterator[Case]:
    """Preprocessing of corpora that are no text files, and a look at some of them."""
    for seed in seeds:
        command = ("init", "in/c") if seed % 4 == 0 else ("preprocess", "in/r.toml", "out")
        yield Case(f"inputs:corpus:{seed}", command, functools.partial(_write_corpus, sound, seed))


def json_cases(sound: Sound, seeds: range) -> Iterator[Case]:
    """JSON lines to translate."""
    for seed in seeds:
        generator = random.Random(seed)
        lines = [_json_line(generator) for _ in range(generator.randint(1, 6))]
        options = generator.choice(([], ["--alignment"], ["--nbest", "2"]))
        yield Case(
            f"inputs:json:{seed}",
            ("translate", str(sound.run), "--format", "json", *options),
            stdin="".join(f"{line}\n" for line in lines).encode("utf-8", "replace"),
        )


# --------------------------------------------------------------------------------------------------- recipes


def _write_recipe(sound: Sound, seed: int, place: Path) -> None:
    generator = random.Random(seed)
    inputs = place / "in"
    inputs.mkdir()
    lines = recipe_text(sound.place).splitlines()
    for _ in range(generator.randint(1, 3)):
        number = generator.randrange(len(lines))
        line = lines[number]
        key = line.partition("=")[0].strip() or "x"
        lines[number] = generator.choice(
            (
                "",
                line + line,
                line[: len(line) // 2],
                f"{key} = {'9' * 5000}",
                f"{key} = {'[' * 3000}",
                f"{key} = 1979-05-27",
                f"{key} = inf",
                f"{key} = nan",
                f"{key} = {{}}",
                f"{key} = []",
                f'{key} = "\\u001b[31m"',
                f"{key}x = 1",
                f'"\\u001b]0;x\\u0007{key}" = 1',
                f"{key} = true",
                f"{key} = -1",
                f"{key} = 1e308",
                f"{key} = 0x7fffffffffffffff",
                f'extend = "r.toml"\n{line}',
                f'extend = "./r.toml"\n{line}',
                f'extend = "nowhere"\n{line}',
                f'{key} = """',
                f"[{key}]",
                f"[[{key}]]",
                "\x00",
                f"{key}.a.b.c = 1",
                f"{key} = 'a",
                "name = 'other'",
            )
        )
    content = "\n".join(lines).encode("utf-8", "replace")
    kind = generator.randrange(12)
    if kind == 0:
        content = b"\xef\xbb\xbf" + content
    elif kind == 1:
        content = content.decode().encode("utf-16")
    elif kind == 2:
        content = content[: generator.randrange(len(content))]
    (inputs / "r.toml").write_bytes(content)


def recipe_cases(sound: Sound, seeds: range) -> Iterator[Case]:
    """Recipes with some lines replaced."""
    commands = (
        ("describe", "in/r.toml"),
        ("preprocess", "in/r.toml", "out"),
        ("plan", "in/r.toml", *GPUS),
        ("describe", "in/r.toml", "--settings"),
        ("train", "in/r.toml", "out", "--set", "training.max_steps=1"),
        ("fetch", "in/r.toml"),
    )
    for seed in seeds:
        yield Case(
            f"inputs:recipe:{seed}", commands[seed % len(commands)], functools.partial(_write_recipe, sound, seed)
        )


def cases(sound: Sound, seed: int, count: int) -> Iterator[Case]:
    """Yield about ``count`` cases of all kinds."""
    first, each = seed * 1_000_003, max(1, count // 8)
    yield from text_cases(sound, range(first, first + 4 * each))
    yield from corpus_cases(sound, range(first, first + 2 * each))
    yield from json_cases(sound, range(first, first + each))
    yield from recipe_cases(sound, range(first, first + each))
