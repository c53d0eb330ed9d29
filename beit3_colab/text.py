"Notebooks import this name; it lives in `beit3_colab.model.tokenizer`."
from beit3_colab.model.tokenizer import * # noqa: F403
