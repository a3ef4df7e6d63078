"""A model family that another distribution brings: installed beside the service, it is served like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.live import serving
from tests.photos import encode_photo

FAMILY = Path(__file__).resolve().parents[1] / "fixtures" / "colour_family"


def plain(colour: str) -> bytes:
    return encode_photo(Image.new("RGB", (32, 32), colour), "PNG")


@pytest.mark.slow
def test_a_family_by_entry_point_is_taught_and_asked(tmp_path: Path) -> None:
    with serving(tmp_path / "data", PYTHONPATH=str(FAMILY)) as live, live.client() as client:
        listed = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
        assert listed["mean-colour"]["family"] == "colours"
        assert client.post("/v1/collections", json={"name": "paints", "encoder": "mean-colour"}).is_success
        for label, colours in (("red", ("#f00", "#d11")), ("blue", ("#00f", "#11d"))):
            images = [("images", plain(colour)) for colour in colours]
            taught = client.post("/v1/collections/paints/examples", data={"label": label}, files=images)
            assert taught.status_code == 201, taught.text
        form = {"collection": "paints", "threshold": "0"}
        answer = client.post("/v1/classify", data=form, files={"image": plain("#e20")}).json()
        assert (answer["label"], answer["model"]) == ("red", "mean-colour")
        refused = client.post(
            "/v1/classify", data={"model": "mean-colour", "labels": "red,blue"}, files={"image": plain("red")}
        )
        assert refused.status_code == 422
        assert "'mean-colour' reads images only" in refused.json()["detail"]
