"""Fetch and convert a model to local safetensors, and write its manifest."""

import argparse
import json
from pathlib import Path

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.models import sources
    from mose.models.architectures import Architecture
    from mose.storage import files

    out = Path(args.out)
    architecture = (
        None if args.architecture is None else Architecture(**json.loads(args.architecture))
    )
    source = json.loads(args.source)
    local = Path(source.get("local", "")).expanduser()
    # Before it is read: what replaces it meanwhile is then another file. A directory is used in
    # place, and every job compares it with its fingerprint.
    file = {"file": files.identity_of(local)} if local.is_file() else {}
    manifest = sources.obtain(source, out.parent / "weights", architecture)
    files.write_json(out, {**manifest, **file})


if __name__ == "__main__":
    parser = programs.parser(__doc__)
    parser.add_argument("--source", required=True, help="the model file's `source` block, as JSON")
    parser.add_argument("--architecture", help="the model file's `architecture` block, as JSON")
    parser.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    parser.add_argument("--out", required=True, help="manifest.json to write")
    programs.run(program, parser)
