"""The typed experiment and how files and flags become one."""

from dept_vl.config.parse import (
    PlainParser,
    arguments_for,
    build_parser,
    config_files,
    find_config,
    given_settings,
    load_experiment,
    make_experiment,
    own_settings,
    parse_experiment,
)
from dept_vl.config.schema import (
    AdapterConfig,
    BackboneConfig,
    BadConfig,
    Experiment,
    InsideConfig,
    OptimConfig,
    ProgressiveConfig,
)
from dept_vl.config.task import SamplingConfig, Score, TaskConfig
from dept_vl.config.vision import ProjectionConfig, VisionConfig

__all__ = [
    "AdapterConfig",
    "BackboneConfig",
    "BadConfig",
    "Experiment",
    "InsideConfig",
    "OptimConfig",
    "PlainParser",
    "ProgressiveConfig",
    "ProjectionConfig",
    "SamplingConfig",
    "Score",
    "TaskConfig",
    "VisionConfig",
    "arguments_for",
    "build_parser",
    "config_files",
    "find_config",
    "given_settings",
    "load_experiment",
    "make_experiment",
    "own_settings",
    "parse_experiment",
]
