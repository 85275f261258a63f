"""TRIPOD+AI and CLAIM: what the software knows of an evaluation, and blanks for what only its authors know.

TRIPOD+AI: the 27 items by number and topic (Collins 2024, doi 10.1136/bmj-2023-078378). CLAIM 2024
(doi 10.1148/ryai.240300): topics that it adds for imaging, without its item numbers. The wording here is short and our
own: authors fill in the original forms.
"""

from __future__ import annotations

from typing import Any

BLANK = ""
TRIPOD_TOPICS = (
    "Title", "Abstract", "Background", "Objectives", "Data", "Participants", "Data preparation", "Outcome",
    "Predictors", "Sample size", "Missing data", "Analytical methods", "Class imbalance", "Fairness", "Model output",
    "Training versus evaluation", "Ethical approval", "Open science", "Patient and public involvement",
    "Participants (results)", "Model development", "Model specification", "Model performance", "Model updating",
    "Interpretation", "Limitations", "Usability in current care",
)  # fmt: skip


def tripod(results: dict[str, Any], raw: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """(item, topic, what is known) of every item; '' where the authors must write."""
    known = _known(results, raw)
    return [(str(n), topic, known.get(n, BLANK)) for n, topic in enumerate(TRIPOD_TOPICS, start=1)]


def _known(results: dict[str, Any], raw: list[dict[str, Any]]) -> dict[int, str]:
    tables = results["tables"]
    parts = [name for name in ("masks", "gradings", "measurements", "outcomes") if tables[name]]
    groups = sorted({row["variable"] for row in tables["subgroups"]})
    missing = sum(row["not_measured"] for name in parts for row in tables[name])
    models = sorted({f"{name} {sha[:12]}" for case in raw for name, sha in _models(case).items()})
    return {
        1: results["title"],
        5: f"{results['cases']} cases of {results['patients']} patients; source and dates: to be stated",
        7: "Input checks, orientation and resampling by the software; what was done before it: to be stated",
        10: f"{results['patients']} patients; see the number of events in each table",
        11: f"{missing} values could not be measured; each is kept with its reason in raw/, none was imputed",
        12: "95 % percentile bootstrap intervals over patients; definitions in docs/validation.md",
        13: "No resampling or reweighting in the evaluation; balanced accuracy beside kappa",
        14: f"Subgroups: {', '.join(groups)}" if groups else "No subgroup columns were given",
        15: "Masks, measurements with units, grades and outcomes as probabilities; reasons where there is none",
        16: "To be stated: whether any patient, scanner or site of this cohort was used to train the models below",
        18: "Code and label maps are open; models: " + (", ".join(models) or "of another method"),
        20: f"{results['cases']} cases, {results['patients']} patients; cases without result: {_failed(raw)}",
        22: ", ".join(models) or "another method: to be stated",
        23: "Tables and figures of this document: " + ", ".join(parts),
        24: "Recalibrated on one half, reported on the other" if "recalibration" in tables else "Not updated",
    }


def claim(results: dict[str, Any], raw: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(topic, what is known) of what CLAIM asks for beyond TRIPOD+AI; '' where the authors must write."""
    resampled = sum(bool(case["masks"].get("resampled")) for case in raw)
    libraries = sorted({str(case["report"]["software"].get("runner", "")) for case in raw if "report" in case})
    return [
        ("Imaging acquisition: vendor, field strength, sequence, planes", BLANK),
        ("De-identification", BLANK),
        ("Reference standard: definition, rationale", BLANK),
        ("Annotators: number, qualification, tools", BLANK),
        ("Agreement between and within annotators", BLANK),
        (
            "Label maps used",
            f"reference {results['label_maps']['reference']}, ours {results['label_maps']['prediction']}",
        ),
        ("Predictions resampled onto the grid of the reference", f"{resampled} of {len(raw)}, nearest neighbour"),
        ("Software and hardware that ran the models", ", ".join(filter(None, libraries)) or BLANK),
        ("Uncertainty of the metrics", "95 % intervals over patients"),
        ("Robustness: subgroups, abstention", "Subgroups and risk-coverage tables of this document"),
        ("Failure analysis", f"Worst cases in the gallery; {_failed(raw)} cases without result, listed with reasons"),
        ("Data, code and model availability", BLANK),
    ]


def _models(case: dict[str, Any]) -> dict[str, str]:
    return case.get("report", {}).get("software", {}).get("models", {})


def _failed(raw: list[dict[str, Any]]) -> int:
    return sum("not_measurable" in case["masks"] for case in raw)
