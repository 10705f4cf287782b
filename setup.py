"""What pyproject.toml cannot say: configs/ is in the wheel as dept_vl/configs. All else is declared there."""

from setuptools import find_namespace_packages, setup

CONFIGS = ["dept_vl.configs", *(f"dept_vl.configs.{name}" for name in find_namespace_packages("configs"))]

setup(
    packages=[*find_namespace_packages(include=["dept_vl", "dept_vl.*"]), *CONFIGS],
    package_dir={"dept_vl.configs": "configs"},
)
