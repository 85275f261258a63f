"""An earlier report of the same patient: read strictly, and only if it is one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spine.errors import InputError
from spine.read.text import json_document
from spine.resources import violations

SCHEMA = "spine-degeneration-report.schema.json"
MAX_BYTES = 5_000_000  # a report of 24 levels has about 0.3 MB
MAX_YEARS = 100.0


def read_prior(path: Path, interval_years: float | None) -> Mapping[str, Any]:
    """The report in `path`, with `interval_years` between the two studies where it is known.

    Raises InputError when the file is not a spine-degeneration-report.json or the interval is not a time.
    """
    report = json_document(path, path.name, MAX_BYTES, InputError)
    if next(violations(report, SCHEMA), None) is not None:
        raise InputError(f"{path.name}: a spine-degeneration-report.json of an earlier study is expected.")
    if interval_years is None:
        return dict(report)
    if not 0.0 < interval_years < MAX_YEARS:
        raise InputError(f"--prior-years is {interval_years:g}; a number of years above 0 and below 100 is expected.")
    return {**report, "interval_years": interval_years}
