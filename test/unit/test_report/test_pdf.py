"""The PDF: pages, order, fonts, size, determinism, and that nothing a stage may write breaks it."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from pypdf import PdfReader

from spine.records import Advice, Grade, Measurement, Numbering
from spine.report import compose_report, names
from spine.report.compose import report_document
from spine.report.further import NONE_FURTHER
from spine.report.outcome_view import missing_lines
from spine.report.pdf import _physicians_pages, render_pdf
from spine.report.picture import draw_picture
from spine.report.sheet import PAGE
from spine.report.words import read_words

HOSTILE = "<b>&amp;\x00\u202e</para> \ud800 {count} %s \U0001f9b4 " + "W" * 3000


def pages(pdf: bytes) -> list[str]:
    """Text of each page, white space single."""
    reader = PdfReader(io.BytesIO(pdf))
    for page in reader.pages:  # hundreds of stamped persons hold no text and are slow to look through
        forms = page["/Resources"]["/XObject"]
        for name in [name for name in forms if "Person" in name]:
            del forms[name]
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def test_pages_of_a_full_case(make_full_case):
    report = compose_report(*make_full_case().arguments())
    first, second, english, dutch = pages(report.pdf)
    assert first.index("Research use only: not a medical device") < first.index("Spine degeneration report")
    for text in ("L5/S1", "T10/T11", "54 years, female", "probability 0.97", "herniation (0.80)", "n.m."):
        assert text in first
    assert "a = the canal is cut by the image border" in first
    assert "74 of 100 after 12 months (90 % interval 66 to 82)" in second
    assert "Fitted on 109 patients; AUC 0.70." in second
    assert "the local success rate is not known" in second
    assert "What was not measurable, and why" in second
    assert "OpenVINO CPU, f32" in second
    assert "Strong wear of the disc at L5/S1 and L4/L5." in english
    assert "About 74 of 100 people were satisfied after 12 months" in english
    assert "Veel slijtage van de schijf bij L5/S1 en L4/L5." in dutch
    assert "page 4 of 4" in dutch


@pytest.mark.parametrize(("count", "lowest", "most"), [(0, 1, 4), (1, 1, 4), (8, 17, 4), (24, 1, 4)])
def test_any_number_of_levels_fits_two_to_four_pages(make_full_case, count, lowest, most):
    case = make_full_case(count, lowest)
    pdf = compose_report(*case.arguments()).pdf
    reader = PdfReader(io.BytesIO(pdf))
    assert 2 <= len(reader.pages) <= most
    assert len(pdf) < 1_500_000
    first = reader.pages[0].extract_text()
    assert all(disc.level in first for disc in case.spine.discs)


def test_a_few_lines_never_get_a_page_of_their_own(make_full_case):
    """Where the physician's pages end in a page that is nearly empty, they are set tighter."""
    case = make_full_case()
    words, picture = read_words("en"), draw_picture(case.volume, case.spine)
    for count in range(2, 40, 2):
        advice = replace(case.findings.advice, caveats=tuple(f"Caveat {n} of many." for n in range(count)))
        document = report_document(*case.but(findings=replace(case.findings, advice=advice)).arguments())
        loose = _physicians_pages(document, picture, words, NONE_FURTHER, tight=False)
        if loose.page > 2:
            break
    assert loose.y > 0.7 * PAGE[1]
    found = pages(render_pdf(document, picture))
    assert len(found) == 4
    assert f"Caveat {count - 1} of many." in found[1]
    assert "Methods and versions" in found[1]


def test_a_long_warning_is_not_cut(make_full_case):
    case = make_full_case()
    document = report_document(*case.arguments())
    document["quality"]["flags"] = [f"the image is wrong in place {n} of very many places" for n in range(20)]
    first = pages(render_pdf(document, draw_picture(case.volume, case.spine)))[0]
    assert "in place 19 of very many places. The findings below may be wrong." in first


def test_nothing_found_is_said_to_physician_and_patient(make_case):
    found = pages(compose_report(*make_case(0).arguments()).pdf)
    assert "No disc and no vertebra was found" in found[0]
    assert "could not find any disc" in found[-2]


