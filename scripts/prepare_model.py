"""Make a model local as safetensors and describe it: the manifest that all stages start from."""

import argparse
import json
from pathlib import Path

from mose import cli


def program(args: argparse.Namespace) -> None:
    from mose import files, sources

    out = Path(args.out)
    files.write_json(out, sources.obtain(json.loads(args.source), out.parent / "weights"))


if __name__ == "__main__":
    made = cli.parser(__doc__)
    made.add_argument("--source", required=True, help="the model file's `source` block, as JSON")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of this program")
    made.add_argument("--out", required=True, help="manifest.json to write")
    cli.run(program, made)
