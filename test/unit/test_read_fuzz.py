"""Damaged bytes: whatever they are, reading ends in a Study or in an InputError of one sentence."""

import pytest

from lab.evaluate.fuzz import KINDS, fuzz_kind

INPUTS = 50  # of each kind of file; `python -m lab.evaluate.fuzz` runs tens of thousands


@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_read_or_refused(kind):
    found = fuzz_kind(kind, INPUTS, seed=0)
    assert found.total() == INPUTS
    assert found.total() > found["read"]
