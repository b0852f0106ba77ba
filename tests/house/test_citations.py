"""Citations in code, tests, recipes and documents: what they name is there.

A citation is an equation, table, appendix or decision of the paper, an anchor of a page in docs/, a file of the
repository, a setting, or a name in a role such as ``:func:``. The numbers that exist are those that have an anchor on
the paper's page.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtmoe.config import describe_settings
from tests.paths import ROOT

PAPER = "docs/explanation/paper.md"
OWN_PATH = Path(__file__).relative_to(ROOT)
FOLDERS = ("mtmoe", "cli", "recipes", "tests", "docs", "bench")
TOP_FOLDERS = "mtmoe|cli|recipes|tests|docs|bench"
SUFFIXES = "py|md|toml|slurm|sh|json"

A_NUMBER = r"(\d+)"
NUMBERS = r"(\d+(?:(?:-|, | and | to | or )\d+)*)"
WHAT_IS_NUMBERED = {
    "eq": re.compile(rf"\b[Ee]q(?:s\.|\.|uations?) {NUMBERS}"),
    "decision": re.compile(rf"\b[Dd]ecisions? {NUMBERS}"),
    "table": re.compile(rf"\bTables? {NUMBERS}"),
    "figure": re.compile(rf"\bFigure {A_NUMBER}"),
}
LAST_APPENDIX = "G"


def anchors_of(text: str) -> set[str]:
    """Return the anchors of a page: its explicit targets, and its headings as MyST and GitHub spell them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    explicit = re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", text, flags=re.MULTILINE)
    return {*explicit, *(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)}


@functools.cache
def anchors_of_page(path: Path) -> set[str]:
    """Return the anchors of a page in the repository."""
    return anchors_of(path.read_text(encoding="utf-8"))


def has_anchor(page: Path, anchor: str) -> bool:
    """Return whether a page has an anchor, or may get it from pages that are generated into it."""
    return anchor in anchors_of_page(page) or "{include}" in page.read_text(encoding="utf-8")


@functools.cache
def files_of_the_repository() -> frozenset[str]:
    """Return the paths of all files that may be cited, relative to the root."""
    inside = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    paths = (path.relative_to(ROOT) for path in (*inside, *ROOT.glob("*.*")))
    return frozenset(str(path) for path in paths if "__pycache__" not in path.parts)


@functools.cache
def folders_of_the_repository() -> frozenset[str]:
    """Return the paths of all folders that may be cited, each with a slash at its end."""
    return frozenset(f"{folder}/" for file in files_of_the_repository() for folder in Path(file).parents)


def cited_numbers(text: str, kind: str) -> Iterator[int]:
    """Yield the numbers of equations, decisions, tables or figures in a text, of a range both its ends."""
    for numbers in WHAT_IS_NUMBERED[kind].findall(text):
        yield from (int(number) for number in re.findall(r"\d+", numbers))


def wrong_numbers(text: str) -> Iterator[str]:
    """Yield the equations, decisions, tables, figures and appendices that the paper's page does not have."""
    there = anchors_of_page(ROOT / PAPER)
    for kind in WHAT_IS_NUMBERED:
        for number in cited_numbers(text, kind):
            if f"{kind}-{number}" not in there:
                yield f"{kind} {number} is not on {PAPER}"
    for letters in re.findall(r"\b(?:app\.|[Aa]ppendix|[Aa]ppendices) ([A-Z](?:(?:, | and | to )[A-Z])*)\b", text):
        for letter in re.findall("[A-Z]", letters):
            if letter > LAST_APPENDIX:
                yield f"the paper has no appendix {letter}"


def wrong_anchors(text: str, page: str | None = None) -> Iterator[str]:
    """Yield the anchors of pages in docs/ that are not there; ``page``: where the text is from, if from a page."""
    for path, anchor in re.findall(r"\b(docs/[\w/.-]+\.md)#([\w-]+)", text):
        if (ROOT / path).exists() and anchor not in anchors_of_page(ROOT / path):
            yield f"{path} has no anchor {anchor}"
    for anchor in re.findall(r"`#([a-z][\w]*-\d+)`", text):
        if anchor not in anchors_of_page(ROOT / PAPER):
            yield f"{PAPER} has no anchor {anchor}"
    for target in re.findall(r"\]\(([^()\s]+)\)", text) if page else ():
        path, _, anchor = target.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page  # type: ignore[operator]
        if re.match(r"[a-z]+:", target) or place.is_dir() or "generated" in target:  # Sphinx sees to what it generates
            continue
        if not place.is_file():
            yield f"no file {target}"
        elif anchor and place.suffix == ".md" and not has_anchor(place.resolve(), anchor):
            yield f"no anchor {target}"


