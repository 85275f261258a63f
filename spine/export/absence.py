"""Why a value is absent, as HL7 sorts it: each reason of the report -> a code of the system data-absent-reason."""

from __future__ import annotations

import re

DISPLAY = {
    "not-performed": "Not Performed",
    "not-applicable": "Not Applicable",
    "unsupported": "Unsupported",
    "unknown": "Unknown",
}
# First match counts. The reasons are sentences of the stages; one that nobody foresaw stays 'unknown', which is never
# wrong, and its words stand beside the code.
KINDS = (
    # what this software cannot do, or must not say, whatever the image
    (
        r"not implemented|to learn from|not graded|not validated|no table of prevalence|prevalences are known",
        "unsupported",
    ),
    # what does not exist, or has no meaning there
    (r"does not exist|of its own|has no body|are not defined", "not-applicable"),
    # what could not be measured because it was not given, not imaged, or not imaged in a way that allows it
    (
        r"in view|cut by|does not cover|was given|is missing|outermost slice|slices lie|one slice shows|fewer than|"
        r"too little of|not bright in this series|no slice shows",
        "not-performed",
    ),
)


def absence_code(reason: str) -> str:
    """Code of data-absent-reason for the `reason` why something was not measurable."""
    return next((code for pattern, code in KINDS if re.search(pattern, reason)), "unknown")
