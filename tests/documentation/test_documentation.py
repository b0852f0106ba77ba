"""The documents are run: commands, targets, names, links and the tree in them exist."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from mtmoe.cli import main

import mtmoe
from mtmoe.config import shipped_families, shipped_recipes
from tests.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "reference" / "recipes.md").read_text(encoding="utf-8")
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/**/*.md")])
    if "generated" not in path.parts
}
LONGEST_README = 110  # lines: two screens


def code_blocks(text: str) -> list[str]:
    """The insides of all fenced blocks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def mtmoe_commands(text: str) -> Iterator[list[str]]:
    """Arguments of every `mtmoe` command line in the fenced blocks, without redirections and comments."""
    for block in code_blocks(text):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"\||&&|;", line.removeprefix("$ ")):
                words = shlex.split(re.split(r"\s[<>]", command)[0], comments=True) if "mtmoe" in command else []
                if words and words[0] in ("mtmoe", ".venv/bin/mtmoe") and len(words) > 1:
                    yield words[1:]


def commands_of(group: click.Group, prefix: str = "") -> Iterator[str]:
    """Names of all commands of a group that do something."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def tree_paths(block: str) -> Iterator[str]:
    """Paths of an indented (or drawn) tree: the first word of each line, below the folders above it."""
    folders: list[tuple[int, str]] = []
    for line in block.splitlines():
        plain = re.sub("[│├└─]", " ", line)
        name = plain.split()[0] if plain.strip() else ""
        indentation = len(plain) - len(plain.lstrip())
        if not re.fullmatch(r"[\w./-]+", name) or ("." not in name and not name.endswith("/")):
            continue
        while folders and folders[-1][0] >= indentation:
            folders.pop()
        path = (folders[-1][1] if folders else "") + name
        if name.endswith("/"):
            folders.append((indentation, path))
        yield path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_line_in_the_documents_can_be_parsed(document: str) -> None:
    for words in mtmoe_commands(DOCUMENTS[document]):
        if words[0].startswith("-"):
            continue
        command: click.Command = main
        context = click.Context(main)
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words[0])
            assert found is not None, f"{document}: mtmoe {' '.join(words)}"
            command, words = found, words[1:]
        if "--help" not in words:
            command.make_context(document, list(words))


def test_every_recipe_in_a_command_line_takes_the_settings_that_are_given_it() -> None:
    shipped = shipped_recipes()
    num_read = 0
    for words in itertools.chain.from_iterable(map(mtmoe_commands, DOCUMENTS.values())):
        settings = [setting for flag, setting in itertools.pairwise(words) if flag == "--set"]
        recipe = next((word for word in words if word in shipped), None)
        if recipe is not None and words[0] != "describe":
            mtmoe.load_recipe(recipe, settings)
            num_read += len(settings)
    assert num_read > 10


@pytest.mark.parametrize("name", list(commands_of(main)))
def test_a_tutorial_or_how_to_shows_every_command(name: str) -> None:
    guides = [text for path, text in DOCUMENTS.items() if path.startswith(("docs/tutorial/", "docs/howto/"))]
    assert any(" ".join(words).startswith(name) for text in guides for words in mtmoe_commands(text))


def test_the_page_of_recipes_tells_of_every_recipe_and_family() -> None:
    members = {member for family in shipped_families().values() for member in family.members}
    for name in [*(set(shipped_recipes()) - members), *shipped_families()]:
        assert f"`{name}`" in RECIPES


def test_the_table_of_recipes_is_what_the_command_writes() -> None:
    written = CliRunner().invoke(main, ["recipes", "--markdown"]).stdout
    assert written in RECIPES, "put what `mtmoe recipes --markdown` writes into docs/reference/recipes.md"


def test_every_settings_file_that_a_document_shows_is_a_recipe(tmp_path: Path) -> None:
    """A block of TOML is a recipe, or a part of one: read on top of a recipe that goes with it."""
    num_read = 0
    for document, text in DOCUMENTS.items():
        for block in re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            base = "multi30k-en-de" if "[[data.test]]" in block else "demo"
            base = "demo-lm" if 'format = "lines"' in block else base
            named = re.match(r"# (\S+\.toml)\n", block)  # which a later one may extend
            path = tmp_path / (named[1] if named else f"{num_read}.toml")
            path.write_text(block if "extend" in block else f'name = "shown"\nextend = "{base}"\n{block}')
            member = re.search(r'^name = "(.*\{source\}.*)"$', block, flags=re.MULTILINE)
            if member:  # a family, of which one member is read
                [pair] = re.findall(r"^\[family\.pairs\]\n(\w+-\w+)", block, flags=re.MULTILINE)
                source, _, target = pair.partition("-")
                path = tmp_path / member[1].format(source=source, target=target)
            try:
                mtmoe.load_recipe(path)
            except mtmoe.UserError as error:
                pytest.fail(f"{document}: {error}")
            num_read += 1
    assert num_read >= 10


def test_the_readme_fits_on_two_screens() -> None:
    assert len(README.splitlines()) <= LONGEST_README


def test_the_readme_begins_with_the_two_commands_that_a_newcomer_needs() -> None:
    blocks = "\n".join(code_blocks(README))
    assert "make demo" in blocks
    assert "make test" in blocks


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_in_the_documents_exists(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|^|\s)make ([a-z]+)`?", "\n".join(code_blocks(DOCUMENTS[document]))):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{document}: make {target}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", DOCUMENTS[document]):
        if "://" not in target:
            assert (ROOT / document).parent.joinpath(target).exists(), f"{document}: {target}"


def test_the_tree_in_the_guide_for_contributors_is_the_tree() -> None:
    blocks = code_blocks(DOCUMENTS["CONTRIBUTING.md"])
    trees = [block for block in blocks if re.search(r"^mtmoe/(\s|$)", block, flags=re.MULTILINE)]
    assert trees
    for path in (path for block in trees for path in tree_paths(block)):
        assert (ROOT / path).exists(), path


SOUGHT = (
    "GNMT length penalty", "what `--resume` reads", "EMA of the weights", "weight export", "diverse beams",
    "beam allocation of constraints", "BPE dropout", "choice of bf16", "never emitting UNK", "all-to-all",
    "label smoothing", "dead experts", "gradient clipping", "forget bias", "n-gram blocking", "contamination gate",
    "word alignment", "GPU memory plan", "loss scaling", "sampled softmax",
)  # fmt: skip


def test_what_a_newcomer_looks_for_is_in_the_file_that_the_guide_names() -> None:
    section = DOCUMENTS["CONTRIBUTING.md"].partition("## Where is what")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE))
    assert set(SOUGHT) <= rows.keys()
    for sought, cell in rows.items():
        files = re.findall(r"`([\w/]+\.py)`", cell)
        assert sought in ("you look for", "---") or files, sought
        for file in files:
            assert (ROOT / file).is_file(), f"{sought}: {file}"


def test_pictures_are_small_and_each_is_shown() -> None:
    pictures = sorted((ROOT / "docs" / "pictures").iterdir())
    assert {picture.name: picture.stat().st_size for picture in pictures if picture.stat().st_size >= 150_000} == {}
    shown = {Path(link).name for text in DOCUMENTS.values() for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)}
    assert {picture.name for picture in pictures} <= shown


def test_every_name_of_the_python_examples_exists() -> None:
    for document, text in DOCUMENTS.items():
        for name in re.findall(r"\bmtmoe\.([A-Za-z_]+)\(", "\n".join(code_blocks(text))):
            assert name in mtmoe.__all__, f"{document}: {name}"


@pytest.mark.parametrize("name", mtmoe.__all__)
def test_the_page_of_the_python_interface_has_every_name(name: str) -> None:
    assert f"mtmoe.{name}" in DOCUMENTS["docs/reference/python.md"]


def test_a_tree_is_read_with_its_folders() -> None:
    drawn = "one/  the library\n├── two/\n│   └── three.py  files\nfour/  commands\n  five.py\nno path here\n"
    assert list(tree_paths(drawn)) == ["one/", "one/two/", "one/two/three.py", "four/", "four/five.py"]


def test_a_command_is_found_with_its_arguments_only() -> None:
    text = "```\nprintf 'x\\n' | mtmoe translate runs/demo --beam 4 > out   # comment\n$ mtmoe bleu \\\n  RUN\n```\n"
    assert list(mtmoe_commands(text)) == [["translate", "runs/demo", "--beam", "4"], ["bleu", "RUN"]]
