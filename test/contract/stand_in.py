"""process.py over a stand-in for the pipeline: real reading and writing, no network, faults on demand.

Run as a script it is process.py with the stand-in. The name of the model folder picks what happens.
"""

import os
import shutil
import sys
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("read", "segment", "write")
ABSENT = {"not_measurable": "stand-in"}
GRADES = {
    **dict.fromkeys(
        ("modic", "upper_endplate", "lower_endplate", "spondylolisthesis", "herniation", "narrowing", "stenosis"),
        ABSENT,
    ),
    "pfirrmann": {"grade": 4},
    "bulging": {"grade": True},
}
LIKELIHOOD = {
    "likelihood": ABSENT, "interval_90": ABSENT, "disc_age_years": ABSENT, "disc_age_interval_90": ABSENT,
    "without_images": ABSENT, "threshold_years": 10.0,
    "abstained": True, "reason": "stand-in",
}  # fmt: skip


def open_models(model_dir, runner="auto"):
    """The name of the folder; a folder named 'missing' has no models."""
    from spine.errors import ModelError

    if model_dir.name == "slow-start":
        time.sleep(30)
    if model_dir.name == "missing":
        raise ModelError(f"{model_dir.name}: there are no models.")
    return model_dir.name


def run(read, models, output_dir, progress=None, prior=None, extras=frozenset()):
    """Read, mark the brightest voxels, write; `models` names the fault."""
    from spine import write
    from spine.records import Report

    progress("read")
    study = read()
    progress("segment")
    fail(models)
    array = study.primary.array
    mask = (array > array.mean()).astype("uint8")
    document = {
        "input": {"region": "lumbar", "contrast": {"guess": "T2-like"}},
        "vertebrae": [],
        "levels": [{"level": "L5/S1", "measurements": {"slip_mm": {"value": 1.25}}, "grades": GRADES}],
        "numbering": {"method": "sacrum", "probability": 0.987, "doubt": "none"},
        **dict.fromkeys(("alignment", "canal", "muscle", "xray", "degeneration"), ABSENT),
        "quality": {"flags": list(study.flags)},
        "size": list(study.primary.grid.size),
    }
    report = Report(document, LIKELIHOOD, {"indication": ABSENT, "options": [], "caveats": []}, b"%PDF-1.7")
    progress("write")
    if models == "slow-write":
        write.os.replace = replace_slowly
    write.write_outputs(report, mask, study, output_dir)
    return report


def replace_slowly(source, target, _replace=os.replace):
    """Place an output, tell so, and leave time for a signal before the next."""
    _replace(source, target)
    sys.stdout.write("placed\n")
    sys.stdout.flush()
    time.sleep(0.5)


def fail(models):
    """What the name of the model folder asks for."""
    if models == "crash":
        raise ValueError("two lines\nof text.")
    if models == "memory":
        raise MemoryError
    if models.startswith("slow-case"):
        (ROOT_OF_MARKS / "running").write_text("")
        time.sleep(30 if models == "slow-case" else 1.5)


def install(resources_dir):
    """Put the stand-in where `from spine import pipeline` finds it, and loosen the schema of the report."""
    import spine
    from spine import resources

    for path in (ROOT / "resources").glob("*.json"):
        shutil.copy(path, resources_dir)
    shutil.copytree(ROOT / "resources" / "texts", resources_dir / "texts", dirs_exist_ok=True)
    (resources_dir / "spine-degeneration-report.schema.json").write_text('{"type": "object"}')
    resources.RESOURCES = resources_dir
    module = types.ModuleType("spine.pipeline")
    module.STAGES, module.open_models, module.run = STAGES, open_models, run
    sys.modules["spine.pipeline"] = spine.pipeline = module


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    ROOT_OF_MARKS = Path(sys.argv.pop(1))
    (ROOT_OF_MARKS / "resources").mkdir(exist_ok=True)
    install(ROOT_OF_MARKS / "resources")
    import process

    sys.exit(process.main())
