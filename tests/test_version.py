from importlib.metadata import version

import medseg
from medseg.version import __version__


def test_version_is_that_of_the_package():
    assert __version__ == medseg.__version__ == version("medseg")
