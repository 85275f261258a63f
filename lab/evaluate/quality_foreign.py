"""Images that are no sagittal spine MR series: drawn, derived from the pack's images, and a few real ones.

Families to learn from and families that are only tested on are kept apart: what is told of the second kind is told of
images unlike any the models were fitted to. All are (slice, down, back) with spacings in the same order.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import SimpleITK
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

Image = NDArray[np.float32]
Spacing = tuple[float, float, float]
Picture = tuple[Image, Spacing]
SIZE = (360, 320)
PLAIN: Spacing = (4.0, 0.75, 0.75)
TOP = 900.0


def _scaled(image: NDArray[np.floating]) -> Image:
    image = image - image.min()
    return (image * (TOP / max(float(image.max()), 1e-6))).astype(np.float32)


def _grid(rng: Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = (int(n * rng.uniform(0.7, 1.2)) for n in SIZE)
    down, back = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return down, back


def _stack(rng: Generator, plane: NDArray[np.floating], sigma: float = 0.03) -> Picture:
    """One noisy copy of `plane`, or three."""
    slices = int(rng.choice([1, 1, 3]))
    noisy = plane + rng.normal(0, sigma * max(float(plane.max()), 1e-6), (slices, *plane.shape))
    return _scaled(np.maximum(noisy, 0)), PLAIN


def white_noise(rng: Generator) -> Picture:
    """Noise alone, Gaussian, uniform or Rayleigh."""
    shape = (int(rng.integers(1, 4)), *_grid(rng)[0].shape)
    drawn = (rng.normal(0, 1, shape), rng.random(shape), rng.rayleigh(1, shape))
    return _scaled(drawn[int(rng.integers(3))]), PLAIN


def smooth_noise(rng: Generator) -> Picture:
    """Blurred noise: blobs of 3 to 15 pixels."""
    down, _ = _grid(rng)
    return _stack(rng, ndimage.gaussian_filter(rng.normal(0, 1, down.shape), rng.uniform(3, 15)) * 50)


def water(rng: Generator) -> Picture:
    """A bottle of water: one even ellipse in air."""
    down, back = _grid(rng)
    inside = np.hypot(down / rng.uniform(0.5, 0.9), back / rng.uniform(0.4, 0.9)) < 1
    return _stack(rng, inside * (1 + 0.3 * down))


def blobs(rng: Generator) -> Picture:
    """An abdomen-like body: an ellipse with a fat rim and a dozen organs."""
    down, back = _grid(rng)
    far = np.hypot(down / 0.95, back / 0.85)
    plane = np.where(far < 1, np.where(far > 0.88, 1.0, 0.35), 0.0)
    for _ in range(int(rng.integers(8, 20))):
        centre, radii = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.05, 0.3, 2)
        organ = np.hypot((down - centre[0]) / radii[0], (back - centre[1]) / radii[1]) < 1
        plane[organ & (far < 0.85)] = rng.uniform(0.05, 1.0)
    return _stack(rng, ndimage.gaussian_filter(plane, 1.0))


def knee(rng: Generator) -> Picture:
    """A knee-like joint: two long bones that meet, cartilage, a patella, fat around."""
    down, back = _grid(rng)
    back = back + 0.2 * down * rng.uniform(-1, 1)
    plane = np.where(np.abs(back) < 0.75, 0.25, 0.0) + np.where((np.abs(back) > 0.6) & (np.abs(back) < 0.75), 0.6, 0.0)
    width = 0.22 + 0.15 * np.exp(-(((np.abs(down) - 0.12) / 0.18) ** 2))
    bone = (np.abs(back) < width) & (np.abs(down) > 0.05)
    plane[bone] = rng.uniform(0.6, 0.9)
    plane[(np.abs(back) < width) & (np.abs(down) < 0.05)] = rng.uniform(0.05, 0.5)
    plane[np.hypot((down + 0.2) / 0.15, (back + 0.5) / 0.08) < 1] = 0.8
    return _stack(rng, ndimage.gaussian_filter(plane, 1.0))


def bars(rng: Generator) -> Picture:
    """A test object with bars and holes, as used for quality control."""
    down, back = _grid(rng)
    plane = (np.hypot(down, back) < 0.9) * 0.8
    for n in range(int(rng.integers(4, 9))):
        row, step = rng.uniform(-0.6, 0.5), rng.uniform(0.03, 0.12)
        window = (np.abs(down - row) < 0.08) & (np.abs(back) < 0.6)
        plane[window & ((back / step).astype(int) % 2 == n % 2)] = 0
    return _stack(rng, plane)


def brownian(rng: Generator) -> Picture:
    """Texture with a 1/f^2 spectrum, as natural images have."""
    down, _ = _grid(rng)
    fy, fx = (np.fft.fftfreq(n)[:, None] if axis == 0 else np.fft.fftfreq(n)[None] for axis, n in enumerate(down.shape))
    amplitude = 1 / np.maximum(np.hypot(fy, fx), 1 / max(down.shape)) ** rng.uniform(1.2, 2.2)
    plane = np.real(np.fft.ifft2(amplitude * np.exp(2j * np.pi * rng.random(down.shape))))
    return _stack(rng, plane - plane.min())


def stripes(rng: Generator) -> Picture:
    """Regular ladders of blocks: as periodic as a spine and none."""
    down, back = _grid(rng)
    step = rng.uniform(0.08, 0.25)
    plane = 0.3 + 0.5 * (((down / step).astype(int) + (back / step).astype(int)) % 2)
    return _stack(rng, plane * (np.hypot(down, back) < 1.1))


DRAWN_FIT: dict[str, Callable[[Generator], Picture]] = {
    "white noise": white_noise,
    "smooth noise": smooth_noise,
    "water phantom": water,
    "abdomen-like drawing": blobs,
    "test object with bars": bars,
}
DRAWN_TEST: dict[str, Callable[[Generator], Picture]] = {
    "knee-like drawing": knee,
    "1/f texture": brownian,
    "checkerboard": stripes,
}


def turned(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """A spine that lies on its side under a header that says otherwise."""
    return np.ascontiguousarray(np.rot90(image, int(rng.choice([1, 3])), (1, 2))), (spacing[0], spacing[2], spacing[1])


def upside_down(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """A spine with the feet on top under a header that says otherwise."""
    return np.ascontiguousarray(image[:, ::-1]), spacing


def scrambled(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """The tiles of a spine image in random order: same histogram, same texture, no anatomy."""
    tile = int(rng.integers(24, 56))
    rows, columns = image.shape[1] // tile, image.shape[2] // tile
    cut = image[:, : rows * tile, : columns * tile].reshape(len(image), rows, tile, columns, tile)
    tiles = cut.transpose(1, 3, 0, 2, 4).reshape(rows * columns, len(image), tile, tile)
    mixed = tiles[rng.permutation(len(tiles))].reshape(rows, columns, len(image), tile, tile)
    return np.ascontiguousarray(
        mixed.transpose(2, 0, 3, 1, 4).reshape(cut.shape[0], rows * tile, columns * tile)
    ), spacing


def transposed(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """Rows and columns exchanged."""
    return np.ascontiguousarray(image.transpose(0, 2, 1)), (spacing[0], spacing[2], spacing[1])


def away_from_the_spine(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """The front third of a lumbar image: bowel and abdominal wall, blown up to the full size."""
    front = image[:, :, : image.shape[2] // 3]
    return ndimage.zoom(front, (1, 1, 3), order=1), spacing


def among_others(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """One sagittal slice of a spine in a stack with pictures of something else."""
    others = [ndimage.zoom(drawn[0][0], np.divide(image.shape[1:], drawn[0].shape[1:]), order=1)
              for drawn in (blobs(rng), smooth_noise(rng))]  # fmt: skip
    bright = float(np.percentile(image, 99)) / TOP
    return np.stack([image[0], others[0] * bright, others[1] * bright]), spacing


def mirrored(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """The back in front under a header that says otherwise."""
    return np.ascontiguousarray(image[:, :, ::-1]), spacing


def standing_on_the_head(image: Image, spacing: Spacing, rng: Generator) -> Picture:
    """A spine rotated by 180 degrees under a header that says otherwise."""
    return np.ascontiguousarray(image[:, ::-1, ::-1]), spacing


# Several slices of one volume (slice, down, back) made one picture: no single slice of a body looks like that.
FLATTENED_FIT: dict[str, Callable[[Image], Image]] = {
    "largest signal over all slices": lambda volume: volume.max(0),
    "spread between slices": lambda volume: volume.std(0),
    "negative of a slice": lambda volume: volume.max() - volume[len(volume) // 2],
}
FLATTENED_TEST: dict[str, Callable[[Image], Image]] = {
    "X-ray-like projection": lambda volume: volume.max() - volume.mean(0),
    "X-ray-like projection, bone bright": lambda volume: volume.max(0) - volume.mean(0),
}
DERIVED_FIT: dict[str, Callable[[Image, Spacing, Generator], Picture]] = {
    "spine on its side": turned,
    "scrambled tiles of a spine": scrambled,
    "spine upside down": upside_down,
    "spine slice among other pictures": among_others,
}
DERIVED_TEST: dict[str, Callable[[Image, Spacing, Generator], Picture]] = {
    "spine with back and front exchanged": mirrored,
    "spine upside down, test patients": upside_down,
    "spine rotated by 180 degrees": standing_on_the_head,
    "spine with axes exchanged": transposed,
    "abdomen in front of a spine": away_from_the_spine,
}


def real_foreign(data: Path) -> Iterator[tuple[str, Picture]]:
    """Real images of other things, those that are at hand: (family, picture). Only ever tested on."""
    axial = SimpleITK.ReadImage(str(data / "muscle_axial" / "image.nii.gz"))
    planes = SimpleITK.GetArrayFromImage(axial).astype(np.float32)
    step = axial.GetSpacing()
    for n in range(0, len(planes), 4):
        yield "axial lumbar MR (real)", (planes[n : n + 1], (step[2], step[1], step[0]))
    middle = len(planes) // 2
    yield "axial lumbar MR as a stack (real)", (planes[middle - 2 : middle + 3], (step[2], step[1], step[0]))
    front = planes.shape[1]
    for part in (0.35, 0.5, 0.65):  # from head to foot as thick as the slices: as smooth as such a reformat is
        coronal = ndimage.zoom(planes[::-1, int(part * front)], (step[2] / step[0], 1.0), order=1)
        yield "coronal lumbar MR (real)", (coronal[None], (4.0, step[0], step[0]))
    yield from _thoracic(data / "thoracic_crop")
    for path in sorted((data / "cervical_t2").glob("*_image.nii.gz")):
        yield from _reformats(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(np.float32))
    yield from _brain()
    yield from _dicom_samples()


def _thoracic(folder: Path) -> Iterator[tuple[str, Picture]]:
    """Axial and coronal slices of the thoracic crop, whose voxels are cubes; axes (left, down, back)."""
    path = folder / "image.nii.gz"
    if not path.is_file():
        return
    stored = SimpleITK.ReadImage(str(path))
    volume, side = SimpleITK.GetArrayFromImage(stored).astype(np.float32), stored.GetSpacing()[0]
    for part in (0.3, 0.5, 0.7):
        across = volume[:, int(part * volume.shape[1])].T
        coronal = volume[:, :, int(part * volume.shape[2])].T
        for plane in (across, coronal):
            yield "thoracic MR in another plane (real)", (np.ascontiguousarray(plane)[None], (4.0, side, side))


def _reformats(volume: Image) -> Iterator[tuple[str, Picture]]:
    """(superior, anterior, right) at 1 mm -> axial, coronal and a stack of three orthogonal slices."""
    up, front, right = volume.shape
    axial = volume[np.linspace(0.3 * up, 0.8 * up, 3).astype(int)]
    yield "axial neck MR (real)", (axial, (4.0, 1.0, 1.0))
    coronal = volume[::-1, [int(0.45 * front), int(0.55 * front)]].transpose(1, 0, 2)
    yield "coronal neck MR (real)", (np.ascontiguousarray(coronal), (4.0, 1.0, 1.0))
    three = [volume[::-1, ::-1, right // 2], volume[::-1, front // 2], volume[up // 2]]
    size = np.max([plane.shape for plane in three], axis=0)
    stack = [np.pad(plane, [(0, int(n - m)) for n, m in zip(size, plane.shape, strict=True)]) for plane in three]
    yield "localiser of three orthogonal slices (real)", (np.stack(stack), (5.0, 1.0, 1.0))


def _package_file(package: str, relative: str) -> Path | None:
    """A file inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / relative
    return path if path.is_file() else None


def _brain() -> Iterator[tuple[str, Picture]]:
    path = _package_file("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
    if path is None:
        return
    volume = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).astype(
        np.float32
    )  # (superior, anterior, right)
    middle = volume.shape[2] // 2
    for start in (middle - 40, middle - 8, middle + 24):
        planes = volume[::-1, ::-1, start : start + 12 : 4].transpose(2, 0, 1)
        yield "brain MR (real template)", (np.ascontiguousarray(planes), (4.0, 1.0, 1.0))
    yield "brain MR (real template)", (np.ascontiguousarray(volume[60:100:16, ::-1]), (4.0, 1.0, 1.0))


def _dicom_samples() -> Iterator[tuple[str, Picture]]:
    for family, name in (
        ("axial abdomen MR (real)", "examples_overlay.dcm"),
        ("axial CT (real)", "CT_small.dcm"),
    ):
        path = _package_file("pydicom", f"data/test_files/{name}")
        if path is not None:
            image = SimpleITK.ReadImage(str(path))
            plane = SimpleITK.GetArrayFromImage(image).reshape(1, *image.GetSize()[1::-1]).astype(np.float32)
            step = image.GetSpacing()
            yield family, (plane, (4.0, step[1], step[0]))