def test_one_slice_and_a_flat_picture(make_case):
    case = make_case(5, slices=1)
    flat = replace(case.volume, array=np.zeros_like(case.volume.array))
    assert len(pages(compose_report(*case.but(volume=flat).arguments()).pdf)) >= 2


def test_identical_input_gives_identical_bytes(make_full_case):
    assert compose_report(*make_full_case().arguments()).pdf == compose_report(*make_full_case().arguments()).pdf


def test_every_font_is_embedded(make_full_case):
    reader = PdfReader(io.BytesIO(compose_report(*make_full_case().arguments()).pdf))
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            descriptor = font.get_object().get("/FontDescriptor")
            # reportlab names Helvetica in every page's preamble without drawing a letter with it
            assert descriptor is not None or font.get_object()["/BaseFont"] == "/Helvetica"


def test_hostile_text_in_every_string_is_drawn_as_text(make_full_case):
    case = make_full_case(3)
    option = {"treatment": HOSTILE, "outcome": HOSTILE, "model": HOSTILE, "missing": [HOSTILE], "reason": HOSTILE}
    predicted = {**option, "horizon_months": 12, "probability": 0.5, "interval_90": [0.4, 0.6], "abstained": False}
    advice = Advice(HOSTILE, (option, predicted), (HOSTILE,), {"reason": HOSTILE, "abstained": True})
    findings = replace(
        case.findings,
        advice=advice,
        grades=(Grade("L5/S1", "modic", None, not_measurable=HOSTILE),),
        measurements=(
            Measurement("L5/S1", "slip_mm", None, "mm", not_measurable=HOSTILE),
            Measurement("L5/S1", "disc_height_index", 0.3, "1", -3.0, 1.0, HOSTILE),
        ),
    )
    changed = case.but(
        findings=findings,
        study=replace(case.study, clinical={"age_years": 54, "sex": HOSTILE, "indication": HOSTILE}),
        spine=replace(case.spine, flags=(HOSTILE,), numbering=Numbering(HOSTILE, 0.3, ((HOSTILE, 0.3),), HOSTILE)),
        run=replace(case.run, models={HOSTILE: "ab" * 32}, runner=HOSTILE, seconds={HOSTILE: 1.0}),
    )
    first = pages(compose_report(*changed.arguments()).pdf)[0]
    assert "<b>&amp; </para> " in first
    assert "{count} %s" in first


def test_reasons_that_do_not_fit_are_counted(make_case):
    case = make_case(8)
    words = "said in so many words that it fills a line " * 4
    reasons = [f"reason number {number}, {words.strip()}" for number in range(120)]
    grades = tuple(
        Grade(disc.level, name, None, not_measurable=reasons[9 * row + column])
        for row, disc in enumerate(case.spine.discs)
        for column, name in enumerate(names.GRADES)
    )
    changed = case.but(findings=replace(case.findings, grades=grades))
    document = report_document(*changed.arguments())
    found = " ".join(" ".join(pages(compose_report(*changed.arguments()).pdf)).split())
    explained = sum(f"{reason}:" in found for reason in reasons)
    assert explained >= 4
    counted = re.search(r"(\d+) more reasons are in spine-degeneration-report.json", found)
    assert counted is not None
    assert 1 + explained + int(counted[1]) == len(  # "not implemented" is explained as well
        missing_lines(document, read_words("en"))
    )


def test_physicians_pages_can_be_dutch(make_full_case):
    case = make_full_case()
    document = report_document(*case.arguments())
    pdf = render_pdf(document, draw_picture(case.volume, case.spine), "nl")
    first = PdfReader(io.BytesIO(pdf)).pages[0].extract_text()
    assert "Alleen voor onderzoek: geen medisch hulpmiddel" in first
    assert "0,97" in first


def test_report_takes_less_than_two_seconds_of_processor_time(make_full_case):
    case = make_full_case()
    compose_report(*case.arguments())
    start = time.process_time()
    compose_report(*case.arguments())
    assert time.process_time() - start < 2.0
