"""The one module that is compiled. All else about the package stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("scheduler.planner.kernel", ["scheduler/planner/kernel.pyx"], extra_compile_args=["-O3", "-g0"])
    ]
)
