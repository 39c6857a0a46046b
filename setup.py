"""Builds the C++ extension `erprm._core` (csrc/). Everything else stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup


def pybind11_include() -> str:
    """The folder with pybind11's headers: the package's own, or the copy in every PyTorch (offline machines)."""
    try:
        import pybind11

        return str(pybind11.get_include())
    except ImportError:
        from importlib.util import find_spec

        spec = find_spec("torch")
        if spec is None or spec.origin is None:
            raise SystemExit("building erprm needs pybind11: pip install 'pybind11>=3.0'") from None
        print("erprm: pybind11 is not installed, using the headers that torch ships")
        return str(Path(spec.origin).parent / "include")


setup(
    ext_modules=[
        Extension(
            "erprm._core",
            sources=sorted(str(path) for path in Path("csrc").glob("*.cpp")),
            depends=sorted(str(path) for path in Path("csrc").glob("*.hpp")),
            include_dirs=[pybind11_include()],
            language="c++",
            extra_compile_args=["-std=c++20", "-O3", "-fvisibility=hidden", "-Wall", "-Wextra"],
        )
    ]
)
