"""LangChain, LlamaIndex, LiteLLM, tritonclient and openai 2 as they are shipped, in an environment of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import COLOUR, Pictures
from tests.live import Live

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(served: Live, pictures: Pictures) -> dict[str, Any]:
    """What `run_clients.py` printed."""
    if not PYTHON.exists():
        pytest.skip("`make test` installs the other clients into .venv-clients")
    done = subprocess.run(
        [PYTHON, ROOT / "tests" / "compat" / "run_clients.py", served.url, pictures.folder],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    found: dict[str, Any] = json.loads(last.removeprefix("RESULT "))
    return found


def test_openai_2(results: dict[str, Any]) -> None:
    found = results["openai_2"]
    assert found.pop("version").startswith("2.")
    assert found == {"answer": COLOUR, "streamed": COLOUR, "dim": 1472}


def test_langchain(results: dict[str, Any]) -> None:
    found = results["langchain_chat"]
    for call in ("chat", "responses"):
        assert found[call] == found[f"{call}_streamed"] == COLOUR, found
        assert found[f"{call}_usage"] > 0
    assert results["langchain_embeddings"] == {"dims": [1472, 1472]}


def test_llama_index(results: dict[str, Any]) -> None:
    assert results["llama_index"] == {"answer": COLOUR, "streamed": COLOUR, "dim": 1472}


def test_litellm(results: dict[str, Any]) -> None:
    for prefix in ("openai", "hosted_vllm"):
        found = results["litellm_chat"][prefix]
        assert (found["answer"], found["streamed"]) == (COLOUR, COLOUR)
        assert found["usage"] == found["streamed_usage"] > 0
    vectors = results["litellm_embeddings"]
    assert vectors["infinity"] == pytest.approx(vectors["openai"], abs=1e-5)


def test_tritonclient(results: dict[str, Any]) -> None:
    found = results["triton"]
    assert (found["states"], found["absent"]) == ([True, True, True], False)
    assert found["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert found["binary"] == ["cat", "coffee", "cat"]
    assert found["json"] == [["cat", "coffee"], ["coffee", "cat"], ["cat", "coffee"]]
    assert found["shape"] == [3, 1472]
    assert "does not hold the 5 elements that its shape says" in found["wrong_shape"]
