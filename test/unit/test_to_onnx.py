"""Export of a training run: which offsets a file carries is told, recorded and used again by the parity check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lab.convert.to_onnx import LOGIT_OFFSETS, exported_offsets, load_shipped, main
from lab.train.network import build_network

pytestmark = pytest.mark.filterwarnings(  # of the older exporter
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:ONNX export mode:UserWarning"
)


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path]:
    """A run of a tiny network, and a model folder whose quality.json belongs to another one."""
    run, model = tmp_path / "run", tmp_path / "model"
    run.mkdir()
    model.mkdir()
    weights = build_network(3, widths=(8, 8)).state_dict()
    torch.save({"average": weights, "network": weights, "step": 1, "log": []}, run / "last.pt")
    (run / "record.json").write_text(json.dumps({"seed": 1}))
    (model / "settings.json").write_text(json.dumps({"segmenter": {}}))
    (model / "quality.json").write_text(json.dumps({"segmenter_sha256": "0" * 64}))
    return run, model / "segmenter.onnx"


@pytest.mark.parametrize("plain", [False, True])
def test_offsets_are_told_recorded_and_found_again(places, capsys, plain):
    run, out = places
    main(["--run", str(run), "--out", str(out), *(["--no-offsets"] if plain else [])])
    told = capsys.readouterr().out
    assert ("logit offsets: none" if plain else "logit offsets: DISC -1") in told
    assert "quality.json and the grader were fitted to another segmenter" in told
    record = json.loads((run / "record.json").read_text())
    assert record["seed"] == 1
    assert bool(record["export"]["logit_offsets"]) is not plain
    settings = json.loads(out.with_name("settings.json").read_text())
    assert settings["segmenter"]["sha256"] == record["export"]["sha256"]
    offsets = exported_offsets(run)
    assert offsets == ({} if plain else LOGIT_OFFSETS)
    stored = torch.load(run / "last.pt", weights_only=True)["average"]["body.head.bias"]
    assert torch.equal(load_shipped(run / "last.pt", offsets).body.head.bias, stored) is plain
    out.with_name("quality.json").write_text(json.dumps({"segmenter_sha256": record["export"]["sha256"]}))
    main(["--run", str(run), "--out", str(out), *(["--no-offsets"] if plain else [])])
    assert "fitted to another" not in capsys.readouterr().out


def test_the_network_of_the_neck_has_a_group_and_offsets_of_its_own(places, capsys):
    run, out = places
    settings = out.with_name("settings.json")
    settings.write_text(json.dumps({"segmenter": {"sha256": "kept", "neighbours": 1}}))
    main(["--run", str(run), "--part", "neck", "--out", str(out.with_name("neck.onnx"))])
    told = capsys.readouterr().out
    assert "logit offsets: CANAL +0.4, CORD +0.4 (" in told
    assert "fitted to another neck" in told
    digest = json.loads((run / "record.json").read_text())["export"]["sha256"]
    assert json.loads(settings.read_text()) == {
        "segmenter": {"sha256": "kept", "neighbours": 1},
        "neck": {"file": "neck.onnx", "sha256": digest},
    }
    settings.write_text(json.dumps({"segmenter": {"neighbours": 2}}))
    with pytest.raises(SystemExit) as ended:
        main(["--run", str(run), "--part", "neck", "--out", str(out.with_name("neck.onnx"))])
    assert ended.value.code == 2
    assert "--neighbours 1; the segmenter sees 2 slices on either side" in capsys.readouterr().err


def test_what_is_missing_is_named(places, capsys):
    run, out = places
    for words, reason in (
        (["--run", str(run / "no"), "--out", str(out)], "last.pt: no such file"),
        (["--run", str(run), "--out", str(out.parent / "deeper/s.onnx")], "settings.json: cannot be read"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
        assert reason in capsys.readouterr().err
