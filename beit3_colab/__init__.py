"""Evaluate BEiT-3 on VQAv2 from a notebook, and look at the answers.

Names are imported from their modules when first used, so that `import beit3_colab` loads neither torch nor anything else that is slow.
"""
__version__ = "0.1.0"

_HOMES = {"evaluate": "evaluation", "load_model": "predict", "open_run": "run_folder", "score": "scoring", "soft_score": "scoring",
          "check_submission": "scoring", "convert": "checkpoints", "UserError": "environment"}
__all__ = list(_HOMES)


_MODULES = ("answers", "attention", "batches", "checkpoints", "cli", "distributed", "downloads", "environment", "evaluation", "images", "model", "plots", "predict",
            "progress", "run_folder", "sample", "scenes", "scoring", "text", "timm_models", "vqav2")


def __getattr__(name):
    from importlib import import_module
    if name in _HOMES: return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _MODULES: return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__(): return sorted({*globals(), *__all__, *_MODULES})
