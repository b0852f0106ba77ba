"""Build the compiled search with the package, where there is a C++ compiler; everything else is in pyproject.toml.

It is a plain library, which knows nothing of Python: one wheel for all versions of Python on a system.
"""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SOURCE = Path("mtmoe/inference/compiled/source")


class BuildLibrary(build_ext):
    """Builds it under a name without a version of Python."""

    def get_ext_filename(self, fullname: str) -> str:
        """Return where it goes: what `mtmoe.inference.compiled.library` looks for."""
        return str(Path(*fullname.split("."))) + ".library"


class PlatformWheel(bdist_wheel):
    """A wheel for a system, whatever its version of Python."""

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tags of Python, of its binary interface, and of the system."""
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[
        Extension(
            "mtmoe.inference.compiled._inference",
            sources=sorted(str(path) for path in SOURCE.glob("*.cpp")),
            depends=sorted(str(path) for path in SOURCE.glob("*.h")),
            extra_compile_args=["-O3", "-std=c++17", "-fvisibility=hidden", "-Wno-psabi", "-g0"],
            language="c++",
            optional=True,  # without it torch computes everything
        )
    ],
    cmdclass={"build_ext": BuildLibrary, "bdist_wheel": PlatformWheel},
)
