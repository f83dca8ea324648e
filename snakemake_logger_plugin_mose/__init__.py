"""The short log as a plugin of Snakemake, found by this package's name: `--logger mose`."""

from mose.cli.short_log import LogHandler as LogHandler
