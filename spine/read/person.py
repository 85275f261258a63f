"""Age and sex that the headers of the images state: compared with the clinical record, used where it is silent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from spine.read.library import PATIENT_AGE, PATIENT_BIRTH_DATE, PATIENT_SEX, STUDY_DATE

AGE_FIELD, SEX_FIELD = "age_years", "sex"
MAX_AGE_DIFFERENCE_YEARS = 1.0  # headers state completed years, and a record may be written months after the images
MAX_AGE_YEARS = 120.0  # as resources/clinical.schema.json
SEXES = {"F": "female", "M": "male"}
PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}  # units of an age string (PS3.5, 6.2)
DIFFERS = {AGE_FIELD: "record_differs_from_header_age", SEX_FIELD: "record_differs_from_header_sex"}
TAKEN = {AGE_FIELD: "age_from_header", SEX_FIELD: "sex_from_header"}


def stated_person(meta: Mapping[str, str]) -> dict[str, Any]:
    """`age_years` at the study and `sex` by the DICOM attributes `meta` ('gggg|eeee' -> text), as far as stated.

    Nothing else about the patient is kept. An age of 0, as removed identities leave it, counts as not stated.
    """
    age_years = _age_years(meta)
    sex = SEXES.get(meta.get(PATIENT_SEX, "").strip().upper())
    known: dict[str, Any] = {AGE_FIELD: age_years, SEX_FIELD: sex}
    return {field: value for field, value in known.items() if value is not None}


def _age_years(meta: Mapping[str, str]) -> float | None:
    """Patient's age (0010,1010), else birth date to study date in years; None where neither is sound."""
    stated = re.fullmatch(r"(\d{3})([DWMY])", meta.get(PATIENT_AGE, "").strip())
    if stated:
        age_years = round(int(stated[1]) / PER_YEAR[stated[2]], 1)
    else:
        born, studied = _date(meta.get(PATIENT_BIRTH_DATE, "")), _date(meta.get(STUDY_DATE, ""))
        if born is None or studied is None:
            return None
        age_years = round((studied - born).days / PER_YEAR["D"], 1)
    return age_years if 0 < age_years <= MAX_AGE_YEARS else None


def _date(text: str) -> date | None:
    digits = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", text.strip())
    try:
        return date(*map(int, digits.groups())) if digits else None
    except ValueError:
        return None


def differences(record: Mapping[str, Any], header: Mapping[str, Any]) -> list[str]:
    """Fields of the clinical record that contradict what the header states."""
    both = [field for field in DIFFERS if field in record and field in header]
    return [field for field in both if _apart(field, record[field], header[field])]


def _apart(field: str, given: Any, stated: Any) -> bool:
    return bool(abs(given - stated) > MAX_AGE_DIFFERENCE_YEARS if field == AGE_FIELD else given != stated)


def film_contradictions(known: Mapping[str, Any] | None, film: Mapping[str, Any]) -> tuple[str, ...]:
    """A flag where the header of the radiograph contradicts the person that record and MR state; else nothing."""
    given = known or {}
    apart = differences(given, film)
    if not apart:
        return ()
    return (
        f"lateral-spine-xray: the header says {_words(film, apart)}, record or MR say {_words(given, apart)}: "
        "the film may be of another patient or of another time",
    )


def settle_person(
    record: Mapping[str, Any] | None, header: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, tuple[str, ...], str | None]:
    """The clinical record with age and sex of the header where it is silent, flags, and a doubt.

    Where the two contradict each other the record stays as it is: either may be another patient's. The doubt is a
    phrase that tells both, None without a contradiction.
    """
    given = record or {}
    apart = differences(given, header)
    if apart:
        words = [_words(source, apart) for source in (given, header)]
        doubt = f"the record says {words[0]}, the header of the images says {words[1]}"
        return record, tuple(DIFFERS[field] for field in apart), doubt
    taken = {field: value for field, value in header.items() if field not in given}
    flags = tuple(TAKEN[field] for field in taken)
    return ({**given, **taken} if taken else record), flags, None


def _words(person: Mapping[str, Any], fields: list[str]) -> str:
    return " and ".join(f"{person[field]:g} years" if field == AGE_FIELD else str(person[field]) for field in fields)
