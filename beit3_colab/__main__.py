"`python -m beit3_colab` is the command `beit3-colab`."
import sys

from beit3_colab.commands.cli import main

if __name__ == "__main__": sys.exit(main())
