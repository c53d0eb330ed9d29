"Notebooks import this name; it lives in `beit3_colab.look.tables`."
from beit3_colab.look.tables import * # noqa: F403
