"""Do torch, ONNX on the CPU and, where there is one, ONNX on a GPU name the same class for every voxel?

    python -m lab.convert.check_parity --run RUN --model model --image test/input/lumbar/images/sagittal-spine-mri/*.mha
    python -m lab.convert.check_parity --run RUN --part neck --image test/input/cervical/images/sagittal-spine-mri/*.mha

Prints a line for each runner and exits with 1 when fewer than 99.9 % of the voxels agree with torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lab.convert.to_onnx import PARTS, exported_offsets, load_shipped
from spine.conform import conform_study
from spine.errors import ModelError
from spine.read import read_files
from spine.runners import open_runner
from spine.segment import segment_volume
from spine.settings import read_settings

AGREE = 0.999


class TorchRunner:
    """The checkpoint itself, float32 on the CPU."""

    name = "torch CPU, f32"

    def __init__(self, checkpoint: Path) -> None:
        self._network = load_shipped(checkpoint, exported_offsets(checkpoint.parent))

    @torch.no_grad()
    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, slices, H, W) -> class probabilities (n, classes, H, W)."""
        return self._network(torch.from_numpy(batch)).softmax(1).numpy()


def main() -> int:
    """Compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=Path("model"))
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--part", choices=PARTS, default=PARTS[0], help="what the network is in the settings")
    args = parser.parse_args()
    settings = read_settings(args.model)
    shipped = settings.neck if args.part == "neck" else settings.segmenter
    volume = conform_study(read_files(image=args.image), settings.grid)
    reference = segment_volume(volume, TorchRunner(args.run / "last.pt"), settings.segmenter)
    worst = 1.0
    for choice in ("cpu", "cuda", "tensorrt"):
        try:
            runner = open_runner(args.model / shipped.file, shipped.sha256, choice)
        except ModelError as error:
            print(f"{choice}: not tried: {error}")
            continue
        answer = segment_volume(volume, runner, settings.segmenter)
        agree = float((answer.structures == reference.structures).mean())
        change = np.abs(answer.probabilities.astype(np.float32) - reference.probabilities.astype(np.float32)).max()
        print(f"{runner.name}: {100 * agree:.4f} % of the voxels agree with torch, largest change {change:.4f}")
        worst = min(worst, agree)
    return 0 if worst >= AGREE else 1


if __name__ == "__main__":
    sys.exit(main())
