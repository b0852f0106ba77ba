"""Keyboards: which keys lie beside a key, by the layout that a language is mostly typed on."""

from __future__ import annotations

from functools import cache

from mtmoe.languages import normal_code, script_of

# Letters of the three rows; a space is a key that types no letter. Each row begins further to the right.
_LAYOUTS: dict[str, tuple[str, str, str]] = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
    "spanish": ("qwertyuiop", "asdfghjklñ", "zxcvbnm"),
    "nordic": ("qwertyuiopå", "asdfghjklöä", "zxcvbnm"),
    "danish": ("qwertyuiopå", "asdfghjklæø", "zxcvbnm"),
    "turkish": ("qwertyuıopğü", "asdfghjklşi", "zxcvbnmöç"),
    "russian": ("йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю"),
    "ukrainian": ("йцукенгшщзхї", "фівапролджє", "ячсмитьбю"),
    "greek": (" ςερτυθιοπ", "ασδφγηξκλ", "ζχψωβνμ"),
    "hebrew": ("  קראטוןםפ", "שדגכעיחלךף", "זסבהנמצתץ"),
    "arabic": ("ضصثقفغعهخحجد", "شسيبلاتنمكط", "ئءؤر ىةوزظ"),
}
_OF_LANGUAGE = {
    **dict.fromkeys(("de", "cs", "sk", "hu", "sl", "hr", "bs", "lb"), "qwertz"),
    **dict.fromkeys(("es", "gl", "ca", "eu"), "spanish"),
    **dict.fromkeys(("sv", "fi"), "nordic"),
    **dict.fromkeys(("da", "no", "nb", "nn"), "danish"),
    **{"fr": "azerty", "tr": "turkish", "uk": "ukrainian"},
}
_OF_SCRIPT = {"Latn": "qwerty", "Cyrl": "russian", "Grek": "greek", "Hebr": "hebrew", "Arab": "arabic"}
_ROW_BEGINS_AT = (0.0, 0.25, 0.75)  # in widths of a key


@cache
def neighbours_of(language: str) -> dict[str, str]:
    """Return the letters of the keys around each letter's key, small letters all.

    A language that is not known has those of QWERTY; one whose script has no layout here, or is typed by conversion
    (Chinese, Japanese), has none.
    """
    name = _OF_LANGUAGE.get(normal_code(language).partition("-")[0]) or _OF_SCRIPT.get(script_of(language) or "Latn")
    if name is None:
        return {}
    keys = [
        (letter, row, place + _ROW_BEGINS_AT[row])
        for row, letters in enumerate(_LAYOUTS[name])
        for place, letter in enumerate(letters)
        if letter != " "
    ]
    return {
        letter: "".join(
            other
            for other, other_row, other_place in keys
            if other != letter and abs(other_row - row) <= 1 and abs(other_place - place) <= 1
        )
        for letter, row, place in keys
    }
