"Notebooks import these names from here; they live in `beit3_colab.look.attention_view`."
from beit3_colab.look.attention_view import *  # noqa: F403
