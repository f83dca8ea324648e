"""The figures of an experiment. They need matplotlib, of the extra `workflow`."""

from importlib.util import find_spec

from mose.errors import ExtraMissing

if find_spec("matplotlib") is None:
    raise ExtraMissing("mose.report.figures", "matplotlib", "workflow")
