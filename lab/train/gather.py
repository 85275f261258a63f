"""The volumes a run learns from and is validated on: every folder that was given, or a sentence why not."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from lab.train import sources, volumes
from lab.train.sources import Item, Loaded, UnusableData

PACK = Path("../shared/data")
NO_PACK = "none"
SHARES = {  # of the pictures of a batch; scaled to 1 over the sources that hold any
    "spider_space": 0.4,
    "mendeley_t1": 0.1,
    "mendeley_t2": 0.08,
    "spider_t1": 0.06,
    "spider_t2": 0.06,
    "spider": 0.4,
    "nnunet": 0.2,
    "synthetic": 0.3,
}


def pack_folder(given: str | None) -> Path | None:
    """The pack's folder: the one given, by default PACK where it is there; none for NO_PACK.

    Raises:
        UnusableData: the folder given holds no pack.
    """
    if given == NO_PACK:
        return None
    folder = Path(given or PACK)
    if (folder / "spider_space").is_dir():
        return folder
    if given:
        raise UnusableData(
            f"--data {folder}: no pack; looked for {folder}/spider_space (--data {NO_PACK} does without)."
        )
    return None


def load_items(args: argparse.Namespace, pack: Path | None, pixel_mm: float) -> dict[str, Loaded]:
    """What each source gave, as SHARES names them, sources without an item left out; a line for each on stderr.

    Raises:
        UnusableData: a folder that was given does not exist or gives no case, data are broken, or nothing was given.
    """
    found: dict[str, Loaded] = {}
    if pack and not args.synthetic_only:
        found["spider_space"] = Loaded(list(sources.spider_space(pack, "train", pixel_mm)))
        if not args.labelled:
            found |= _mendeley(pack, pixel_mm)
    if args.labelled:
        found |= _labelled(args.labelled)
    if args.spider:
        _require_folder("--spider", args.spider)
        found["spider"] = volumes.spider(args.spider, pixel_mm)
        _require_items(f"--spider {args.spider}", "images/*.mha with masks/ alike", found["spider"])
    if args.nnunet:
        _require_folder("--nnunet", args.nnunet)
        found["nnunet"] = volumes.nnunet(args.nnunet, sources.read_json(args.classes), pixel_mm)
        _require_items(f"--nnunet {args.nnunet}", "imagesTr and labelsTr", found["nnunet"])
    if args.bank:
        _require_folder("--bank", args.bank)
        found["synthetic"] = Loaded(list(sources.synthetic(args.bank)))
        _require_items(f"--bank {args.bank}", "*.npz of lab.train.prerender", found["synthetic"])
    for name, loaded in found.items():
        _tell(name, loaded)
    found = {name: loaded for name, loaded in found.items() if loaded.items}
    if not found:
        raise UnusableData(
            f"nothing to train on: give --bank, --spider, --nnunet, or --data with the pack (--data {pack or NO_PACK})."
        )
    return found


def load_validation(args: argparse.Namespace, pack: Path | None, pixel_mm: float) -> tuple[str | None, list[Item]]:
    """Source and volumes of the validation patients: the pack's, else those in the --spider folder; told on stderr.

    Raises:
        UnusableData: as volumes.spider.
    """
    source, items = None, []
    if pack:
        source, items = "spider_space", list(sources.spider_space(pack, "val", pixel_mm))
    elif args.spider:
        source, items = "spider", volumes.spider(args.spider, pixel_mm, "val").items
    if not items:
        _say("validation: no validation patient of lab/train/splits.json at hand: nothing is validated.")
        return None, []
    _say(f"validation: {len(items)} volumes of {len({i.patient for i in items})} patients of {source}.")
    return source, items


def _mendeley(pack: Path, pixel_mm: float) -> dict[str, Loaded]:
    patients = len(sources.read_splits()["mendeley_midsagittal"]["train"])
    found = {}
    for contrast in ("t1", "t2"):
        loaded = found[f"mendeley_{contrast}"] = Loaded(list(sources.mendeley(pack, "train", pixel_mm, contrast)))
        if len(loaded.items) < patients:
            loaded.left_out["no picture or no mask that fits"] = patients - len(loaded.items)
    return found


def _labelled(folder: Path) -> dict[str, Loaded]:
    _require_folder("--labelled", folder)
    found: dict[str, Loaded] = {}
    for item in sources.labelled(folder):
        if item.source not in SHARES:
            raise UnusableData(f"--labelled {folder}: {item.source}_{item.patient}.npz is of no set that is known.")
        found.setdefault(item.source, Loaded()).items.append(item)
    if not found:
        _require_items(f"--labelled {folder}", "*.npz of lab.train.pseudo_label", Loaded())
    return found


def _require_folder(option: str, folder: Path) -> None:
    if not folder.is_dir():
        raise UnusableData(f"{option} {folder}: no such folder.")


def _require_items(given: str, looked_for: str, loaded: Loaded) -> None:
    if not loaded.items:
        reasons = f"; left out: {_reasons(loaded)}" if loaded.left_out else ""
        raise UnusableData(f"{given}: no case to train on; looked for {looked_for}{reasons}.")


def _reasons(loaded: Loaded) -> str:
    return ", ".join(f"{count} ({why})" for why, count in sorted(loaded.left_out.items()))


def _tell(name: str, loaded: Loaded) -> None:
    parts: Iterable[str] = (
        f"{len(loaded.items)} read",
        f"left out: {_reasons(loaded) or 'none'}",
        *([f"{loaded.origins_ignored} origins of masks ignored"] if loaded.origins_ignored else []),
    )
    _say(f"{name}: {'; '.join(parts)}.")
    for note in loaded.notes:
        _say(f"{name}: {note}")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
