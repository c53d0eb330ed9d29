"Notebooks import these names from here; they live in `beit3_colab.look.plots` and `beit3_colab.scoring.rules`."
from beit3_colab.look.plots import *  # noqa: F403
from beit3_colab.scoring.rules import MARKS, correctness  # noqa: F401