def wrong_files(text: str, page: str | None = None) -> Iterator[str]:
    """Yield the files that are named by a path from the root, or by the end of one between backticks or, on a page, in
    a drawing, which may also name folders; ``page``: where the text is from, if from a page."""
    there = files_of_the_repository()
    for path in re.findall(rf"(?<![\w/.\-])((?:{TOP_FOLDERS})/[\w/.-]+\.(?:{SUFFIXES}))\b(?![\w/*-])", text):
        if path not in there:
            yield f"no file {path}"
    for path in re.findall(r"`([\w/]+\.py)`", text):
        if not any(f"/{file}".endswith(f"/{path}") for file in there):
            yield f"no file that ends in {path}"
    for path in paths_in_drawings(text) if page else ():
        if not any(f"/{there_is}".endswith(f"/{path}") for there_is in there | folders_of_the_repository()):
            yield f"nothing ends in {path}"


def paths_in_drawings(text: str) -> Iterator[str]:
    """Yield the paths of code, and of folders with their slash, in the drawings (blocks of ``text``) of a page."""
    for drawing in re.findall(r"```text\b(.*?)```", text, flags=re.DOTALL):
        yield from re.findall(r"(?<![\w/.-])((?:[a-z_]\w*/)+(?:\w+\.py)?)(?![\w/*-])", drawing)


def wrong_names(text: str) -> Iterator[str]:
    """Yield the names of this project in Sphinx's roles and in backticks that are not in the code."""
    for name in re.findall(r":\w+:`~?(mtmoe\.[\w.]+)`", text):
        if not is_in_the_code(name):
            yield f"nothing is called {name}"


def is_in_the_code(name: str) -> bool:
    """Return whether a dotted name is a module, or something that its module defines."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ROOT.joinpath(*parts[:length])
        file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
        if file.is_file():
            defined = file.read_text(encoding="utf-8")
            return all(re.search(rf"\b{part}\b", defined) for part in parts[length:])
    return False


@functools.cache
def names_of_settings() -> frozenset[str]:
    """Return the dotted names of everything that a recipe may set; `data.train.name` is a key of a list's tables."""
    return frozenset(re.sub(r"\[\w*\]", "", setting.key) for setting in describe_settings())


_FILES = ("subwords.model", "model.mtmoe")
"""Names of files that look like settings."""


def wrong_settings(text: str) -> Iterator[str]:
    """Yield the settings named between backticks, such as `model.moe.gate`, that a recipe does not have."""
    there = names_of_settings()
    for name in re.findall(r"`((?:data|subwords|model|training|decoding)\.[a-z_.]+[a-z])\b", text):
        if name not in there and not name.endswith((".safetensors", ".key")) and name not in _FILES:
            yield f"no setting {name}"


def faults(text: str, page: str | None = None) -> list[str]:
    """Return what is wrong with the citations of a text; ``page``: the path of a Markdown file that it is from."""
    other_documents = [f"cites another document: {words}" for words in re.findall(r"\b[Ss]pec\.? \d[\d.]*", text)]
    return [
        *other_documents,
        *wrong_numbers(text),
        *wrong_anchors(text, page),
        *wrong_files(text, page),
        *wrong_names(text),
        *wrong_settings(text),
    ]


def cited_texts() -> Iterator[Path]:
    """Yield every file whose citations are checked, relative to the root."""
    for name in sorted(files_of_the_repository()):
        path = Path(name)
        is_written = path.suffix in (".py", ".md", ".toml", ".slurm", ".sh") and "generated" not in path.parts
        if is_written and path not in (OWN_PATH, Path("constraints.txt")):
            yield path


