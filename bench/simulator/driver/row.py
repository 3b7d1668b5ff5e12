"""Values with named fields, and how they are written as words of a line.

A NamedTuple or a dataclass would do as much; importing what they need (`typing`, `collections`, `re`) would
double the cost of every call of a stand-in tool.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self, dataclass_transform
else:

    def dataclass_transform(**_):  # noqa: D103 # typing documents it
        return lambda cls: cls


Value = str | int | float | bool | None
NOTHING = "-"


def _plain(word: str) -> str:
    """Undo the escapes of a word; few have any, and loading the codec takes time."""
    return word.encode("ascii").decode("unicode_escape") if "\\" in word else word


READ: dict[str, Callable[[str], Value]] = {
    "bool": "True".__eq__,
    "int": int,
    "float": float,
    "str": _plain,
}
"""How a word becomes a value again, by the annotation of the field."""


def to_word(value: Value) -> str:
    r"""Write a value as one word; blanks, odd characters and a lone dash are escaped as in `\x20`."""
    if value is None:
        return NOTHING
    word = str(value).encode("unicode_escape").decode("ascii").replace(" ", r"\x20")
    return r"\x2d" if word == NOTHING else word


def from_word(word: str, annotation: str) -> Value:
    """Read what `to_word` wrote of a field with this annotation."""
    return None if word == NOTHING else READ[annotation.removesuffix(" | None")](word)


def kinds(cls: type) -> dict[str, str]:
    """Return the annotations of the fields that fit in a word, by name."""
    annotations = cls.__annotations__.items()
    return {name: kind for name, kind in annotations if kind.removesuffix(" | None") in READ}


@dataclass_transform(frozen_default=True)
class Row:
    """A value with the fields that its class annotates, equal to another by their values.

    Arguments and frozenness are mypy's to check, at run time nothing is.
    """

    def __init__(self, *values: object, **named: object) -> None:
        vars(self).update(zip(type(self).__annotations__, values), **named)  # noqa: B905 # defaults may follow

    @classmethod
    def from_words(cls, words: list[str]) -> Self:
        """Read what `words` gave; ValueError if there are too few or too many."""
        fields = zip(kinds(cls).items(), words, strict=True)
        return cls(**{name: from_word(word, kind) for (name, kind), word in fields})

    def words(self) -> list[str]:
        """Return the fields that fit in a word, in order."""
        return [to_word(getattr(self, name)) for name in kinds(type(self))]

    def fields(self) -> dict[str, object]:
        """Return every field with its value, defaults included."""
        return {name: getattr(self, name) for name in type(self).__annotations__}

    def replace(self, **changes: object) -> Self:
        """Return a copy in which some fields are others."""
        return type(self)(**self.fields() | changes)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Row) and self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(tuple(self.fields().values()))
