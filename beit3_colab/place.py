"Notebooks import these names from here; they live in `beit3_colab.machine`: in `front_end`, `device` and `files`."
from beit3_colab.machine.device import Gpu, list_gpus  # noqa: F401
from beit3_colab.machine.files import drive_mount_point  # noqa: F401
from beit3_colab.machine.front_end import *  # noqa: F403
