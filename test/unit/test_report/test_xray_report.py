"""What a film gives -> the document, the page in two languages, the patient's words."""

from dataclasses import replace

import numpy as np
import pytest

from spine.records import FilmPoint, Grade, Measurement, Series, XrayFindings
from spine.report import compose_report
from spine.report.compose import report_document
from spine.report.patient_view import patient_sections
from spine.report.quality_view import doubt_lines
from spine.report.words import read_words
from spine.report.xray_view import film_page, film_picture, xray_object
from spine.resources import violations

SCHEMA = "spine-degeneration-report.schema.json"
HIDDEN = "C7 is not seen: hidden by the shoulders or outside the film"
CORNERS = ("superior_anterior", "superior_posterior", "inferior_anterior", "inferior_posterior")


def findings(**changes):
    """Two levels of a neck, the lower one worn; C6/C7 without C7."""
    rows = {"C5": 40.0, "C6": 60.0}
    places = {
        (body, point): (row + (12.0 if "inferior" in point else 0.0), 30.0 + (16.0 if "posterior" in point else 0.0))
        for body, row in rows.items()
        for point in CORNERS
    }
    points = [FilmPoint(body, point, 0.9, 0.5, place, place) for (body, point), place in places.items()]
    points.append(FilmPoint("C5", "inferior_tip", 0.8, 0.6, (52.0, 27.0), (52.0, 27.0)))
    points.append(FilmPoint("C7", "superior_anterior", reason="not seen"))
    names = ("disc_height_anterior_mm", "disc_height_posterior_mm", "disc_height_index", "disc_height_loss_percent")
    levels = [Measurement("C5/C6", name, 3.0, "mm", interval_90=(2.5, 3.5)) for name in names]
    levels += [Measurement("C5/C6", name, 20.0, "%") for name in ("slip_percent", "osteophyte_anterior_percent")]
    levels += [
        Measurement("C6/C7", name, None, "mm", not_measurable=HIDDEN)
        for name in (*names, "slip_percent", "osteophyte_anterior_percent")
    ]
    angle = Measurement("xray alignment", "c2_c7_angle_deg", None, "deg", not_measurable=HIDDEN)
    body = Measurement("C5", "body_ap_depth_mm", 16.0, "mm", interval_90=(15.0, 17.0))
    grades = (
        Grade("C5/C6", "kellgren", 3, (0.0, 0.1, 0.1, 0.8, 0.0), 0.8, ("disc 50 % lower",)),
        Grade("C5/C6", "low_disc_with_osteophyte", True, (0.9,), 0.9),
        Grade("C6/C7", "kellgren", None, not_measurable=HIDDEN),
        Grade("C6/C7", "low_disc_with_osteophyte", None, not_measurable=HIDDEN),
    )
    picture = np.tile(np.arange(120, dtype=np.uint8), (140, 1))
    whole = XrayFindings(
        (*levels, body, angle), grades, ("the film is odd",), tuple(points), picture, 1.0, "none", "no size",
        region="cervical", facing="right",
    )  # fmt: skip
    return replace(whole, **changes)


NOTHING = {"measurements": (), "grades": (), "landmarks": (), "region": None, "facing": None, "reason": "no spine seen"}


@pytest.fixture
def with_film(make_full_case):
    """A function that gives a full case with a film."""

    def make(film):
        case = make_full_case()
        given = Series("lateral-spine-xray", "x.mha", film.picture[None], case.study.sagittal.grid, {})
        return case.but(study=replace(case.study, xray=given), findings=replace(case.findings, xray=film))

    return make


@pytest.mark.parametrize("changes", [{}, NOTHING])
def test_the_document_keeps_its_schema(with_film, changes):
    document = report_document(*with_film(findings(**changes)).arguments())
    assert not list(violations(document, SCHEMA))
    assert "lateral-spine-xray: the film is odd" in document["quality"]["flags"]


def test_the_document_lists_from_the_lowest_up_and_leaves_nothing_null():
    xray = xray_object(findings())
    assert [level["level"] for level in xray["levels"]] == ["C6/C7", "C5/C6"]
    assert xray["levels"][1]["measurements"]["disc_height_anterior_mm"]["interval_90"] == [2.5, 3.5]
    assert xray["levels"][0]["grades"]["kellgren"] == {"not_measurable": HIDDEN}
    assert xray["landmarks"][-1] == {"vertebra": "C7", "point": "superior_anterior", "not_measurable": "not seen"}
    assert xray["landmarks"][0]["row"] == 40.0
    assert "not judged" in xray["names_prob"]["not_measurable"]
    assert xray_object(replace(findings(), names_prob=0.97))["names_prob"] == 0.97
    assert xray_object(None) == {"not_measurable": "no X-ray was given"}
    assert xray_object(findings(**NOTHING)) == {"not_measurable": "no spine seen"}


