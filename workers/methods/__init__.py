"""The training methods, one file each, all of one shape (`workers.shared.method.TrainingMethod`).

Knows which class carries out which method on which kind of base; imports a method only when a job asks for it,
since most bring torch along.
"""

from __future__ import annotations

from importlib import import_module

from app.jobs.errors import NotTrainableError
from app.jobs.spec import JobSpec
from workers.shared.method import TrainingMethod

_CLASSES = {
    ("head", "encoder"): "workers.methods.head.method:HeadMethod",
    ("lora", "encoder"): "workers.methods.lora.method:EncoderLora",
    ("lora", "vlm"): "workers.methods.lora.vlm:VlmLora",
    ("prototypical", "encoder"): "workers.methods.prototypical.method:Prototypical",
    ("maml", "encoder"): "workers.methods.maml.method:Maml",
    ("siamese", "encoder"): "workers.methods.siamese.method:Siamese",
    ("finetune", "encoder"): "workers.methods.finetune.method:FinetuneEncoder",
    ("finetune", "vlm"): "workers.methods.finetune.vlm:FinetuneVlm",
}


def method_class(spec: JobSpec) -> type[TrainingMethod]:
    """The class that trains what `spec` asks for; raises NotTrainableError where no method does."""
    found = _CLASSES.get((spec.method or "", spec.base_kind or ""))
    if found is None:
        raise NotTrainableError(f"The method '{spec.method}' does not train a {spec.base_kind}.")
    module, _, name = found.partition(":")
    loaded: type[TrainingMethod] = getattr(import_module(module), name)
    return loaded
