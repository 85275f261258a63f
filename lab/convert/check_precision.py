"""May the CPU compute in a smaller number format? Agreement with float32 and time of each, slice by slice in turns.

    python -m lab.convert.check_precision [--image test/input/lumbar/images/sagittal-spine-mri/*.mha ...] [--out FILE]

A format is worth taking when at least 99.9 % of the voxels keep their name, of the background and of the structures
apart, and it is faster. spine.runners states float32; this says whether another CPU or another network changes that.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import properties as props

from lab.benchmark.machine import describe
from spine.conform import conform_study
from spine.read import read_files
from spine.settings import read_settings

ROOT = Path(__file__).parents[2]
CASE = ROOT / "test" / "input" / "lumbar" / "images" / "sagittal-spine-mri"
AGREE_MIN = 0.999
FORMATS = {"f32": ov.Type.f32, "f16": ov.Type.f16, "bf16": ov.Type.bf16}


def main() -> None:
    """Measure, print and, where asked, store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "model")
    parser.add_argument("--image", type=Path, nargs="+", default=sorted(CASE.iterdir()))
    parser.add_argument("--slices", type=int, default=8, help="of each image, from its middle")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = read_settings(args.model)
    model = (args.model / settings.segmenter.file).read_bytes()
    images = []
    for image in args.image:
        volume = conform_study(read_files(image=image), settings.grid)
        _, rows, columns = volume.content
        middle = max(0, (volume.array.shape[0] - args.slices) // 2)
        inputs = with_neighbours(volume.array, range(middle, middle + args.slices), settings.segmenter.neighbours)
        images.append(compare(model, inputs, (rows, columns)))
    result = {"machine": describe(), "formats": {kind: judge([image[kind] for image in images]) for kind in FORMATS}}
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def with_neighbours(array: NDArray[np.float32], slices: range, neighbours: int) -> NDArray[np.float32]:
    """(n, channels, rows, columns): what the network is shown of the `slices` that exist."""
    last = len(array) - 1
    wanted = np.array([s for s in slices if s <= last])
    channels = np.clip(wanted[:, None] + np.arange(-neighbours, neighbours + 1), 0, last)
    return np.ascontiguousarray(array[channels])


def compare(model: bytes, inputs: NDArray[np.float32], content: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """For each format: seconds of each slice on one thread, voxels named as float32 does, of all and of structures."""
    requests = {kind: request(model, (1, *inputs.shape[1:]), FORMATS[kind]) for kind in FORMATS}
    found: dict[str, dict[str, Any]] = {
        kind: {"seconds": [], "same": 0, "all": 0, "same_in": 0, "in": 0} for kind in FORMATS
    }
    rows, columns = content
    for item in inputs:
        names = {}
        for kind, run in requests.items():
            start = time.process_time()
            run.infer([item[None]], share_inputs=True)
            found[kind]["seconds"].append(time.process_time() - start)
            names[kind] = run.get_output_tensor(0).data[0].argmax(0)[:rows, :columns]
        for kind, name in names.items():
            inside = (names["f32"] > 0) | (name > 0)
            same = name == names["f32"]
            for key, value in (("same", same), ("all", name >= 0), ("same_in", same & inside), ("in", inside)):
                found[kind][key] += int(value.sum())
    return found


def request(model: bytes, shape: tuple[int, ...], kind: ov.Type) -> Any:
    """A request on one thread, so that the processor's seconds do not depend on what else runs."""
    core = ov.Core()
    network = core.read_model(model, b"")
    network.reshape(ov.PartialShape(list(shape)))
    config = {props.hint.inference_precision(): kind, props.inference_num_threads(): 1, props.num_streams(): 1}
    return core.compile_model(network, "CPU", config).create_infer_request()


def judge(images: list[dict[str, Any]]) -> dict[str, Any]:
    """One format over all images: whether its names may be trusted, and its best time."""
    share, inside = (
        sum(image[same] for image in images) / max(1, sum(image[total] for image in images))
        for same, total in (("same", "all"), ("same_in", "in"))
    )
    return {
        "agreement": round(share, 6),
        "agreement_in_structures": round(inside, 6),
        "agrees": share >= AGREE_MIN and inside >= AGREE_MIN,
        "best_ms_a_slice": round(1e3 * min(min(image["seconds"]) for image in images), 1),
    }


if __name__ == "__main__":
    main()