@pytest.mark.parametrize("language", ["en", "nl"])
def test_the_page_tells_values_intervals_and_reasons(with_film, language):
    words = read_words(language)
    page = film_page(report_document(*with_film(findings()).arguments()), words)
    levels, bodies, alignment = page.tables
    assert [row[0].text for row in levels.rows] == ["C5/C6", "C6/C7"]
    assert levels.rows[0][0].marked
    assert levels.rows[0][1].text == words.number(3.0, 1)
    assert words.number(2.5, 1) in levels.rows[0][1].beside
    assert {cell.text for cell in levels.rows[1][1:]} == {"n.m."}
    assert bodies.rows[0][0].text == "C5"
    assert alignment.rows[0][1].text == "n.m."
    assert sum(words.told(HIDDEN) in note for note in page.notes) == 1


def test_nothing_within_its_error_is_marked(with_film):
    """A loss whose interval holds 0 and a grade less probable than not stay black; sure ones are marked."""
    words, marked = read_words("en"), []
    for interval, prob in (((-23.0, 90.0), 0.4), ((26.0, 45.0), 0.6)):
        film = findings()
        loss = Measurement("C5/C6", "disc_height_loss_percent", 32.0, "%", interval_90=interval)
        kept = [loss if (m.subject, m.name) == (loss.subject, loss.name) else m for m in film.measurements]
        grades = (Grade("C5/C6", "kellgren", 3, (0.0, 0.3, 0.3, prob, 0.0), prob), *film.grades[1:])
        page = film_page(
            report_document(*with_film(replace(film, measurements=tuple(kept), grades=grades)).arguments()), words
        )
        columns = [words.say(f"xray.columns.{name}") for name in ("disc_height_loss_percent", "kellgren")]
        marked.append([page.tables[0].rows[0][page.tables[0].header.index(name)].marked for name in columns])
    assert marked == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("probabilities", "text", "prob"),
    [
        ((0.1, 0.6, 0.2, 0.1, 0.0), "1", 0.6),
        ((0.28, 0.38, 0.25, 0.09, 0.0), "0-1", 0.66),
        ((0.33, 0.1, 0.1, 0.1, 0.37), "2-4", 0.57),
    ],
)
def test_a_grade_less_likely_than_not_is_told_as_a_run_of_grades(with_film, probabilities, text, prob):
    words, film = read_words("en"), findings()
    best = int(np.argmax(probabilities))
    graded = Grade("C5/C6", "kellgren", best, probabilities, probabilities[best])
    document = report_document(*with_film(replace(film, grades=(graded, *film.grades[1:]))).arguments())
    levels = film_page(document, words).tables[0]
    cell = levels.rows[0][levels.header.index(words.say("xray.columns.kellgren"))]
    assert (cell.text, cell.beside) == (text, words.number(prob, 2))


def test_a_plan_for_levels_that_no_image_shows_is_flagged(with_film):
    case = with_film(findings(**NOTHING))
    for planned, flagged in ((["L4/L5"], False), (["C5/C6"], True), (2, False)):
        study = replace(case.study, clinical={**(case.study.clinical or {}), "levels_planned": planned})
        flags = report_document(*case.but(study=study).arguments())["quality"]["flags"]
        assert any("planned levels (C5/C6)" in flag for flag in flags) == flagged


