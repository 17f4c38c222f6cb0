from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from benchmarks.footprint import main, picture

SVG = "{http://www.w3.org/2000/svg}"


def kept(name: str, cache: int, nll: float) -> dict[str, object]:
    interval = {"mean": nll, "low": nll - 0.1, "high": nll + 0.1}
    return {"name": name, "tokens": 100.0, "cache": cache, "nll": interval}


FOUND = {
    "lines": 160,
    "disk": 100_000,
    "kept": [
        kept("full context", 200 << 20, 2.0),
        kept("5 recalled lines", 8 << 20, 0.5),
        kept("no memory", 4 << 20, 5.0),
    ],
}


def places(drawn: str) -> list[tuple[float, float]]:
    circles = ET.fromstring(drawn).iter(f"{SVG}circle")
    return [(float(each.get("cx", "")), float(each.get("cy", ""))) for each in circles]


def test_more_bytes_are_further_right_and_more_nats_higher() -> None:
    full, recalled, without = places(picture(FOUND))
    assert without[0] < recalled[0] < full[0]
    assert without[1] < full[1] < recalled[1]


def test_ours_is_told_apart_and_all_is_said_in_words() -> None:
    root = ET.fromstring(picture(FOUND))
    own = [each for each in root.iter(f"{SVG}circle") if "own" in each.get("class", "")]
    assert len(own) == 1
    words = root.findtext(f"{SVG}desc") or ""
    assert "5 recalled lines 4.0 MiB, NLL 0.50" in words
    assert "100000 bytes" in words


def test_it_draws_what_the_command_printed(tmp_path: Path) -> None:
    result, drawn = tmp_path / "result.json", tmp_path / "picture.svg"
    result.write_text(json.dumps({"lines": 160, "footprint": FOUND}), encoding="utf-8")
    main(str(result), str(drawn))
    assert drawn.read_text(encoding="utf-8") == picture(FOUND)
