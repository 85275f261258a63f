"""The HTML page: what it says in every case, where its lines lie, and that no text can become markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from spine.anatomy import Structure
from spine.conform import conform_series
from spine.records import Advice, Findings, Grade, Grid, Measurement, Numbering, Series, Study
from spine.report import compose_report, html_pictures
from spine.report.compose import report_document
from spine.report.html import HTML_DIR, render_html
from spine.report.html_lines import drawn_lines
from spine.report.html_pictures import MAX_SLICES, frame_of, layer_box, slice_images, slice_layers, slice_names
from spine.report.picture import PALETTE
from spine.settings import GridSettings

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&amp;{{ 7 * 7 }}<!--<svg onload=alert(1)>"
VOID = {"meta", "input", "image", "circle", "path", "rect", "line", "use", "polyline", "img", "br"}
NM = "n.m. "


class Page(HTMLParser):
    """The parts of a page that tests look at."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content.decode()
        self.tags, self.open, self.texts = [], [], []
        self.tables, self.headings = [], []
        self.feed(self.content)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self.tables.append((found.get("class"), []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in {"td", "th"}:
            self.tables[-1][1][-1].append("")
        if tag in {"h1", "h2", "h3"}:
            self.headings.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] in {"script", "style"}:
            return
        self.texts.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][1][-1][-1] += data
        if self.open[-1] in {"h1", "h2", "h3"}:
            self.headings[-1] += data

    def all(self, tag):
        return [found for name, found in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    @property
    def findings(self):
        return next(
            ([[" ".join(c.split()) for c in row] for row in rows] for kind, rows in self.tables if kind == "findings"),
            [],
        )

    @property
    def viewer(self):
        return json.loads(re.search(r'id="viewer-data">(.*?)</script>', self.content, re.S).group(1))


def page_of(case, language="en"):
    document = report_document(*case.arguments())
    return Page(render_html(document, case.study, case.volume, case.spine, case.findings.measurements, language))


def test_full_case_says_all_that_was_found_in_order(make_full_case):
    page = page_of(make_full_case(3))
    assert page.text.startswith(
        "Spine degeneration report Skip to the findings Research use only: not a medical device"
    )
    assert page.headings == [
        "Spine degeneration report",
        "Findings by level",
        "Level L3/L4",
        "Level L4/L5",
        "Level L5/S1",
        "Key measurements along the spine",
        "Treatment options",
        "Surgery: satisfied",
        "Surgery: pain gone or much better",
        "Pain management programme: ODI 22 or less",
        "Accelerated degeneration",
        "Quality",
        "What was not measurable, and why",
        "Alignment",
        "Canal as a whole",
        "L3 (partly in view)",
        "L4",
        "L5",
        "Methods and versions",
        "What the computer saw on your MRI",
        "What did the program look at?",
        "What did the program find?",
        "What could the program not tell?",
        "What can treatment do?",
        "What can you ask your doctor?",
        "When should you call a doctor at once?",
        "Wat de computer op uw MRI zag",
        "Waar keek het programma naar?",
        "Wat vond het programma?",
        "Wat kon het programma niet zeggen?",
        "Wat kan een behandeling doen?",
        "Wat kunt u uw dokter vragen?",
        "Wanneer moet u meteen een dokter bellen?",
    ]
    minus, cut = "\N{MINUS SIGN}", "(some n.m.) the canal is cut by the image border"
    worn = "herniation (0.80); disc narrowing (0.80); bulging (0.80)"
    denied = "slip measured, not graded: look at the image"
    assert page.findings[0][3:8] == [
        "Height mid mm (z)",
        "Height index",
        "Disc/CSF signal (z)",
        "Canal AP mm (z)",
        "Slip mm",
    ]
    assert "so no z: Height index and Slip mm." in page.text
    assert page.findings[1:] == [
        ["L3/L4", "3 (0.60)", f"none of those judged {cut}", "9.7 (+0.4)", "0.38", "0.52 (+0.1)",
         f"{NM}cut by the border of the image", f"{minus}0.4", "0.95"],
        ["L4/L5", "4 (0.60)", f"{worn}; {denied} {cut}", f"7.5 ({minus}1.1)", "0.28", f"0.32 ({minus}0.9)",
         f"12.4 ({minus}1.2)", "3.7", "0.96"],
        ["L5/S1", "5 (0.60)", f"Modic change (0.80); {worn} {cut}", f"5.2 ({minus}2.6)", "0.18",
         f"0.12 ({minus}1.9)", f"9.4 ({minus}2.2)", f"{minus}0.4", "0.97"],
    ]  # fmt: skip
    for said in (
        "54 years, female",
        "probability 0.97",
        "74 of 100 after 12 months (90 % interval 66 to 82)",
        "the local success rate is not known",
        "Likelihood 0.82 (90 % interval 0.55 to 0.95).",
        "Disc age 63 years (90 % interval 48 to 79).",
        "of each grade: 1: 0.01, 2: 0.04, 3: 0.10, 4: 0.25, 5: 0.60",
        "OpenVINO CPU, f32",
        "No quality flag was raised.",
        "About 74 of 100 people were satisfied after 12 months",
        "Ongeveer 74 van de 100 mensen waren tevreden na 12 maanden",
    ):
        assert said in page.text
    assert "jansen" not in page.content.lower()  # the name of the file and a tag hold it
    people = [found["class"] for found in page.all("use")]
    assert [people[:100].count(kind) for kind in ("sure", "likely", "possible", "rest")] == [66, 8, 8, 18]
    assert len(people) == 600  # two options for the physician, two for the patient in each language


def test_nothing_measurable_is_said_everywhere_with_its_reason(make_case):
    case = make_case(3)
    gone = "the image is blurred"
    measurements = tuple(Measurement(d.level, "slip_mm", None, "mm", not_measurable=gone) for d in case.spine.discs)
    grades = tuple(Grade(d.level, "pfirrmann", None, not_measurable=gone) for d in case.spine.discs)
    page = page_of(case.but(findings=replace(case.findings, measurements=measurements, grades=grades)))
    absent = f"{NM}not implemented"
    assert page.findings[1:] == [
        [level, f"{NM}{gone}", absent, *[absent] * 4, f"{NM}{gone}", seen]
        for level, seen in (("L3/L4", "0.95"), ("L4/L5", "0.96"), ("L5/S1", "0.97"))
    ]
    values = [row for kind, rows in page.tables if kind == "rows" for row in rows[1:]]
    assert len(values) > 100
    assert all(len(row) == 2 and row[1].startswith("not measurable: ") for row in values)
    assert page.viewer["lines"] == {
        part: [] for part in ("L3/L4", "L4/L5", "L5/S1", "alignment", "canal", "L3", "L4", "L5")
    }
    assert "No outcome was predicted: no indication was given." in page.text
    assert "The program could not judge the discs." in page.text
    assert not page.all("use")


def test_nothing_found_is_said_to_physician_and_patient(make_case):
    page = page_of(make_case(0))
    assert page.findings == []
    assert "No disc and no vertebra was found in this study." in page.text
    assert "The program could not find any disc in these pictures." in page.text
    assert len(page.viewer["slices"]) == 9


def test_the_physicians_part_comes_in_dutch_too(make_full_case):
    page = page_of(make_full_case(3), "nl")
    assert page.headings[:2] == ["Verslag slijtage van de wervelkolom", "Bevindingen per niveau"]
    assert "9,7 (+0,4)" in page.findings[1]


def test_equal_arguments_give_equal_bytes_and_only_who_asks_gets_the_page(make_full_case):
    case = make_full_case(1)
    assert compose_report(*case.arguments()).html == b""
    assert compose_report(*case.arguments(), True).html == page_of(case).content.encode()


def test_no_text_of_the_case_becomes_markup(make_full_case):
    case = make_full_case(3)
    levels = [disc.level for disc in case.spine.discs]
    measurements = tuple(
        Measurement(level, name, value, HOSTILE, reference=HOSTILE, not_measurable=None if value else HOSTILE)
        for level in levels
        for name, value in (("disc_height_middle_mm", 5.0), (HOSTILE, 1.0), ("slip_mm", None))
    )
    grades = (
        Grade(levels[0], "pfirrmann", 4, (0.1,) * 5, 0.5, (HOSTILE,)),
        Grade(levels[1], "modic", None, not_measurable=HOSTILE),
    )
    option = {**case.findings.advice.options[0], "treatment": HOSTILE, "model": HOSTILE, "missing": [HOSTILE]}
    advice = replace(case.findings.advice, options=(option,), caveats=(HOSTILE,), indication=HOSTILE)
    series = replace(case.study.primary, slug=HOSTILE, name=HOSTILE, tags={"modality": HOSTILE})
    hostile = case.but(
        findings=Findings(measurements, grades, advice),
        study=Study(series, clinical={"sex": HOSTILE, "indication": HOSTILE}, flags=(HOSTILE,)),
        spine=replace(case.spine, flags=(HOSTILE,), numbering=Numbering(HOSTILE, 0.3, ((HOSTILE, 0.3),), HOSTILE)),
        run=replace(case.run, runner=HOSTILE, models={HOSTILE: HOSTILE}),
    )
    page, plain = page_of(hostile), page_of(case)
    assert page.text.count("alert(1)") > 20
    assert {name for name, _ in page.tags} <= {name for name, _ in plain.tags}
    assert len(page.all("script")) == 2
    assert not [key for _, found in page.tags for key in found if key.startswith("on") or key == "style"]
    assert "{{ 7 * 7 }}" in page.text
    assert "<" not in re.search(r'id="viewer-data">(.*?)</script>', page.content, re.S).group(1)


def test_policy_admits_the_pages_own_script_and_style_and_nothing_from_outside(make_full_case):
    page = page_of(make_full_case(2))
    policy = next(found["content"] for found in page.all("meta") if "http-equiv" in found)
    for tag in ("style", "script"):
        own = re.search(rf"<{tag}>(.*?)</{tag}>", page.content, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    links = [found[key] for _, found in page.tags for key in ("href", "src") if key in found]
    assert all(link.startswith(("#", "data:image/")) for link in links)
    outside = re.findall(r"https?://[^\"' ]+", page.content)
    assert set(outside) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert not re.search(r"url\(|@import", page.content)


def oblique(axes, flips):
    """(series, index of its bright spot); `axes` says which stored axis runs to the left, to the feet, to the back."""
    spacing, size = [0.0, 0.0, 0.0], [0, 0, 0]
    tilt = np.deg2rad(12)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    along = turn @ np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # columns: left, feet, back
    direction = np.zeros((3, 3))
    for canonical, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        direction[:, axis] = -along[:, canonical] if flip else along[:, canonical]
        spacing[axis], size[axis] = (4.0, 0.6, 0.5)[canonical], (7, 60, 40)[canonical]
    array = np.full(size[::-1], 100, np.int16)
    index = [size[axis] // 3 for axis in range(3)]
    around = [slice(n - 5, n + 6) for n in index]
    around[axes[0]] = slice(index[axes[0]], index[axes[0]] + 1)
    array[tuple(reversed(around))] = 4000
    grid = Grid(tuple(size), tuple(spacing), (11.0, -7.0, 5.0), tuple(direction.ravel()))
    return Series("sagittal-spine-mri", "a.mha", array, grid), index


@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((2, 1, 0), (False, False, False)),
        ((2, 1, 0), (True, True, False)),
        ((0, 2, 1), (True, False, True)),
        ((1, 0, 2), (False, True, True)),
    ],
)
def test_a_line_is_drawn_where_it_was_measured_on_oblique_and_flipped_series(make_case, axes, flips):
    series, index = oblique(axes, flips)
    volume = conform_series(series, GridSettings(0.8, 2.0, 32, 10**8))
    nothing = np.zeros(volume.array.shape, np.uint8)
    spine = replace(make_case(0).spine, mask=nothing, structures=nothing)
    point = tuple((series.grid.affine @ [*index, 1])[:3])
    frame = frame_of(volume, spine)
    (line,) = drawn_lines([Measurement("L5/S1", "slip_mm", 1.0, "mm", points_mm=(point, point))], frame)[
        "L5/S1"
    ].values()
    images = [decoded(url) for url in slice_images(series, frame)]
    assert [image.max() > 128 for image in images] == [number == line["slice"] for number in range(7)]
    row, column = np.argwhere(images[line["slice"]] > 128).mean(0)
    assert line["ends"][0][:2] == pytest.approx(((column + 0.5) * 0.5, (row + 0.5) * 0.6), abs=0.02)
    assert frame.size_mm == pytest.approx((20.0, 36.0))


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def test_layers_lie_on_their_structures_in_the_colours_of_the_pdf(make_case):
    case = make_case(4)
    frame = frame_of(case.volume, case.spine)
    left, top, width, height = layer_box(frame)
    layers = list(slice_layers(case.spine, frame))[frame.middle]
    assert list(layers) == ["vertebrae", "discs", "canal", "sacrum"]
    picture = Image.open(io.BytesIO(base64.b64decode(layers["discs"].split(",")[1]))).convert("RGBA")
    for disc in case.spine.discs:
        x, y = frame.place(np.asarray(disc.centre, float))
        pixel = ((x - left) / width * picture.width, (y - top) / height * picture.height)
        assert picture.getpixel((int(pixel[0]), int(pixel[1])))[:3] == PALETTE[Structure.DISC]
    assert picture.getpixel((2, 2))[3] == 0


def test_names_follow_the_instances_of_each_slice(make_case):
    case = make_case(2)
    mask = np.zeros_like(case.spine.mask)
    mask[4, 40:60, 80:110] = 1  # L5
    mask[4, 20:36, 80:110] = 102  # L4, partly in view
    mask[4, 61:68, 78:108] = 201  # L5/S1
    structures = np.select([mask == 201, mask > 0], [Structure.DISC, Structure.BODY]).astype(np.uint8)
    spine = replace(case.spine, mask=mask, structures=structures)
    named = list(slice_names(spine, frame_of(case.volume, spine)))
    assert [len(names) for names in named] == [0, 0, 0, 0, 3, 0, 0, 0, 0]
    assert [(name["text"], name["kind"], name["x"], name["y"]) for name in named[4]] == [
        ("L5", "vertebra", 95.0, 50.0),
        ("L4", "vertebra", 95.0, 28.0),
        ("L5/S1", "disc", 78.5, 64.5),
    ]


def test_lines_without_points_or_value_are_not_drawn_and_kinds_follow_the_name(make_case):
    case = make_case(2)
    ends = ((10.0, 20.0, 4.0), (10.0, 30.0, 4.0))
    lines = drawn_lines(
        [
            Measurement("L5/S1", "disc_height_middle_mm", 8.0, "mm", points_mm=ends),
            Measurement("L5/S1", "canal_ap_diameter_mm", 12.0, "mm", points_mm=ends * 2),
            Measurement("L5/S1", "slip_mm", 2.0, "mm", points_mm=ends[:1]),
            Measurement("L5/S1", "wedge_deg", None, "deg", not_measurable="cut", points_mm=ends),
            Measurement("L5/S1", "disc_volume_mm3", 9.0, "mm3", points_mm=((0.0, 0.0, float("nan")),) * 2),
        ],
        frame_of(case.volume, case.spine),
    )["L5/S1"]
    assert {name: line["kind"] for name, line in lines.items()} == {
        "disc_height_middle_mm": "height",
        "canal_ap_diameter_mm": "canal",
    }
    assert len(lines["canal_ap_diameter_mm"]["ends"]) == 2


def test_a_long_stack_is_thinned_around_its_middle_slice_and_says_so(make_case):
    page = page_of(make_case(1, slices=121))
    assert MAX_SLICES / 2 <= len(page.viewer["slices"]) <= MAX_SLICES
    assert page.viewer["slices"][page.viewer["middle"]]["offset_mm"] == 0
    assert page.viewer["slices"][0]["caption"].endswith("mm to the right of the middle.")
    assert f"{len(page.viewer['slices'])} of 121 slices are shown, evenly spread." in page.text


def test_all_stored_slices_are_shown_where_the_model_averages_two_and_one_slice_has_no_slider(make_case):
    case = make_case(2)
    grid = case.study.primary.grid
    stored = np.repeat(case.study.primary.array, 2, axis=0)[:17]
    fine = replace(grid, size=(*grid.size[:2], 17), spacing_mm=(*grid.spacing_mm[:2], 2.0))
    thin = case.but(
        study=replace(case.study, sagittal=replace(case.study.primary, array=stored, grid=fine)),
        volume=replace(case.volume, source=fine),
    )
    frame = frame_of(thin.volume, thin.spine)
    assert frame.stored == tuple(range(17))
    assert frame.modelled == tuple(number // 2 for number in range(17))
    assert frame.shown[:3] == (-0.25, 0.25, 0.75)
    page = page_of(thin)
    assert [one["offset_mm"] for one in page.viewer["slices"]][7:10] == [-2.0, 0.0, 2.0]
    assert "evenly spread" not in page.text
    assert ['"slider" hidden' in one.content for one in (page, page_of(make_case(1, slices=1)))] == [False, True]


def test_routine_study_takes_two_seconds_and_noise_stays_below_six_megabytes(make_full_case, monkeypatch):
    case = make_full_case(8)
    shape = case.volume.array.shape
    noise = np.random.default_rng(3).normal(500, 200, (18, 448, 448)).astype(np.int16)
    fine = Grid((448, 448, 18), (shape[2] / 448, shape[1] / 448, 2.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    repeat = np.arange(18) // 2
    volume = replace(
        case.volume, array=case.volume.array[repeat], spacing_mm=(2.0, 1.0, 1.0), content=(18, *shape[1:]), source=fine
    )
    spine = replace(case.spine, mask=case.spine.mask[repeat], structures=case.spine.structures[repeat])
    study = replace(case.study, sagittal=replace(case.study.primary, array=noise, grid=fine))
    document = report_document(*case.arguments())
    start = time.process_time()
    page = render_html(document, study, volume, spine, case.findings.measurements)
    assert time.process_time() - start < 2.0
    assert len(page) < 6_000_000
    monkeypatch.setattr(html_pictures, "IMAGE_BYTES", 600_000)
    frame = frame_of(volume, spine)
    assert sum(map(len, slice_images(study.primary, frame))) < 600_000 * 1.34


def luminance(colour):
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """Contrast ratio of WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_texts_have_the_contrast_of_wcag_aa_in_light_dark_and_print():
    style = (HTML_DIR / "report.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(themes) == 3
    for theme in themes:
        full = {name: c if len(c) == 7 else "#" + "".join(2 * d for d in c[1:]) for name, c in theme.items()}
        for ink in ("ink", "soft", "alert", "accent"):
            for ground in ("page", "card", "pale"):
                assert contrast(full[ink], full[ground]) >= 4.5, (ink, ground, theme)
        assert contrast(full["on-accent"], full["accent"]) >= 4.5
        assert contrast(full["on-notice"], full["notice"]) >= 4.5


def test_advice_without_options_or_likelihood_still_makes_a_page(make_case):
    case = make_case(1)
    advice = Advice("disc_herniation", (), (), {"abstained": True, "reason": "the age is not known"})
    page = page_of(case.but(findings=replace(case.findings, advice=advice)))
    assert "No outcome was predicted: no published model was evaluated for this record." in page.text
    assert "Not judged: the age is not known." in page.text
