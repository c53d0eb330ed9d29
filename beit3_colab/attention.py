"Notebooks import these names from here; they live in `beit3_colab.model.attention` and `beit3_colab.look.figures`."
from beit3_colab.look.figures import *  # noqa: F403
from beit3_colab.model.attention import *  # noqa: F403
