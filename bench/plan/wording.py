"""Words for what is wrong: a value in a few characters, and the name that was probably meant."""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LONGEST_WORD = 100  # longer ones resemble no name, and comparing them takes long

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


def shown(value: Any) -> str:
    """Return a value as an error message shows it: short, however large or deep the value is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to print integers of very many digits
        return "a number too large to print"


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """Return `; did you mean 'NAME'?` for the nearest known name, or nothing where none is near."""
    if not isinstance(word, str) or len(word) > LONGEST_WORD:
        return ""
    matches = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def listed(names: Iterable[str]) -> str:
    """Return names as an error message lists them."""
    return ", ".join(sorted(names))
