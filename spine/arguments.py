"""The command line. Nothing heavy is imported here, so that --help and a wrong flag answer at once."""

from __future__ import annotations

import argparse
from pathlib import Path

OPTIONS = {
    "--input": "case in the platform's layout (default: /input)",
    "--image": "sagittal MR: .mha, .nii, .nii.gz, .nrrd, or a folder or one file of a DICOM series",
    "--t1": "sagittal T1 MR, as --image",
    "--axial": "axial T2 MR, as --image",
    "--xray": "lateral radiograph, as --image",
    "--clinical": "clinical record, JSON",
    "--prior": "spine-degeneration-report.json of an earlier study of this patient: what has changed since",
    "--output": "folder of the results (default with --input: /output)",
    "--model": "folder of the learnt part (default: /opt/ml/model, else model beside this file)",
}
RUNNERS = ("auto", "tensorrt", "cuda", "cpu")
PLATFORM_INPUT, PLATFORM_OUTPUT, PLATFORM_MODEL = Path("/input"), Path("/output"), Path("/opt/ml/model")
SETTINGS = "settings.json"  # a mounted folder without it is an empty mount
EXIT_CODES = """exit codes: 0 done; 2 the input cannot be used; 3 the software failed; 130, 143 stopped by a signal.
The last line on the error stream is one sentence that says why. A failed case leaves no outputs. Research use only."""


def parse(argv: list[str] | None, own_model: Path) -> argparse.Namespace:
    """The command line; `own_model` is used where the platform mounted no model.

    Beside the flags the result holds `files`: [image, t1, axial, xray, clinical], or None in the platform's layout.
    Ends the process with code 2 and a sentence for flags that do not go together, with 0 for --help.
    """
    parser = argparse.ArgumentParser(epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, text in OPTIONS.items():
        parser.add_argument(flag, type=Path, metavar="PATH", help=text)
    parser.add_argument("--prior-years", type=float, metavar="N", help="time between the two studies, for rates")
    parser.add_argument("--runner", choices=RUNNERS, default="auto", help="what runs networks")
    parser.add_argument("--port", type=int, default=4743, help="of --serve (default: 4743)")
    parser.add_argument(
        "--progress", action="store_true", help="for a person: a bar on a terminal, and what was found in three lines"
    )
    parser.add_argument("--serve", action="store_true", help="answer GET /health and POST /invoke, models loaded once")
    parser.add_argument("--html", action="store_true", help="also write spine-report.html, to look through the images")
    parser.add_argument("--fhir", action="store_true", help="also write spine-fhir.json, a FHIR R4 bundle")
    parser.add_argument(
        "--dicom",
        action=argparse.BooleanOptionalAction,
        help="also write DICOM objects of the source's study (default: where --image or --t1 is DICOM); a series that "
        "is no DICOM is refused, because there is no study that they could belong to",
    )
    arguments = parser.parse_args(argv)
    named = [arguments.image, arguments.t1, arguments.axial, arguments.xray, arguments.clinical]
    arguments.files = named if any(named) else None
    if arguments.files and (arguments.input or arguments.serve or not arguments.output):
        parser.error("named files need --output, and neither --input nor --serve")
    if (arguments.prior and arguments.serve) or (arguments.prior_years is not None and not arguments.prior):
        parser.error("--prior goes with one case, and --prior-years with --prior")
    arguments.extras = _extras(arguments)
    arguments.input = arguments.input or PLATFORM_INPUT
    arguments.output = arguments.output or PLATFORM_OUTPUT
    arguments.model = arguments.model or (PLATFORM_MODEL if (PLATFORM_MODEL / SETTINGS).exists() else own_model)
    return arguments


def _extras(arguments: argparse.Namespace) -> frozenset[str]:
    """What is written beside the outputs; see export.settle_extras."""
    wanted = {name for name in ("html", "fhir", "dicom") if getattr(arguments, name)}
    if arguments.dicom is None and arguments.files:
        wanted.add("dicom_if_source")
    return frozenset(wanted)
