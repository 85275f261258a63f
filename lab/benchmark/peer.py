"""nnU-Net's own predictor with the network that its own planner gives for this kind of data, random weights.

    python -m lab.benchmark.peer --shape 18 448 448 --spacing 4 0.6 0.6 --mode no_mirror

Prints one line of JSON. Needs requirements-benchmark.txt; `python -m lab.benchmark --peer ...` calls it as a process of
its own, so that its memory is its own. Only the sliding window is timed, on a volume that is already on the planned
grid: reading, resampling, the export of the segmentation and everything after it come free.

Modes: `no_mirror` and `default` (mirrored along all axes) run in full; `estimate` runs two windows and multiplies the
second by the windows and mirrorings of both, which is said in its answer and leaves out the Gaussian sums.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lab.benchmark.peer_modes import MODES

DATASET = "Dataset001_Spine"
CASES = 200  # number of training cases that the planner is told, about SPIDER's
CLASSES = 10
MIRRORINGS = 8  # of a window along three axes


def main() -> None:
    """Plan, build, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, required=True, help="voxels along slices, rows, columns")
    parser.add_argument("--spacing", type=float, nargs=3, required=True, help="mm along slices, rows, columns")
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--patch", type=int, nargs=3, help="instead of the planned one, to try the command")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    # What it prints on the way is not the answer.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        plans, dataset = plan(Path(folder), args.shape, args.spacing)
        if args.patch:
            plans["configurations"]["3d_fullres"]["patch_size"] = args.patch
        peer = Peer(plans, dataset, mirror=args.mode == "default")
        answer = peer.facts() | peer.time(torch.rand(1, *args.shape), args.mode)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    answer["peak_mb"] = round(int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6)
    print(json.dumps(answer))


def plan(folder: Path, shape: list[int], spacing_mm: list[float]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(plans, dataset) that nnU-Net's default planner makes for a data set of such volumes."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(folder / name)
    dataset = {
        "channel_names": {"0": "T2"},
        "labels": {"background": 0, **{f"structure {n}": n for n in range(1, CLASSES)}},
        "numTraining": CASES,
        "file_ending": ".mha",
    }
    intensities = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    fingerprint = {
        "spacings": [spacing_mm] * CASES,
        "shapes_after_crop": [shape] * CASES,
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "median_relative_size_after_cropping": 1.0,
    }
    raw, prepared = folder / "nnUNet_raw" / DATASET, folder / "nnUNet_preprocessed" / DATASET
    for part in (raw / "imagesTr", raw / "labelsTr", prepared):
        part.mkdir(parents=True)
    (raw / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    (prepared / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

    class Planner(ExperimentPlanner):
        """Without the look at the first image, of which there is none here."""

        def determine_reader_writer(self) -> Any:
            from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

            return SimpleITKIO

    return Planner(DATASET).plan_experiment(), dataset


class Peer:
    """nnU-Net's predictor over a network with random weights."""

    def __init__(self, plans: dict[str, Any], dataset: dict[str, Any], mirror: bool) -> None:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(plans)
        configuration = manager.get_configuration("3d_fullres")
        self.network = get_network_from_plans(
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
            1,
            CLASSES,
            deep_supervision=False,
        ).eval()
        self.patch = tuple(configuration.patch_size)
        self.predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
        self.predictor.manual_initialization(
            self.network, manager, configuration, [self.network.state_dict()], dataset, "nnUNetTrainer", (0, 1, 2)
        )

    def facts(self) -> dict[str, Any]:
        """What is being timed."""
        return {
            "version": metadata.version("nnunetv2"),
            "network": type(self.network).__name__,
            "parameters_million": round(sum(p.numel() for p in self.network.parameters()) / 1e6, 1),
            "patch": list(self.patch),
            "threads": torch.get_num_threads(),
        }

    @torch.inference_mode()
    def time(self, volume: torch.Tensor, mode: str) -> dict[str, Any]:
        """Seconds for (1, slices, rows, columns) in `mode`, one of MODES."""
        padded = [max(size, patch) for size, patch in zip(volume.shape[1:], self.patch, strict=True)]
        windows = len(self.predictor._internal_get_sliding_window_slicers(tuple(padded)))
        found: dict[str, Any] = {"mode": mode, "windows": windows, "estimated": mode == "estimate"}
        if mode != "estimate":
            start = time.perf_counter()
            self.predictor.predict_sliding_window_return_logits(volume)
            return {**found, "seconds": {mode: round(time.perf_counter() - start, 2)}}
        for _ in range(2):  # the first one also makes the library ready
            start = time.perf_counter()
            self.network(torch.rand(1, 1, *self.patch))
            window_s = time.perf_counter() - start
        seconds = {"no_mirror": windows * window_s, "default": windows * MIRRORINGS * window_s}
        return {**found, "window_s": round(window_s, 2), "seconds": {k: round(s, 1) for k, s in seconds.items()}}


if __name__ == "__main__":
    main()
