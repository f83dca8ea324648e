"""Write the next segment of a sequence of edits: from one checkpoint to the one after it."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    import pandas as pd

    from mose.editing import chain, checkpoints, sequence
    from mose.evaluation import prompt_scores
    from mose.facts import drawing, requests
    from mose.models import loading
    from mose.storage import files

    lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    run = chain.open_chain(args)
    lm.check_layers(run.variant.edit.layers, "methods.*.layers")
    drawing.check_enough(len(run.requests), args.last, args.requests)
    weights = {layer: lm.weight(layer) for layer in run.variant.edit.layers}
    state = run.fresh_state(weights, lm.fingerprint)
    if args.previous:
        checkpoints.load(args.previous, state, run.identity(lm.fingerprint), run.requests)
        sequence.put_into(lm, state)
    rows: list[dict[str, int | float | str]] = []

    def score(first: int, members: list[requests.EditRequest]) -> None:
        rows.extend(prompt_scores.score_requests(lm, members, range(first, first + len(members))))

    sequence.run(lm, state, run.variant, run.requests, run.templates, args.batch, args.last, score)
    with files.atomic(args.immediate) as temporary:
        pd.DataFrame(rows, columns=list(prompt_scores.COLUMNS)).to_csv(temporary, index=False)
    checkpoints.save(args.out, state, run.identity(lm.fingerprint), run.requests)


if __name__ == "__main__":
    made = programs.parser(__doc__, model=True)
    programs.chain_options(made)
    made.add_argument("--previous", help="checkpoint to go on from; none for the first segment")
    made.add_argument("--last", type=int, required=True, help="edits at the end of the segment")
    made.add_argument("--out", required=True, help="checkpoint to write")
    made.add_argument("--immediate", required=True, help="CSV of scores right after each batch")
    programs.run(program, made, "edit")
