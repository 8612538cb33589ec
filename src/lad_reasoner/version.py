"""The version, in one place: packaging and run records read it here; and the versions of other packages."""

from collections.abc import Iterable

__version__ = "0.2.0"


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Python's, this package's, and those of `packages` that are installed: what a run was made with."""
    import importlib.metadata
    import sys

    versions = {"python": sys.version.split()[0], "lad-reasoner": __version__}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
