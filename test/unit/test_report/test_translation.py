"""Sentences of the stages in Dutch: each flag and each reason has its translation, and none is left half English."""

import ast
import json
import re
import string
from pathlib import Path

import pytest

import spine
from spine.report.translation import SENTENCES_DIR, read_sentences
from spine.report.words import read_words

ROOT = Path(spine.__file__).parent
DUTCH = read_words("nl")
# Where no sentence reaches a page: command line, messages of an error, DICOM and FHIR, which are English.
SILENT = (
    "arguments", "case", "serve", "gpu", "memory", "write", "runners", "warned", "export", "read/headers",
    "read/library", "report/summary", "settings",
)  # fmt: skip
# Notes on how a value came about and what it was compared with: method and literature, English on every page.
METHOD = (
    "grade/evidence.py", "grade/modic.py", "measure/norms.py", "fuse/evidence.py", "muscle/measure.py",
    "xray/grade.py", "xray/measure.py", "measure/vertebrae.py", "measure/unproven.py",
)  # fmt: skip
STAYS = json.loads((Path(__file__).parent / "english_stays.json").read_text(encoding="utf-8"))


def skipped(tree):
    """Docstrings, what is raised, and the pieces of f-strings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr):
            found.add(id(node.body[0].value))
        if isinstance(node, ast.Raise):
            found |= {id(part) for part in ast.walk(node)}
        if isinstance(node, ast.JoinedStr):
            found |= {id(part) for part in node.values}
    return found


def sentences(path):
    """Every string of a module that reads like a sentence, '7' for each value in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed = skipped(tree)
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        text = None
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"\{[\w.:]+\}", "7", node.value)
        if text is not None and sum(word.strip(",.:;()").isalpha() for word in text.split()) >= 4:
            yield text


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not name.startswith(SILENT) and name not in METHOD:
            yield name


def test_a_flag_or_reason_without_dutch_words_fails_here():
    """Add its sentence to resources/sentences/nl.json, or to english_stays.json where it is no flag and no reason."""
    missing = {}
    for name in modules():
        for text in sentences(ROOT / name):
            if text not in STAYS and DUTCH.told(text) == text:
                missing.setdefault(name, []).append(text)
    assert missing == {}


def test_every_translation_keeps_its_places():
    table = json.loads((SENTENCES_DIR / "nl.json").read_text(encoding="utf-8"))

    def places(text):
        return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)

    assert [text for text in table if places(text) != places(table[text]) or text.endswith(".")] == []
    assert [text for text in table if len(places(text)) != len(set(places(text)))] == []


@pytest.mark.parametrize(
    ("english", "dutch"),
    [
        ("the outlines are doubtful: predicted Dice 0.79", "de omtrekken zijn twijfelachtig: voorspelde Dice 0,79"),
        (
            "L5/S1: the outline of the discs is doubtful: predicted Dice 0.61 is below 0.70",
            "L5/S1: de omtrek van de tussenwervelschijven is twijfelachtig: voorspelde Dice 0,61 ligt onder 0,70",
        ),
        (
            "axial-t2-spine-mri: given but not used: the file is truncated",
            "axial-t2-spine-mri: meegegeven maar niet gebruikt: het bestand is afgekapt",
        ),
        ("Neither this nor that is known.", "Neither this nor that is known."),
        ("sagittal-spine-mri: something new", "sagittal-spine-mri: something new"),
        ("", ""),
    ],
)
def test_sentences_and_sentences_within_them(english, dutch):
    assert DUTCH.told(english) == dutch
    assert read_words("en").told(english) == english


def test_an_unknown_language_has_no_sentences():
    assert read_sentences("fr", ",").told("the folder is missing") == "the folder is missing"
