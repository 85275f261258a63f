"""Entry: arguments -> one case (exec) or many (--serve) -> exit code. `python process.py --help` tells the rest."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from spine.arguments import parse

OWN_MODEL = Path(__file__).resolve().parent / "model"


def main(argv: list[str] | None = None) -> int:
    """Run what `argv` asks for; returns the exit code. Heavy imports wait until the arguments are known to be good."""
    arguments = parse(argv, OWN_MODEL)
    debug = os.environ.get("SPINE_DEBUG") == "1"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's matrices are small: its threads only wait and spin
    from spine import case, memory

    case.reserve_streams()

    def load() -> Any:
        memory.require_memory(0, fixed_bytes=memory.START_BYTES)
        from spine import pipeline

        return pipeline.open_models(arguments.model, arguments.runner)

    def run(models: Any, progress: case.Progress) -> Any:
        from spine import pipeline, read

        files, folder = arguments.files, arguments.input
        reader = partial(read.read_files, *files) if files else partial(read.read_study, folder)
        prior = partial(read.read_prior, arguments.prior, arguments.prior_years) if arguments.prior else None
        return pipeline.run(reader, models, arguments.output, progress, prior, arguments.extras)

    def tell(outcome: case.Outcome) -> None:
        case.say(sys.stderr, (outcome.trace if debug else "") + outcome.sentence + "\n")

    if arguments.serve:
        from spine.serve import serve

        return serve(load, run, arguments.output, tell, arguments.port)
    stop = case.Stop(at_once=True)
    stop.listen()
    progress = case.Progress(stop, bar=arguments.progress and sys.stderr is not None and sys.stderr.isatty())
    outcome = case.run_case(lambda: run(load(), progress), arguments.output, progress)
    if outcome.report is None:
        tell(outcome)
    else:
        lines = case.summary(outcome.report, arguments.output)
        case.say(sys.stdout, "\n".join(lines if arguments.files or arguments.progress else lines[:1]) + "\n")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main())
