"""The matchers of a product that several tests ask; Hypothesis without clocks; judges that stations may name."""

import gc
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers have all cores already: more threads in each of them, and in what it starts, only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy and PyTorch are imported

import pytest
from hypothesis import HealthCheck, settings

from helpers.shots import shot
from lad_reasoner.judges.evidence.backbone import Backbone, load_backbone
from lad_reasoner.judges.evidence.matching import Matcher

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
gc.disable()  # until the tests are imported: little of that is garbage
_JUDGES = ("Grey", "SlowGrey", "NearestGrey", "HeldGrey")
os.environ["LAD_TRUSTED"] = " ".join(f"helpers.stations:{name}" for name in _JUDGES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Windows has no signals that a process can catch, pipes with names, shells, and modes of files.

    The longest test comes first, so that it does not keep one worker busy when the others have nothing left to do;
    with it the tests of its file, which share a fixture.
    """
    items.sort(key=lambda item: item.path.name != "test_readme.py")
    if os.name == "posix":
        return
    for item in items:
        if item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs what Windows lacks"))


def pytest_collection_finish() -> None:
    """What was imported stays to the end: the garbage collector, at work from here on, need not look through it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone()


@pytest.fixture(scope="session")
def matcher(backbone: Backbone) -> Matcher:
    return Matcher([shot("good", i, split="train") for i in range(4)], backbone)


@pytest.fixture(scope="session")
def one_shot(backbone: Backbone) -> Matcher:
    return Matcher([shot("good", 0, split="train")], backbone)
