"""The neck trial's view of levels next to a planned operation: what MR and film say of each, side by side.

The trial followed the combination of disc-height decrease and anterior osteophyte on films taken over years (Yang 2020,
doi 10.1007/s00586-019-06157-0; Goffin's grades are the same combination), and Miyazaki's grade on MR. No equation that
turns them into a risk was published with its coefficients, so this names and compares and predicts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from spine.anatomy import DISC_LEVELS
from spine.fuse.findings import region_of_level
from spine.records import Advice, Grade, Measurement, XrayFindings

SIGN = "low_disc_with_osteophyte"
SIGN_PROB = 0.5  # from here on a level without a planned operation is listed
FIRST, LAST = "C2/C3", "C7/T1"
NO_FILM = "no X-ray of the neck was given"
NO_SPINE = "nothing was measured on the X-ray that was given"
COUNTED = "the record gives the number of levels planned, not their names"
NONE_PLANNED = "the record names no planned level"
ELSEWHERE = "the planned levels that the record names ({levels}) are not of the neck"
HALF = (
    "The osteophyte half of the combination could not be judged on this film ({reason}); its disc height is told alone"
)
CAVEAT = (
    "Levels next to a planned operation: the neck trial followed disc-height decrease with an anterior osteophyte over "
    "years (Yang 2020, doi 10.1007/s00586-019-06157-0). A single film shows no decrease over time, and no published "
    "equation turns these findings into a risk: nothing here enters a probability of this report."
)
NOT_USED = (
    "the film is not used for the likelihood: no published table of film findings by age could be checked, and sizes "
    "on films and on MR are never pooled"
)
# Measurements quoted for a level: name -> decimals.
MR_VALUES = {"disc_height_middle_mm": 1, "disc_height_index": 2}
FILM_VALUES = {"disc_height_loss_percent": 0, "osteophyte_anterior_percent": 0}
WORDS = {
    "disc_height_middle_mm": "disc height {value} mm",
    "disc_height_index": "height index {value}",
    "disc_height_loss_percent": "disc lower than expected by {value} %",
    "osteophyte_anterior_percent": "anterior osteophyte {value} % of the depth",
}
HEIGHT_HALF, OSTEOPHYTE_HALF = FILM_VALUES
HIGHER = "disc higher than expected by {value} %"
WITHIN_ERROR = "within the error of measuring"


def with_adjacent(
    advice: Advice,
    measurements: Sequence[Measurement],
    grades: Sequence[Grade],
    clinical: Mapping[str, Any] | None,
    film: XrayFindings | None,
) -> Advice:
    """`advice` with the view of adjacent levels, where the record names planned levels of the neck or a film shows it.

    Args:
        advice: of the MR and the record; its probabilities stay as they are.
        measurements: of MR.
        grades: of MR; 'pfirrmann' of the neck is Miyazaki's grade.
        clinical: the record; `levels_planned` holds names or a number.
        film: what was found on the radiograph, None without one.
    """
    stated = (clinical or {}).get("levels_planned")
    planned = [level for level in stated if _in_neck(level)] if isinstance(stated, list | tuple) else []
    neck_film = film if film is not None and film.region == "cervical" else None
    degeneration = advice.degeneration if film is None else {**advice.degeneration, "film": NOT_USED}
    if not planned and neck_film is None:
        return replace(advice, degeneration=degeneration)
    shown = neck_film if film is None or film.found else film
    levels = [_level(name, beside, measurements, grades, shown) for name, beside in _asked(planned, neck_film)]
    why = None if planned else _why_none(stated)
    said = tuple(_sentence(one) for one in levels) if planned else _listed(levels, str(why), neck_film)
    view = {"planned": planned, "reason": why or "none", "levels": levels, "sentences": said, "caveat": CAVEAT}
    half = _missing_half(neck_film)
    if half is not None:
        view["osteophyte_half"] = HALF.format(reason=half)
    # The film's page tells them where there is one.
    caveats = (*advice.caveats, *said, CAVEAT) if film is None or not film.found else advice.caveats
    return replace(advice, adjacent=view, degeneration=degeneration, caveats=caveats)


def _why_none(stated: Any) -> str:
    """Why no planned level of the neck is known."""
    if isinstance(stated, list | tuple):
        return ELSEWHERE.format(levels=", ".join(map(str, stated))) if stated else NONE_PLANNED
    return NONE_PLANNED if stated is None else COUNTED


def _in_neck(level: Any) -> bool:
    return isinstance(level, str) and region_of_level(level) == "cervical"


def _asked(planned: Sequence[str], film: XrayFindings | None) -> list[tuple[str, list[str]]]:
    """(level, planned levels that it lies next to), the uppermost first; without a plan those that show the sign."""
    found: dict[str, list[str]] = {}
    if not planned and film is not None:
        for grade in film.grades:
            if grade.name == SIGN and _probability(grade) >= SIGN_PROB:
                found[grade.level] = []
    for level in planned:
        place = DISC_LEVELS.index(level)
        for neighbour in (place + 1, place - 1):
            name = DISC_LEVELS[neighbour] if 0 <= neighbour < len(DISC_LEVELS) else ""
            if _in_neck(name) and name not in planned:
                found.setdefault(name, []).append(level)
    return sorted(found.items(), key=lambda item: -DISC_LEVELS.index(item[0]))


def _probability(grade: Grade) -> float:
    return grade.probabilities[0] if grade.not_measurable is None and grade.probabilities else 0.0


def _missing_half(film: XrayFindings | None) -> str | None:
    """Why no osteophyte is told of a film that tells disc heights; None where one is, or where no height is either."""
    sizes = film.measurements if film is not None else ()
    spurs = [one for one in sizes if one.name == OSTEOPHYTE_HALF]
    if not spurs or any(one.value is not None for one in spurs):
        return None
    if all(one.value is None for one in sizes if one.name == HEIGHT_HALF):
        return None
    reasons = [one.not_measurable or "not measured" for one in spurs]
    return max(reasons, key=reasons.count)


def _level(
    level: str,
    beside: list[str],
    measurements: Sequence[Measurement],
    grades: Sequence[Grade],
    film: XrayFindings | None,
) -> dict[str, Any]:
    mr_grade = _grade(grades, level, "pfirrmann", "the level is not graded on MR")
    seen_mr = {name: _value(measurements, level, name) for name in MR_VALUES}
    if film is None or not film.found:
        missing = {"not_measurable": NO_FILM if film is None else NO_SPINE}
        return {"level": level, "adjacent_to": beside, "mri": {"miyazaki": mr_grade, **seen_mr}, "film": missing}
    on_film = {
        **{name: _value(film.measurements, level, name) for name in FILM_VALUES},
        "kellgren": _grade(film.grades, level, "kellgren", "not graded"),
        SIGN: _grade(film.grades, level, SIGN, "not graded"),
    }
    return {"level": level, "adjacent_to": beside, "mri": {"miyazaki": mr_grade, **seen_mr}, "film": on_film}


def _grade(grades: Sequence[Grade], level: str, name: str, otherwise: str) -> dict[str, Any]:
    found = next((grade for grade in grades if (grade.level, grade.name) == (level, name)), None)
    if found is None or found.grade is None:
        return {"not_measurable": (found.not_measurable if found else None) or otherwise}
    return {"grade": found.grade, "probabilities": list(found.probabilities)}


def _value(measurements: Sequence[Measurement], level: str, name: str) -> dict[str, Any]:
    found = next((one for one in measurements if (one.subject, one.name) == (level, name)), None)
    if found is None or found.value is None:
        return {"not_measurable": (found.not_measurable if found else None) or "not measured"}
    interval = {} if found.interval_90 is None else {"interval_90": list(found.interval_90)}
    return {"value": found.value, "unit": found.unit, **interval}


def _sentence(one: Mapping[str, Any]) -> str:
    """What MR and film say of one level next to a planned one."""
    beside = " and ".join(one["adjacent_to"])
    return (
        f"{one['level']}, next to the planned {beside}: MR: {_mr_words(one['mri'])}; film: {_film_words(one['film'])}."
    )


def _mr_words(mri: Mapping[str, Any]) -> str:
    parts = [_grade_words("Miyazaki grade", mri["miyazaki"])]
    return ", ".join((*parts, *_value_words(mri, MR_VALUES)))


def _film_words(film: Mapping[str, Any]) -> str:
    if "not_measurable" in film:
        return str(film["not_measurable"])
    sign = film[SIGN]
    if "not_measurable" not in sign:
        joint = f"low disc with osteophyte: probability {sign['probabilities'][0]:.2f}"
    elif "not_measurable" in film[OSTEOPHYTE_HALF] and "not_measurable" not in film[HEIGHT_HALF]:
        joint = f"the osteophyte half of the combination not judged ({film[OSTEOPHYTE_HALF]['not_measurable']})"
    else:
        joint = f"both together not judged ({sign['not_measurable']})"
    return ", ".join((*_value_words(film, FILM_VALUES), _grade_words("Kellgren", film["kellgren"]), joint))


def _grade_words(name: str, grade: Mapping[str, Any]) -> str:
    return f"{name} not judged" if "not_measurable" in grade else f"{name} {int(grade['grade'])}"


def _value_words(values: Mapping[str, Any], shown: Mapping[str, int]) -> list[str]:
    return [
        _told(name, values[name], decimals) for name, decimals in shown.items() if "not_measurable" not in values[name]
    ]


def _told(name: str, found: Mapping[str, Any], decimals: int) -> str:
    """One value with its 90 % interval, and whether 0 lies in it."""
    value, ends = found["value"], found.get("interval_90", ())
    higher = name == HEIGHT_HALF and value < 0
    text = (HIGHER if higher else WORDS[name]).format(value=f"{abs(value):.{decimals}f}")
    if not ends:
        return text
    low, high = sorted(-end for end in ends) if higher else ends
    doubt = f": {WITHIN_ERROR}" if low <= 0 <= high else ""
    return f"{text} ({low:.{decimals}f} to {high:.{decimals}f}{doubt})"


def _listed(levels: Sequence[Mapping[str, Any]], why: str, film: XrayFindings | None) -> tuple[str, ...]:
    """Where no level is planned: the levels whose disc is low and has an osteophyte, and those not judged."""
    signs = [grade for grade in film.grades if grade.name == SIGN] if film is not None else []
    unjudged = [grade.level for grade in signs if grade.not_measurable is not None]
    named = ", ".join(f"{one['level']} ({one['film'][SIGN]['probabilities'][0]:.2f})" for one in levels)
    found = (
        f"low disc with anterior osteophyte on the film (probability): {named}"
        if named
        else "low disc with anterior osteophyte on the film: no level could be judged"
        if len(unjudged) == len(signs)
        else "no such level on the film"
    )
    if unjudged and len(unjudged) < len(signs):
        found += f"; not judged: {', '.join(unjudged)}"
    return (f"Levels next to a planned operation cannot be named, because {why}; {found}.",)
