"""The page of the bundled case, made by the whole pipeline: its numbers, then the page in a real browser.

A Chromium that is installed is used where there is one; without it the tests of the browser skip and say so.
"""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from spine import pipeline
from spine.read import read_study
from spine.report.html import render_html
from spine.report.words import MINUS

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
WIDTHS = (360, 800, 1600)
HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
TOUCHED = {"not_measurable", "reference", "reason", "doubt", "evidence", "flags", "caveats", "model", "runner", "rule"}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """(report document, arguments of render_html but the document, folder of the outputs)."""
    folder, kept = tmp_path_factory.mktemp("output"), []
    compose = pipeline.compose_report

    def keep(study, volume, segmentation, spine, findings, *rest):
        kept.append((study, volume, spine, findings.measurements))
        return compose(study, volume, segmentation, spine, findings, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "compose_report", keep)
        models = pipeline.open_models(ROOT / "model", "cpu")
        pipeline.run(partial(read_study, ROOT / "test" / "input" / "lumbar"), models, folder, extras={"html"})
    return json.loads((folder / "spine-degeneration-report.json").read_text()), kept[0], folder


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


class Tab:
    """A page in the browser, with all that it complained of and all that it asked for."""

    def __init__(self, browser, path, width=1600, **options):
        self.context = browser.new_context(viewport={"width": width, "height": 1000}, locale="en-GB", **options)
        self.page = self.context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda fault: self.complaints.append(str(fault)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def caption(self):
        return self.page.inner_text("#caption")

    def count(self, selector):
        return self.page.locator(selector).count()

    def shown(self, selector):
        return self.page.locator(f"{selector} >> visible=true").count()


@pytest.fixture(scope="module")
def wide(chromium, case):
    opened = Tab(chromium, case[2] / "spine-report.html")
    yield opened
    opened.context.close()


@pytest.fixture
def tab(wide):
    """The page, fresh; at the end it must have complained of nothing and asked for nothing but itself."""
    wide.page.emulate_media(media="screen")
    wide.page.goto(wide.url)  # a reload would keep ticked boxes and the place on the page
    yield wide
    assert wide.complaints == []
    assert [url for url in wide.requests if not url.startswith(("file:", "data:"))] == []


def number(value, decimals):
    return f"{value:.{decimals}f}".replace("-", MINUS)


def test_every_number_of_the_findings_table_is_that_of_the_json_report(case):
    report, _, folder = case
    page = (folder / "spine-report.html").read_text(encoding="utf-8")
    assert len(page) < 6_000_000
    rows = re.findall(r'<tr role="row" data-subject="([^"]+)">(.*?)</tr>', page)
    assert [level for level, _ in rows] == [level["level"] for level in reversed(report["levels"])]
    assert {"L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2"} <= {level for level, _ in rows}
    columns = {3: ("disc_height_middle_mm", 1), 4: ("disc_height_index", 2), 6: ("canal_ap_diameter_mm", 1)}
    for (_, row), level in zip(rows, reversed(report["levels"]), strict=True):
        cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
        for column, (name, decimals) in columns.items():
            found = level["measurements"][name]
            said = "n.m." if "not_measurable" in found else number(found["value"], decimals)
            assert cells[column - 1].startswith(said), (level["level"], name)
        grade = level["grades"]["pfirrmann"]
        assert cells[0].startswith(str(grade.get("grade", "n.m.")))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings[:4] == [
        "Findings by level",
        "Key measurements along the spine",
        "Muscles on the axial series",
        "Treatment options",
    ]


def test_lines_of_disc_heights_are_as_long_as_the_heights(case):
    report, _, folder = case
    page = (folder / "spine-report.html").read_text(encoding="utf-8")
    viewer = json.loads(re.search(r'id="viewer-data">(.*?)</script>', page, re.S).group(1))
    compared = 0
    for level in report["levels"]:
        for line in viewer["lines"][level["level"]]:
            if line["key"] == "canal_ap_diameter_mm":
                x1, y1, x2, y2 = line["ends"][0]
                length_mm = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
                assert length_mm == pytest.approx(level["measurements"][line["key"]]["value"], abs=0.5)
                compared += 1
    assert compared >= 5


def test_a_click_on_a_level_shows_its_numbers_and_draws_its_lines(tab):
    assert tab.shown(".part") == 0
    tab.page.click('.findings button[data-subject="L4/L5"]')
    assert tab.page.get_attribute('.findings button[data-subject="L4/L5"]', "aria-pressed") == "true"
    assert tab.shown(".part") == 1
    assert tab.page.inner_text(".part.chosen h3") == "Level L4/L5"
    drawn = tab.page.inner_text("#drawn-list")
    for name in ("anterior disc height", "middle disc height", "posterior disc height", "canal AP diameter", "slip"):
        assert name in drawn
    assert tab.count("#lines g") == 5
    stage = tab.page.locator("#stage").bounding_box()
    for box in tab.page.locator("#lines line.height").all():
        line = box.bounding_box()
        assert stage["x"] <= line["x"] <= stage["x"] + stage["width"]
        assert stage["y"] <= line["y"] <= stage["y"] + stage["height"]
    tab.page.click('.part.chosen input[data-key="wedge_deg"]')
    assert tab.count("#lines g") == 6
    tab.page.click('input[data-layer="lines"]')
    assert tab.shown("#lines g") == 0


def test_a_click_on_the_picture_chooses_the_level_there(tab):
    names = tab.page.locator("#names text.disc", has_text="L2/L3")
    box = names.bounding_box()
    tab.page.mouse.click(box["x"] + box["width"] + 25, box["y"] + box["height"] / 2)
    assert tab.page.inner_text(".part.chosen h3") == "Level L2/L3"


def test_wheel_slider_and_keys_change_the_slice(tab):
    middle = tab.caption()
    assert "through the middle of the canal" in middle
    tab.page.focus("#stage")
    tab.page.keyboard.press("ArrowLeft")
    right = tab.caption()
    assert "to the right of the middle" in right
    tab.page.keyboard.press("ArrowRight")
    assert tab.caption() == middle
    tab.page.mouse.move(*centre(tab.page.locator("#stage").bounding_box()))
    tab.page.mouse.wheel(0, 100)
    assert "to the left of the middle" in tab.caption()
    tab.page.keyboard.press("Home")
    assert tab.caption().startswith("Slice 1 of ")
    assert tab.page.input_value("#slider") == "0"
    tab.page.focus("#slider")
    tab.page.keyboard.press("ArrowRight")
    assert tab.caption().startswith("Slice 2 of ")
    assert tab.page.get_attribute("#slider", "aria-valuetext") == tab.caption()
    assert tab.shown("#slices image.grey") == 1


def centre(box):
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_levels_zoom_and_layers_by_keyboard_and_boxes(tab):
    tab.page.focus("#stage")
    tab.page.keyboard.press("ArrowDown")
    first = tab.page.inner_text(".part.chosen h3")
    tab.page.keyboard.press("ArrowDown")
    assert tab.page.inner_text(".part.chosen h3") != first
    near = float(tab.page.get_attribute("#picture", "viewBox").split()[2])
    tab.page.keyboard.press("+")
    assert float(tab.page.get_attribute("#picture", "viewBox").split()[2]) < near
    tab.page.keyboard.press("Escape")
    assert tab.shown(".part") == 0
    assert float(tab.page.get_attribute("#picture", "viewBox").split()[2]) > near
    for layer in ("vertebrae", "discs", "canal", "sacrum"):
        assert tab.shown(f"#slices image.layer-{layer}") == 1
        tab.page.click(f'input[data-layer="{layer}"]')
        assert tab.shown(f"#slices image.layer-{layer}") == 0
    assert tab.shown("#slices image.grey") == 1


def test_patients_page_changes_its_language(tab):
    assert tab.page.inner_text(".patient.chosen h2") == "What the computer saw on your MRI"
    tab.page.click('.patient.chosen .switch button[data-language="nl"]')
    assert tab.page.inner_text(".patient.chosen h2") == "Wat de computer op uw MRI zag"
    assert tab.shown(".patient") == 1
    tab.page.click('nav a[data-language="en"]')
    assert tab.page.inner_text(".patient.chosen h2") == "What the computer saw on your MRI"


def test_every_control_has_a_name_and_every_picture_a_text(tab):
    nameless = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, [role=img], [role=group], [role=region]")].filter(
            (node) => !(node.getAttribute("aria-label") || node.getAttribute("aria-labelledby")
                || node.textContent.trim() || [...(node.labels || [])].some((label) => label.textContent.trim()))
        ).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    dangling = tab.page.evaluate(
        """() => [...document.querySelectorAll("[aria-labelledby], [aria-describedby]")].filter((node) =>
            !document.getElementById(node.getAttribute("aria-labelledby") || node.getAttribute("aria-describedby"))
        ).length"""
    )
    assert dangling == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(chromium, case, width):
    opened = Tab(chromium, case[2] / "spine-report.html", width)
    opened.page.click('.findings button[data-subject="L5/S1"]')
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    stage = opened.page.locator("#picture").bounding_box()
    assert stage["width"] >= min(0.85 * width, 420)
    assert opened.complaints == []
    opened.context.close()


