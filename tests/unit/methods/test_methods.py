"""The training methods: each is one module of parameters and one folder of code, and neither knows the others."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pkgutil import iter_modules

import grimp
import pytest
from pydantic import ValidationError

import workers.methods
from app.errors import InvalidInputError
from app.jobs.errors import NotTrainableError
from app.jobs.spec import JobSpec
from app.methods import METHODS, check_params, methods_for
from app.strategies.definition import Strategy
from scripts import methods_docs
from workers.methods import MODULES, load_method

SHARED = "common"
STEPS = ("validate", "prepare", "fit", "evaluate", "save")
NAMES = tuple(METHODS)


def folders() -> set[str]:
    return {module.name for module in iter_modules(workers.methods.__path__) if module.ispkg} - {SHARED}


def spec(method: str, kind: str, **params: object) -> JobSpec:
    return JobSpec.model_validate({"kind": "train", "method": method, "base_kind": kind, "params": params})


def test_each_method_has_parameters_and_code() -> None:
    assert set(METHODS) == folders()


@pytest.mark.parametrize("name", NAMES)
def test_a_method_has_code_for_the_bases_that_it_trains_and_for_no_others(name: str) -> None:
    kinds = {kind for kind, module in MODULES.items() if find_spec(f"workers.methods.{name}.{module}")}
    assert kinds == set(METHODS[name].learns)
    for kind in kinds:
        trainer, params = load_method(spec(name, kind))
        assert all(callable(getattr(trainer, step)) for step in STEPS)
        assert type(params) is METHODS[name].params
    for kind in {"encoder", "vlm"} - kinds:
        with pytest.raises(NotTrainableError, match=f"'{name}' does not train a {kind}"):
            load_method(spec(name, kind))


def test_no_method_imports_another() -> None:
    graph = grimp.build_graph("workers", cache_dir=None)
    for name in folders():
        for other in folders() - {name}:
            chain = graph.find_shortest_chain(
                f"workers.methods.{name}", f"workers.methods.{other}", as_packages=True
            )
            assert chain is None, chain


def test_the_parameters_load_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, app.methods\n"
        "print(*app.methods.METHODS)\n"
        "print(*{'torch', 'transformers', 'peft', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == [" ".join(NAMES), ""]


def test_a_job_and_a_strategy_name_only_methods_that_exist() -> None:
    with pytest.raises(ValidationError, match="'finetune'"):
        spec("boosting", "encoder")
    assert Strategy.model_json_schema()["properties"]["method"]["anyOf"][0]["enum"] == list(NAMES)


def test_a_wrong_parameter_is_named_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInputError, match=r"params\.stepz.* There are .*margin"):
        check_params("siamese", {"stepz": 3})
    with pytest.raises(InvalidInputError, match=r"params\.batch_size"):
        check_params("finetune", {"batch_size": 0})
    assert check_params("finetune", {"batch_size": "auto"})["batch_size"] == "auto"


def test_vision_language_models_are_trained_by_two() -> None:
    assert methods_for("vlm") == ["lora", "finetune"]


def test_the_docs_say_what_the_code_says() -> None:
    text = methods_docs.OVERVIEW.read_text()
    assert methods_docs.overview(text) == text, "run `make docs`"
    page = methods_docs.page()
    assert methods_docs.PAGE.read_text() == page, "run `make docs`"
    for name, method in METHODS.items():
        assert f"| `{name}` |" in text
        for parameter in method.params.model_fields:
            assert f"| `{parameter}` |" in page
