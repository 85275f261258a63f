"""Sentences of the stages, which are English, in another language: whole sentences with places for what differs.

resources/sentences/<language>.json maps each English sentence to its translation. '{a}' is a place: what stands there
is put into the translation, translated itself where it is known. What no sentence fits stays English.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from spine.resources import RESOURCES

SENTENCES_DIR = RESOURCES / "sentences"
PLACE = re.compile(r"\\\{(\w)\\\}")  # '{a}' after re.escape
NUMBER = re.compile(r"[+-]?\d+\.\d+")
SEPARATORS = ("; ", ": ", ", ")  # between sentences that were joined, the loosest first
DEEPEST = 6  # sentences within sentences


@dataclass(frozen=True)
class Sentences:
    """The sentences of one language."""

    plain: Mapping[str, str] = field(default_factory=dict)
    patterns: Sequence[tuple[re.Pattern[str], str]] = ()  # the most literal first
    decimal_mark: str = "."

    def told(self, text: str, depth: int = 0) -> str:
        """`text` in this language, as far as its sentences are known."""
        if not (self.plain or self.patterns) or depth > DEEPEST:
            return text
        if NUMBER.fullmatch(text):
            return text.replace(".", self.decimal_mark)
        end = "." if text.endswith(".") else ""
        body = text.removesuffix(".")
        found = self._whole(body, depth)
        if found is None and body[:1].isupper():
            found = self._whole(body[:1].lower() + body[1:], depth)
            found = None if found is None else found[:1].upper() + found[1:]
        return (self._parts(body, depth) if found is None else found) + end

    def _whole(self, text: str, depth: int) -> str | None:
        """The translation of a sentence that is known as it stands or by its places."""
        if text in self.plain:
            return self.plain[text]
        for pattern, translation in self.patterns:
            match = pattern.fullmatch(text)
            if match:
                places = {place: self.told(value, depth + 1) for place, value in match.groupdict().items()}
                return translation.format_map(places)
        return None

    def _parts(self, text: str, depth: int) -> str:
        """`text` cut where sentences were joined, part by part; unchanged where no part is known."""
        for separator in SEPARATORS:
            parts = text.split(separator, 1)
            if len(parts) > 1:
                told = [self.told(part, depth + 1) for part in parts]
                if told != parts:
                    return separator.join(told)
        return text


@lru_cache(maxsize=4)
def read_sentences(language: str, decimal_mark: str) -> Sentences:
    """Sentences of `language`; none, where the stages speak it themselves or nobody has translated them."""
    path = SENTENCES_DIR / f"{language}.json"
    if not path.exists():
        return Sentences()
    table: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    placed = sorted((text for text in table if "{" in text), key=lambda text: -len(re.sub(r"\{\w\}", "", text)))
    patterns = [(re.compile(PLACE.sub(r"(?P<\1>.+?)", re.escape(text))), table[text]) for text in placed]
    return Sentences({text: told for text, told in table.items() if "{" not in text}, patterns, decimal_mark)
