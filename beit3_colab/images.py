"Notebooks import these names from here; they live in `beit3_colab.pictures.reading`."
from beit3_colab.pictures.reading import *  # noqa: F403
