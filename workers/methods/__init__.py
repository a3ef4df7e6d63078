"""The code of the training methods: a folder each, called like the method's module in `app.methods`.

`METHOD` of a folder's `method.py` is the class that trains encoders, that of its `vlm.py` the one for vision-language
models, each of the shape of `workers.shared.method.TrainingMethod`. Only what a job asks for is imported, since most
bring torch along.
"""

from __future__ import annotations

from importlib import import_module

from app.jobs.errors import NotTrainableError
from app.jobs.spec import JobSpec
from app.methods import METHODS
from app.methods.params import Params
from app.methods.tasks import BaseKind
from workers.shared.importing import importing
from workers.shared.method import TrainingMethod

MODULES: dict[BaseKind, str] = {"encoder": "method", "vlm": "vlm"}
"""The module of a method's folder that trains such base models."""


def load_method(spec: JobSpec) -> tuple[type[TrainingMethod], Params]:
    """The class that trains what `spec` asks for, and its parameters; raises NotTrainableError where there is none."""
    method = METHODS.get(spec.method or "")
    kind = spec.base_kind
    if method is None or kind is None or kind not in method.learns:
        raise NotTrainableError(f"The method '{spec.method}' does not train a {kind}.")
    with importing():
        module = import_module(f"{__name__}.{spec.method}.{MODULES[kind]}")
    trainer: type[TrainingMethod] = module.METHOD
    return trainer, method.params.model_validate(spec.params)
