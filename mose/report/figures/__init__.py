"""Figures of an experiment. Needs matplotlib, from the extra `workflow`."""

from importlib.util import find_spec

from mose.errors import ExtraMissing

if find_spec("matplotlib") is None:
    raise ExtraMissing("mose.report.figures", "matplotlib", "workflow")