@pytest.mark.parametrize(("language", "half"), [("en", "The osteophyte half"), ("nl", "De osteofyt-helft")])
def test_without_osteophytes_the_page_says_so_and_has_no_empty_column(with_film, language, half):
    film = findings()
    kept = [m for m in film.measurements if m.name != "osteophyte_anterior_percent"]
    gone = [
        replace(m, value=None, interval_90=None, not_measurable="withheld")
        for m in film.measurements
        if m.name == "osteophyte_anterior_percent"
    ]
    words = read_words(language)
    case = with_film(replace(film, measurements=(*kept, *gone)))
    document = report_document(*case.arguments())
    view = {"planned": [], "reason": "none", "levels": [], "sentences": ["One."], "caveat": "Two."}
    document["advice"]["adjacent_segments"] = {**view, "osteophyte_half": "because"}
    assert not list(violations(document, SCHEMA))
    page = film_page(document, words)
    assert words.say("xray.columns.osteophyte_anterior_percent") not in page.tables[0].header
    assert words.say("xray.note_osteophytes") not in page.notes
    assert page.picture == words.say("xray.picture")
    assert half in page.adjacent[1]
    assert any("Withheld (" in note for note in page.notes)
    whole = film_page(report_document(*with_film(findings()).arguments()), words)
    assert words.say("xray.columns.osteophyte_anterior_percent") in whole.tables[0].header
    assert whole.picture == words.say("xray.picture_osteophytes")


def test_the_picture_is_the_part_with_the_spine():
    picture = film_picture(findings())
    assert picture.grey.shape[0] == 72 + 35 - 5  # 35 mm around rows 40 to 72 of 140
    assert len(picture.plates) == 4
    assert len(picture.spurs) == 1
    assert [name.text for name in picture.names] == ["C5", "C6"]
    x1, y1, x2, _ = picture.plates[0]
    assert x1 < x2
    assert y1 == pytest.approx((40.5 - 5) / 102)
    assert film_picture(findings(**NOTHING)).grey.shape == (140, 120)
    assert film_picture(None) is None


@pytest.mark.parametrize("changes", [{}, NOTHING])
def test_pages_are_made(with_film, changes):
    arguments = with_film(findings(**changes)).arguments()
    made, again = (compose_report(*arguments, html=True) for _ in range(2))
    assert made.pdf == again.pdf
    assert made.html == again.html
    page = made.html.decode()
    assert "Lateral radiograph" in page
    assert ("no spine seen" in page) == bool(changes)
    assert ("Yellow: end plates" in page) != bool(changes)
    assert ("Small print: 90 % interval from the error of the landmarks" in page) != bool(changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "On it the disc looks thin, with extra bone at its edge, at C5/C6."),
        ({"grades": ()}, "The program also looked at an X-ray of your neck."),
        (NOTHING, "The program also got an X-ray, but could not read it."),
    ],
)
def test_the_patient_is_told(with_film, changes, said):
    document = report_document(*with_film(findings(**changes)).arguments())
    text = " ".join(part for section in patient_sections(document, read_words("en")) for part in section.paragraphs)
    assert said in text
    assert ("On it" in text) == ("On it" in said)


def test_many_reasons_are_cut_into_notes_that_a_page_prints_whole(with_film):
    long = [
        Measurement(f"C{n}", "body_ap_depth_mm", None, "mm", not_measurable=f"reason {n} " * 9) for n in range(3, 8)
    ]
    document = report_document(*with_film(findings(measurements=(*findings().measurements, *long))).arguments())
    notes = film_page(document, read_words("en")).notes
    assert all(f"eason {n} reason" in " ".join(notes) for n in range(4, 8))
    assert all(len(note) < 600 for note in notes)


@pytest.mark.parametrize(("operated", "found"), [(True, True), (False, True), (True, False)])
def test_an_earlier_operation_goes_with_what_a_film_tells(with_film, operated, found):
    case = with_film(findings() if found else findings(**NOTHING))
    study = replace(case.study, clinical={**(case.study.clinical or {}), "previous_spine_surgery": operated})
    flags = report_document(*case.but(study=study).arguments())["quality"]["flags"]
    told = [flag for flag in flags if flag.startswith("lateral-spine-xray: the record tells of an earlier operation")]
    assert len(told) == (operated and found)


def test_a_film_that_could_not_be_used_has_a_reason_and_no_page(with_film):
    reason = "given but not used: the file is truncated"
    unused = XrayFindings((), (), (reason,), (), np.zeros((0, 0), np.uint8), 1.0, "none", reason=reason)
    document = report_document(*with_film(unused).arguments())
    assert document["xray"] == {"not_measurable": reason}
    assert doubt_lines(document, read_words("en")) == [f"Lateral-spine-xray: {reason}."]
    assert doubt_lines(document, read_words("nl")) == [
        "Lateral-spine-xray: meegegeven maar niet gebruikt: het bestand is afgekapt."
    ]
    assert film_picture(unused) is None
    words = [" ".join(section.paragraphs) for section in patient_sections(document, read_words("en"))]
    assert any(read_words("en").say("patient.xray_none") in text for text in words)
