"""Parallel text for tests: sentences of a few patterns in English, German, French and Japanese, and files of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.sax.saxutils import escape

WORDS = {
    "who": [
        ("The teacher", "Der Lehrer", "Le professeur", "先生"),
        ("My brother", "Mein Bruder", "Mon frère", "兄"),
        ("The doctor", "Der Arzt", "Le médecin", "医者"),
        ("Our neighbour", "Unser Nachbar", "Notre voisin", "隣人"),
    ],
    "what": [
        ("the old book", "das alte Buch", "le vieux livre", "古い本"),
        ("a long letter", "einen langen Brief", "une longue lettre", "長い手紙"),
        ("the new newspaper", "die neue Zeitung", "le nouveau journal", "新しい新聞"),
        ("the red umbrella", "den roten Regenschirm", "le parapluie rouge", "赤い傘"),
        ("an expensive picture", "ein teures Bild", "un tableau coûteux", "高い絵"),
    ],
    "when": [
        ("yesterday evening", "gestern Abend", "hier soir", "昨夜"),
        ("last week", "letzte Woche", "la semaine dernière", "先週"),
        ("on Sunday morning", "am Sonntagmorgen", "dimanche matin", "日曜日の朝"),
        ("three days ago", "vor drei Tagen", "il y a trois jours", "三日前"),
    ],
    "where": [
        ("at the station", "am Bahnhof", "à la gare", "駅"),
        ("in the library", "in der Bibliothek", "dans la bibliothèque", "図書館"),
        ("behind the school", "hinter der Schule", "derrière l'école", "学校の裏"),
        ("in the garden", "im Garten", "dans le jardin", "庭"),
        ("near the hospital", "in der Nähe des Krankenhauses", "près de l'hôpital", "病院の近く"),
    ],
}
PATTERNS = {
    "en": "{who} found {what} {where} {when}.",
    "de": "{who} fand {when} {where} {what}.",
    "fr": "{who} a trouvé {what} {where} {when}.",
    "ja": "{when}、{who}は{where}で{what}を見つけました。",
}
MOST = 400


def sentences(code: str, number: int = MOST) -> list[str]:
    """Return different sentences, line n in every language the same one; at most `MOST`."""
    place = list(PATTERNS).index(code)
    chosen = list(itertools.product(*WORDS.values()))
    # Neighbours differ in length and in all words.
    order = [chosen[(i * 149) % MOST] for i in range(number)]
    return [
        PATTERNS[code].format(**{key: words[place] for key, words in zip(WORDS, row, strict=True)}) for row in order
    ]


def write_lines(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    """Write a sentence a line."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def write_tmx(path: Path, *sides: tuple[str, list[str]], header: str = "") -> Path:
    """Write a translation memory of some languages, by their codes."""
    units = "".join(
        "<tu>"
        + "".join(
            f'<tuv xml:lang="{code}"><seg>{escape(text)}</seg></tuv>'
            for (code, _), text in zip(sides, row, strict=True)
        )
        + "</tu>\n"
        for row in zip(*(lines for _, lines in sides), strict=True)
    )
    path.write_text(f'<tmx version="1.4"><header {header}/><body>\n{units}</body></tmx>\n', encoding="utf-8")
    return path
