"""Evaluate BEiT-3 on VQAv2 from a notebook, and look at the answers.

Names are imported from their modules when first used, so that `import beit3_colab` loads neither torch nor
anything else that is slow.
"""
from pkgutil import iter_modules

__version__ = "0.1.0"

_HOMES = {
    "evaluate": "evaluation",
    "finetune": "evaluation.finetuning",
    "open_training": "evaluation.finetuning",
    "load_model": "model.vqa",
    "open_run": "look.run",
    "open_results": "look.run",
    "compare": "look.run",
    "score": "scoring.score",
    "soft_score": "scoring.score",
    "check_submission": "scoring.results",
    "convert": "model.checkpoint",
    "UserError": "machine.messages",
}
__all__ = list(_HOMES)

_MODULES = tuple(sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")))


def __getattr__(name):
    from importlib import import_module
    if name in _HOMES: return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES: return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__(): return sorted({*globals(), *__all__, *_MODULES})
