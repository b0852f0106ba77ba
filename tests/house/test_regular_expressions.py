"""No regular expression of the project takes a time out of proportion to what it is looked for in."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time

import mtmoe.cli
import pytest
import regex

import mtmoe
from mtmoe.config.placeholder_patterns import PATTERNS

UNITS = [
    *'. a1([<{%-@_;"\n\t\u0301。、',
    *[
        "a.",
        "1.",
        "1,",
        ".)",
        "a@",
        "a.b@",
        "@a.",
        "<0",
        "<2",
        "<0x",
        "{{",
        "{a",
        "{a:",
        "{a:%",
        "{}{",
        "{a,",
        "${",
        "{%",
        "%(",
        "%1$",
        "%-",
        "%5",
        "%.",
    ],
]
UNITS += [
    *["https://", "https://a(", "www.a.", "&amp;", "<a", "<a", "x=", "<!--", "<!---", "a==", ".experts", ".gate.a_GL"]
]
UNITS += [". ", "a. ", "{ ", "<a ", '<a x="', "<a x='<a y=\"", "Vocabulary size too high <= "]
TAILS = ["", "!", " x", "<", "}"]


def expressions() -> dict[str, re.Pattern | regex.Pattern]:
    """Every compiled expression that a module of the project keeps, by where it is."""
    found = {f"placeholders {name}": regex.compile(pattern) for name, pattern in PATTERNS.items()}
    for package in (mtmoe, mtmoe.cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith(("__main__", "factored_adam_kernels")):
                continue
            for name, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, (re.Pattern, regex.Pattern)):
                    found[f"{module.name}.{name}"] = value
    return found


EXPRESSIONS = expressions()


def seconds(pattern, text) -> float:
    text = text.encode() if isinstance(pattern.pattern, bytes) else text
    begin = time.thread_time()  # of the processor: the machine has other work
    for _ in pattern.finditer(text):
        pass
    return time.thread_time() - begin


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_three_times_the_text_takes_about_three_times_as_long(name):
    pattern = EXPRESSIONS[name]
    for unit in UNITS:
        for tail in TAILS:
            short, long = (unit * (size // len(unit)) + tail for size in (20_000, 60_000))
            taken = seconds(pattern, short)
            if taken > 0.03:  # in less nothing quadratic can be done with 20,000 characters
                best = min(taken, seconds(pattern, short))
                assert seconds(pattern, long) < 6 * best + 0.1, (unit, tail)


def test_the_expressions_of_many_modules_were_found():
    assert {
        "mtmoe.inference.text.long_lines._SENTENCE",
        "placeholders urls",
        "mtmoe.inference.files.line_formats._ESCAPED",
    } <= EXPRESSIONS.keys()


def test_the_slow_one_would_be_seen():
    slow = re.compile("[.]+[)]*(?= )")  # what the sentence splitter had
    short = min(seconds(slow, "." * 2_000) for _ in range(3))  # the machine may stumble
    assert seconds(slow, "." * 10_000) > 6 * short + 0.1