def test_it_prints_without_controls(tab):
    tab.page.click('.findings button[data-subject="L5/S1"]')
    tab.page.emulate_media(media="print")
    assert tab.shown("button") == tab.shown(".findings button")
    assert tab.shown("input") == 0
    assert tab.shown("#picture") == 1
    assert tab.page.pdf(format="A4").startswith(b"%PDF-")


def test_without_scripts_everything_can_be_read(chromium, case):
    opened = Tab(chromium, case[2] / "spine-report.html", java_script_enabled=False)
    assert opened.shown("#still image") >= 3
    assert opened.shown(".part") == len(case[0]["levels"])
    assert opened.shown(".patient") == 2
    opened.context.close()


def poisoned(value, key=""):
    """`value` with the hostile text behind every string that a stage or a file may have written."""
    if isinstance(value, dict):
        return {name: poisoned(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, key) for item in value]
    return value + HOSTILE if isinstance(value, str) and key in TOUCHED else value


def test_hostile_text_is_shown_and_never_runs(chromium, case, tmp_path):
    report, arguments, _ = case
    path = tmp_path / "hostile.html"
    path.write_bytes(render_html(poisoned(report), *arguments))
    opened = Tab(chromium, path)
    opened.page.click('.findings button[data-subject="L5/S1"]')
    opened.page.click("summary")
    assert "window.hacked=1" in opened.page.inner_text("main")
    assert opened.page.evaluate("window.hacked === undefined")
    assert opened.count("img") == 0
    assert opened.complaints == []
    opened.context.close()
