"""neck: when a picture is read again, which part of it, and how the two answers meet."""

from dataclasses import replace

import numpy as np
import pytest

from spine import neck
from spine.anatomy import STRUCTURES, Structure, vertebra_name
from spine.neck import read_neck
from spine.records import Disc, Grid, LabelledSpine, Numbering, Segmentation, Vertebra, Volume
from spine.settings import SegmenterSettings

SETTINGS = SegmenterSettings(file="x", sha256="", neighbours=1, batch=1)
ROWS, COLUMNS = 256, 256
FIRST_LABEL, PITCH = 8, 20  # T10 is the lowest body; rows between bodies
SPINE_COLUMNS = slice(100, 140)


class Everywhere:
    """Answers that every voxel is `structure`, and keeps the shapes that it was shown."""

    name = "second"

    def __init__(self, structure):
        self.structure, self.shapes = structure, []

    def __call__(self, batch):
        self.shapes.append(batch.shape)
        answer = np.zeros((len(batch), len(STRUCTURES), *batch.shape[2:]), np.float32)
        answer[:, self.structure] = 1
        return answer


def volume():
    grid = Grid((COLUMNS, ROWS, 3), (0.8, 0.8, 3.0), (0.0, 0.0, 0.0), (0.0, 0, 1, 1, 0, 0, 0, -1, 0))
    array = np.zeros((3, ROWS, COLUMNS), np.float32)
    return Volume(array, (3.0, 0.8, 0.8), (3, ROWS - 6, COLUMNS), np.eye(4), grid, (2, 1, 0), (False, False, False))


def discs_everywhere():
    probabilities = np.zeros((len(STRUCTURES), 3, ROWS, COLUMNS), np.float16)
    probabilities[Structure.DISC] = 1
    structures = np.full((3, ROWS, COLUMNS), Structure.DISC, np.uint8)
    structures[:, ROWS - 6 :] = 0
    return Segmentation(probabilities, structures, {}, "first")


def spine(highest, lowest=FIRST_LABEL):
    """Bodies from `lowest` up to `highest`, every PITCH rows."""
    bodies = [
        Vertebra(n, vertebra_name(n), False, (1.0, 10.0 + PITCH * (highest - n), 120.0), 100, 0.9)
        for n in range(lowest, highest + 1)
    ]
    mask = np.zeros((3, ROWS, COLUMNS), np.uint8)
    for body in bodies:
        row = int(body.centre[1])
        mask[1, max(row - 5, 0) : row + 5, SPINE_COLUMNS] = body.label
    return LabelledSpine(mask, np.zeros_like(mask), tuple(bodies), (), Numbering("counted", 0.9, (), None))


@pytest.fixture
def labelled(monkeypatch):
    """What second answers are labelled as: a list to be filled, taken in turn, the last one stays."""
    found = []
    monkeypatch.setattr(neck, "label_levels", lambda _, __: found.pop(0) if len(found) > 1 else found[0])
    return found


@pytest.mark.parametrize("highest", [17, 18])
def test_a_picture_with_less_than_two_bodies_of_the_neck_is_not_read_again(highest):
    runner, first, found = Everywhere(Structure.BODY), discs_everywhere(), spine(highest)
    assert read_neck(volume(), first, found, runner, SETTINGS) == (first, found)
    assert not runner.shapes


def test_the_second_answer_counts_in_the_neck_and_fades_out_below(labelled):
    runner, first, found = Everywhere(Structure.BODY), discs_everywhere(), spine(19)
    labelled.append(found)
    merged, again = read_neck(volume(), first, found, runner, SETTINGS)
    assert again.read_again == {14, 15, 16, 17, 18, 19}  # T4 to C6
    end = int(next(v.centre[1] for v in found.vertebrae if v.name == "T5"))
    fade = round(neck.FADE_MM / 0.8)
    middle = merged.structures[1, :, 120]
    assert (middle[:end] == Structure.BODY).all()
    assert (middle[end + fade : ROWS - 6] == Structure.DISC).all()
    assert (merged.structures[:, ROWS - 6 :] == 0).all()
    body = merged.probabilities[Structure.BODY, 1, :, 120].astype(float)
    assert (np.diff(body) <= 0).all()
    assert (body[:end] == 1).all()
    assert (body[end + fade :] == 0).all()
    np.testing.assert_allclose(merged.probabilities.sum(0, dtype=np.float32), 1.0, atol=2e-3)
    assert (first.structures[:, : ROWS - 6] == Structure.DISC).all()
    assert merged.runner == "first; neck: second"


def test_only_the_columns_around_the_spine_are_read_again(labelled):
    runner, found = Everywhere(Structure.BODY), spine(19)
    labelled.append(found)
    merged, _ = read_neck(volume(), discs_everywhere(), found, runner, SETTINGS)
    seen = np.flatnonzero(merged.structures[1, 20] == Structure.BODY)
    beside = neck.BESIDE_MM / 0.8
    assert seen[0] <= SPINE_COLUMNS.start - beside + 1
    assert seen[-1] >= SPINE_COLUMNS.stop - 1 + beside - 1
    assert len(seen) < COLUMNS
    assert all(size % 32 == 0 for shape in runner.shapes for size in shape[2:])


def test_a_neck_that_fills_the_picture_is_read_again_as_a_whole(labelled):
    runner, found = Everywhere(Structure.BODY), spine(23, lowest=15)
    labelled.append(found)
    merged, _ = read_neck(volume(), discs_everywhere(), found, runner, SETTINGS)
    assert (merged.structures[1, : ROWS - 6, 120] == Structure.BODY).all()


def test_a_second_answer_that_names_less_does_not_count(labelled):
    first, found = discs_everywhere(), spine(20)
    labelled.append(spine(19))
    assert read_neck(volume(), first, found, Everywhere(Structure.BODY), SETTINGS) == (first, found)
    disc = Disc(218, "C7/T1", (1.0, 80.0, 120.0), 50, 0.9)
    labelled[:] = [replace(found, discs=(disc,))]
    merged, again = read_neck(volume(), first, found, Everywhere(Structure.BODY), SETTINGS)
    assert merged is not first
    assert again.discs == (disc,)


def test_an_axis_that_the_first_network_alone_knows_keeps_its_name(labelled):
    first, found = discs_everywhere(), spine(23, lowest=15)
    first.structures[1, :10, 100:140] = Structure.C2
    axis = replace(found, numbering=Numbering("axis", 1.0, (), None))
    labelled += [spine(22, lowest=14), axis]
    merged, again = read_neck(volume(), first, axis, Everywhere(Structure.BODY), SETTINGS)
    assert again == replace(axis, read_again=frozenset(range(15, 24)))
    assert (merged.structures[1, :10, 100:140] == Structure.C2).all()
    assert (merged.structures[1, 10:200, 100:140] == Structure.BODY).all()
    assert (merged.probabilities[Structure.C2, 1, :10, 100:140] == 1).all()
    assert (merged.probabilities[Structure.BODY, 1, :10, 100:140] == 0).all()
