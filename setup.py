"Everything a build needs is read from settings.ini; only the standard library and setuptools are used."
import re
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read(here/"settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]
python = settings["min_python"]
readme = (here/"README.md").read_text(encoding="utf-8")
raw, blob = (address.format(**settings) for address in (
    "https://raw.githubusercontent.com/{user}/{repo}/{branch}/", "https://github.com/{user}/{repo}/blob/{branch}/"))
# the package index knows no files beside README.md: pictures are shown from the repository, pages are opened there
readme = re.sub(r"\]\((?!https?://|#)([^)]+)\)", lambda m: f"]({raw if m[1].endswith('.png') else blob}{m[1]})", readme)

setup(
    name=settings["lib_name"], version=settings["version"], description=settings["description"],
    long_description=readme, long_description_content_type="text/markdown",
    author=settings["author"], author_email=settings["author_email"], keywords=settings["keywords"],
    url="https://github.com/{user}/{repo}".format(**settings), license="MIT",
    packages=find_packages(include=["beit3_colab", "beit3_colab.*"]), package_data={"beit3_colab": ["sample_model/*"], "beit3_colab.look": ["assets/*"]},
    python_requires=f">={python}", install_requires=settings["requirements"].split(),
    extras_require={"dev": settings["dev_requirements"].split()},
    entry_points={"console_scripts": settings["console_scripts"].split()},
    zip_safe=False,
    classifiers=["Development Status :: 3 - Alpha", "Intended Audience :: Science/Research", "Framework :: Jupyter",
                 "Programming Language :: Python :: 3", "Topic :: Scientific/Engineering :: Artificial Intelligence"],
)
