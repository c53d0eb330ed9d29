"""Evaluate BEiT-3 on VQAv2 from a notebook, and look at the answers.

Names are imported from their modules when first used, so that `import beit3_colab` loads neither torch nor anything else that is slow.
"""
from pkgutil import iter_modules

__version__ = "0.1.0"

_HOMES = {"evaluate": "evaluation", "load_model": "predict", "open_run": "run_folder", "compare": "comparison", "score": "scoring", "soft_score": "scoring",
          "check_submission": "results_file", "convert": "checkpoints", "UserError": "environment"}
_GIVES = {"evaluate": [("run_folder", "Run"), ("background", "BackgroundRun")], "open_run": [("run_folder", "Run")], "load_model": [("predict", "VQA")], "compare": [("comparison", "Comparison")]}
__all__ = list(_HOMES)


_MODULES = tuple(sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_")))


def __getattr__(name):
    from importlib import import_module
    if name in _HOMES:
        complete, of = import_module(f"{__name__}.docstrings").with_parameters, lambda module, name: getattr(import_module(f"{__name__}.{module}"), name)
        for module, given in _GIVES.get(name, ()): complete(of(module, given))
        return complete(of(_HOMES[name], name))
    if name in _MODULES: return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__(): return sorted({*globals(), *__all__, *_MODULES})