def prose_of(path: Path) -> str:
    """Return the text of a file with the line breaks and comment signs between words taken out."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = re.sub(r"\"\n\s+f?\"", "", text)  # two string literals, one text
    return re.sub(r"\n[ \t]*(?:# )?", " ", text)


@pytest.mark.parametrize("path", list(cited_texts()), ids=str)
def test_what_is_cited_is_there(path: Path) -> None:
    text = prose_of(path)
    page = str(path) if path.suffix == ".md" else None
    assert faults(text, page) == []


@pytest.mark.parametrize(
    "good",
    [
        "Eq. 10 of the paper, eqs. 8-11, eqs. 2, 16 and 17, equation 22",
        "paper, appendix F, Table 6; appendices A and B",
        f"`{PAPER}#decision-17` and `#decision-18`",
        "`mtmoe/model/attention.py`, ``attention.py``, `model/attention.py`",
        ":class:`mtmoe.model.attention.Attention`, :mod:`mtmoe.model.attention`, :meth:`forward`",
        "`model.moe.noise_floor`, `training.validation`, `decoding.beam_size=5`, `model.safetensors`",
        "`data.train.source_column`, `data.cleaning.on_invalid_utf8`, `subwords.model`",
        "the specification of 2017; 3 decisions; tests/test_*.py; a table 12 m long",
    ],
)
def test_a_good_citation_passes(good: str) -> None:
    assert faults(good) == []


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (f"see spec {7}.6", f"cites another document: spec {7}.6"),
        (f"(spec {8}, row 17)", f"cites another document: spec {8}"),
        ("Eq. 23: there are 22", f"eq 23 is not on {PAPER}"),
        ("eqs. 20-23", f"eq 23 is not on {PAPER}"),
        ("decision 26", f"decision 26 is not on {PAPER}"),
        ("Tables 7 and 10", f"table 10 is not on {PAPER}"),
        ("appendix H", "the paper has no appendix H"),
        (f"`{PAPER}#decision-26`", f"{PAPER} has no anchor decision-26"),
        (f"`{PAPER}#decision-1` and `#decision-0`", f"{PAPER} has no anchor decision-0"),
        ("docs/explanation/papers.md", "no file docs/explanation/papers.md"),
        ("docs/explanation/papers.md#eq-1", "no file docs/explanation/papers.md"),
        ("mtmoe/model/inattention.py", "no file mtmoe/model/inattention.py"),
        ("``inattention.py``", "no file that ends in inattention.py"),
        (":class:`mtmoe.model.attention.Inattention`", "nothing is called mtmoe.model.attention.Inattention"),
        ("`model.moe.noise_ceiling`", "no setting model.moe.noise_ceiling"),
        ("`data.cleaning.on_bad_weather`", "no setting data.cleaning.on_bad_weather"),
        (":mod:`mtmoe.model.inattention`", "nothing is called mtmoe.model.inattention"),
    ],
)
def test_a_bad_citation_is_caught(bad: str, told: str) -> None:
    assert faults(bad) == [told]


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("[a](#decision-26)", "no anchor #decision-26"),
        ("[a](paper.md#no-such-thing)", "no anchor paper.md#no-such-thing"),
        ("[a](no-page.md)", "no file no-page.md"),
        ("```text loss  model/inattention.py ```", "nothing ends in model/inattention.py"),
        ("```text loss  training/no_losses/ ```", "nothing ends in training/no_losses/"),
    ],
)
def test_a_bad_link_or_drawing_of_a_page_is_caught(bad: str, told: str) -> None:
    assert faults(bad, PAPER) == [told]
    assert faults("```text loss  model/attention.py, training/losses/: and/or ```", PAPER) == []
    assert faults("[a](https://example.org/x.md#y) [b](#decision-1) [c](paper.md) [d](#the-paper)", PAPER) == []


def test_a_citation_over_two_lines_is_one() -> None:
    assert list(cited_numbers(re.sub(r"\n[ \t]*(?:# )?", " ", "eqs. 3\n    # and 99"), "eq")) == [3, 99]


def test_the_page_has_every_equation_and_decision_once() -> None:
    text = (ROOT / PAPER).read_text(encoding="utf-8")
    targets = re.findall(r"^\(([\w-]+)\)=$", text, flags=re.MULTILINE)
    assert len(targets) == len(set(targets))
    assert [target for target in targets if target.startswith("eq-")] == [f"eq-{n}" for n in range(1, 23)]
    assert re.findall(r"\\tag\{(\d+)\}", text) == [str(n) for n in range(1, 23)]
    decisions = re.findall(r"^\(decision-(\d+)\)=\n### Decision (\d+): ", text, flags=re.MULTILINE)
    assert decisions == [(str(n), str(n)) for n in range(1, 26)]


def test_the_glossary_is_in_the_order_of_the_alphabet() -> None:
    text = (ROOT / "docs/reference/glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^- \*\*(.+?)\*\*: ", text, flags=re.MULTILINE)
    assert len(terms) > 40
    assert terms == sorted(set(terms), key=str.casefold)


def test_every_decision_that_the_code_follows_is_cited_where_it_does() -> None:
    code = " ".join(prose_of(path) for path in cited_texts() if path.parts[0] == "mtmoe")
    slips_of_the_paper = range(22, 26)
    cited = {int(number) for number in re.findall(r"#decision-(\d+)", code)}
    assert cited == {n for n in range(1, 26) if n not in slips_of_the_paper}
