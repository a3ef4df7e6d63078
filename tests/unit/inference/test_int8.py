"""Which processors cut off products of 8-bit numbers."""

from __future__ import annotations

import platform

import pytest

from app.inference.runtimes.onnx_runtime import cuts_products_off


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags : fma avx2 bmi2", True),
        ("x86_64", "flags : avx2 avx512f avx512bw avx512dq", True),
        ("x86_64", "flags : avx2 avx512f avx512_vnni", False),
        ("x86_64", "flags : avx2 avx_vnni", False),
        ("AMD64", "", True),  # a system that does not tell
        ("aarch64", "Features : asimddp i8mm", False),
    ],
)
def test_x86_without_vnni_does(
    machine: str, flags: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert cuts_products_off([flags] if flags else []) is expected
