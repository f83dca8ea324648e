"""Norms, spectrum and orthogonality of the edited matrices at one checkpoint; loads no model."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    import pandas as pd

    from mose.editing import chain
    from mose.evaluation import stability
    from mose.models import loading, sources
    from mose.storage import files

    manifest = files.read_json(args.model)
    loading.check_files(manifest, args.model)
    run = chain.open_chain(args)
    dtype = loading.DTYPES[args.dtype]
    weights = {la: sources.read_weight(manifest, la) for la in run.variant.edit.layers}
    state = run.read_checkpoint(args.checkpoint, weights, manifest["fingerprint"])
    rows = [
        # As the model is measured with them: in its own dtype.
        stability.measure(
            layer, editor.measured.to(dtype), weights[layer].to(dtype), editor.rotation
        )
        for layer, editor in state.editors.items()
    ]
    with files.atomic(args.out) as temporary:
        pd.DataFrame(rows, columns=list(stability.COLUMNS)).to_csv(temporary, index=False)


if __name__ == "__main__":
    made = programs.parser(__doc__)
    made.add_argument("--model", required=True, help="manifest.json of the model")
    made.add_argument("--dtype", default="float32", help="what the model runs in")
    made.add_argument("--threads", type=int, default=1, help="CPU threads of this program")
    programs.chain_options(made)
    made.add_argument("--checkpoint", required=True, help="edits<n>.h5")
    made.add_argument("--out", required=True, help="CSV to write, one row per layer")
    programs.run(program, made, "stability")
