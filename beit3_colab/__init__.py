"""Evaluate BEiT-3 on VQAv2 from a notebook, and look at the answers.

Names are imported from their modules when first used, so that `import beit3_colab` loads neither torch nor
anything else that is slow.
"""
__version__ = "0.1.0"

_HOMES = {
    "evaluate": "evaluation",
    "finetune": "evaluation.finetuning",
    "open_training": "evaluation.finetuning",
    "load_model": "model.vqa",
    "open_run": "look.run",
    "open_results": "look.run",
    "compare": "look.run",
    "runs": "look.runs",
    "score": "scoring.score",
    "soft_score": "scoring.score",
    "check_submission": "scoring.results",
    "convert": "model.checkpoint",
    "UserError": "machine.messages",
}
__all__ = list(_HOMES)

# modules that notebooks import from; the others, which are the insides, are imported as well and not listed
_DOORS = (
    "attention",
    "attention_view",
    "evaluation",
    "huggingface",
    "images",
    "place",
    "plots",
    "requirements",
    "run_beit3_finetuning",
    "scenes",
    "tables",
    "text",
    "timm_models",
)


def _modules():
    from pkgutil import iter_modules
    return {module.name for module in iter_modules(__path__) if not module.name.startswith("_")}


def __getattr__(name):
    from importlib import import_module
    if name in _HOMES: return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    modules = set() if name.startswith("_") else _modules()
    if name in modules: return import_module(f"{__name__}.{name}")
    from difflib import get_close_matches
    near = get_close_matches(name, [*_HOMES, *_DOORS], 1, 0.7)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))


def __dir__(): return [*__all__, *_DOORS, "__version__", "__all__", "__doc__", "__file__", "__name__", "__path__"]
