"""The measured figures in README.md and model/segmenter.md, and the picture of the bundled case: never typed by hand.

    python -m lab.evaluate.figures

Reads docs/segmenter/table_*.md, docs/grader/table_test.md and docs/benchmark/benchmark.md (written by
lab.evaluate.run_pack, lab.evaluate.run_grader and lab.benchmark), puts them between the `<!-- NAME -->` and
`<!-- /NAME -->` lines of each document, and runs the bundled synthetic case for docs/overlay.png.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
from PIL import Image

from spine.conform import conform_study
from spine.pipeline import open_models
from spine.read import read_study
from spine.report.picture import Picture, draw_picture

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "model/segmenter.md")
SOURCES = {
    "segmenter test": "docs/segmenter/table_test.md",
    "segmenter val": "docs/segmenter/table_val.md",
    "segmenter synthetic": "docs/segmenter/synthetic_only/table_test.md",
    "crops": "docs/segmenter/crops_test.md",
    "candidates": "docs/segmenter/candidates.md",
    "cervical": "docs/segmenter/table_cervical.md",
    "grader test": "docs/grader/table_test.md",
    "benchmark": "docs/benchmark/benchmark.md",
    "quality": "docs/quality/table.md",
}


def main() -> None:
    """Bring every document up to date."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name in DOCUMENTS:
        document = ROOT / name
        text = document.read_text(encoding="utf-8")
        for mark, source in SOURCES.items():
            if (ROOT / source).exists():
                text = fill(text, mark, first_table((ROOT / source).read_text(encoding="utf-8")))
        document.write_text(text, encoding="utf-8")
    save_overlay(ROOT / "docs" / "overlay.png")


def first_table(text: str) -> str:
    """What stands before the end of the first table of a Markdown `text`, T1 alone left to the card."""
    before, rows = [], []
    for line in text.strip().splitlines():
        if rows and not line.startswith("|"):
            break
        (rows if line.startswith("|") else before).append(line)
    return "\n".join([*before, *(r for r in rows if not r.startswith("| spider_t1"))])


def fill(text: str, mark: str, content: str) -> str:
    """`text` with what stands between the lines of `mark` replaced; unchanged where it has no such lines."""
    pattern = re.compile(rf"(<!-- {re.escape(mark)} -->\n).*?(<!-- /{re.escape(mark)} -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}{content}\n{found[2]}", text)


def bundled_picture() -> Picture:
    """The mid-sagittal picture of the bundled case as the report shows it."""
    models = open_models(ROOT / "model", "cpu")
    volume = conform_study(read_study(ROOT / "test" / "input" / "lumbar"), models.settings.grid)
    return draw_picture(volume, models.read(volume)[1])


def save_overlay(file: Path) -> None:
    """Plain and coloured picture side by side, with level names."""
    from PIL import ImageDraw

    picture = bundled_picture()
    plain = np.repeat(picture.plain[..., None], 3, 2)
    both = Image.fromarray(np.concatenate((plain, picture.overlay), 1))
    pen = ImageDraw.Draw(both)
    rows, columns = picture.plain.shape
    for mark in (*picture.vertebrae, *picture.discs):
        pen.text((columns + mark.x * columns, mark.y * rows), mark.text, fill="white", anchor="mm")
    file.parent.mkdir(parents=True, exist_ok=True)
    both.save(file, optimize=True)


if __name__ == "__main__":
    main()
