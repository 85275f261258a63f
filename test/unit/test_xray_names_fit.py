"""The fit of the names' probability: what it reads from films, and that it finds what the readings follow."""

from types import SimpleNamespace

import numpy as np
import pytest

from lab.evaluate.xray_films import Film, film_series
from lab.evaluate.xray_names import CUT_SHARE, Named, cut_film, fit_names, is_named_off
from lab.synth.radiograph import Cast
from spine.xray.decode import Landmark
from spine.xray.landmarks import LANDMARKS
from spine.xray.names import Evidence

ROWS, PIXEL_MM, LARGER = 500, 0.5, 1.2
MARKED = 200  # row of every landmark


def film(region, number=0):
    """A film whose rows hold their own number."""
    picture = np.repeat(np.arange(ROWS, dtype=np.uint16)[:, None], 300, 1)
    points_mm = np.full((len(LANDMARKS), 2), (MARKED + 0.5) * PIXEL_MM)
    cast = Cast(picture, points_mm, np.zeros((0, 2)), PIXEL_MM, LARGER, region, "none", -1, None)
    return Film(f"val_{region}_{number:04d}", film_series(picture, PIXEL_MM), cast, np.ones(78, bool), False, False, ())


@pytest.mark.parametrize(("region", "cut_above"), [("cervical", 0.7), ("lumbar", 0.3)])
def test_a_cut_film_keeps_its_points_where_they_were_in_the_picture(region, cut_above):
    above = []
    for number in range(30):
        cut = cut_film(film(region, number))
        left = cut.series.array[0, :, 0]
        assert CUT_SHARE[0] * ROWS - 1 <= ROWS - len(left) <= CUT_SHARE[1] * ROWS
        assert cut.cast.points_mm[0, 0] / PIXEL_MM - 0.5 + left[0] == pytest.approx(MARKED)
        above.append(left[0] > 0)
    assert np.mean(above) == pytest.approx(cut_above, abs=0.25)


def reading(region, off_mm, share):
    """A reading of `film` with a share of its landmarks `off_mm` of the patient too low."""
    keys = [key for key in LANDMARKS if key[0] in ("C3", "C4", "C5", "L3", "L4")][:20]
    row_mm = (MARKED + 0.5) * PIXEL_MM
    kept = {
        key: Landmark((row_mm + (LARGER * off_mm if place < share * len(keys) else 0.0), 50.0), 0.8, 0.5)
        for place, key in enumerate(keys)
    }
    return SimpleNamespace(region=region, kept=kept, film=SimpleNamespace(stored=lambda mm: mm / PIXEL_MM - 0.5))


def test_a_part_of_the_names_a_level_off_counts_as_wrong_and_single_mistakes_do_not():
    lumbar = film("lumbar")
    assert not is_named_off(reading("lumbar", 30.0, 0.1), lumbar)
    assert is_named_off(reading("lumbar", 30.0, 0.3), lumbar)
    assert not is_named_off(reading("lumbar", 5.0, 1.0), lumbar)
    assert is_named_off(reading("cervical", 0.0, 0.0), lumbar)


def test_the_fit_finds_what_the_readings_follow():
    rng = np.random.default_rng(0)
    readings = []
    for number in range(600):
        evidence = Evidence(float(rng.normal(1, 1)), float(abs(rng.normal(0, 0.2))), bool(rng.random() < 0.7))
        logit = 1.0 + 1.5 * evidence.margin - 8 * evidence.step + 2.0 * evidence.counted
        readings.append(Named(str(number), evidence, bool(rng.random() < 1 / (1 + np.exp(-logit))), 1.0))
    found = fit_names(readings)
    assert found["names_margin"] == pytest.approx(1.5, abs=0.6)
    assert found["names_step"] == pytest.approx(-8.0, abs=3.0)
    assert found["names_counted"] == pytest.approx(2.0, abs=0.8)
    with pytest.raises(SystemExit, match="more films"):
        fit_names([one for one in readings if one.right])
