"""The texts of one language, read from resources/texts/<language>.json, and numbers written its way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spine.report.translation import Sentences, read_sentences
from spine.resources import RESOURCES

TEXTS_DIR = RESOURCES / "texts"
MINUS = "\N{MINUS SIGN}"


SPOKEN = ("reason", "doubt", "rule")  # names of values that hold a sentence of a stage
LONGEST_NAME = 60  # characters of a name that no language knows; whole sentences are cut later


def shortened(text: str, limit: int) -> str:
    """`text`, or its first `limit` characters with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True)
class Words:
    """Texts of one language. A key is a path: 'report.title'."""

    texts: Mapping[str, Any]
    sentences: Sentences = field(default_factory=Sentences)

    def say(self, key: str, **values: object) -> str:
        """The text `key` with `values` in its {places}; raises KeyError for a text or a value that is not there.

        Values that are sentences of a stage (SPOKEN) are put into this language first.
        """
        told = {name: self.told(str(values[name])) for name in SPOKEN if name in values}
        return str(self._find(key)).format_map({**values, **told})

    def told(self, sentence: str) -> str:
        """A sentence that a stage wrote, in this language."""
        return self.sentences.told(sentence)

    def lines(self, key: str) -> list[str]:
        """The list of texts `key`."""
        return list(self._find(key))

    def name(self, group: str, key: str) -> str:
        """Display name of `key` in the group of names `group`; the key itself, spaced, where the language has none."""
        return str(self._find(group).get(key, shortened(key.replace("_", " "), LONGEST_NAME)))

    def number(self, value: float, decimals: int = 0, signed: bool = False) -> str:
        """`value` with this language's decimal mark and a true minus sign; `signed` writes a plus as well."""
        text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
        if float(text) == 0:
            text = text.lstrip("+-")
        return text.replace("-", MINUS).replace(".", str(self.texts["decimal_mark"]))

    def listing(self, items: list[str]) -> str:
        """'a, b and c' in this language."""
        if len(items) < 2:
            return "".join(items)
        return f"{', '.join(items[:-1])} {self.texts['and']} {items[-1]}"

    def _find(self, key: str) -> Any:
        found: Any = self.texts
        for part in key.split("."):
            found = found[part]
        return found


def read_words(language: str) -> Words:
    """Texts of `language` ('en', 'nl'); FileNotFoundError when there are none."""
    texts = json.loads((TEXTS_DIR / f"{language}.json").read_text(encoding="utf-8"))
    return Words(texts, read_sentences(language, str(texts["decimal_mark"])))
