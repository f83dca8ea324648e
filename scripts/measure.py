"""Score requests, and the perplexity of held-out text, at a checkpoint or on the unedited model."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    import math

    import pandas as pd

    from mose.editing import chain
    from mose.evaluation import prompt_scores
    from mose.facts import drawing, requests
    from mose.statistics import second_moments
    from mose.storage import files, hdf5

    lm = chain.open_model(args)
    if args.scores:
        asked = requests.read_requests(args.requests)
        drawing.check_enough(len(asked), args.last, args.requests)
        asked = asked[: args.last]
        places = list(range(args.first, args.last))
        if args.earlier is not None:
            places = drawing.sample(asked[: args.recent_from], args.earlier)
            places += range(args.recent_from, args.last)
        generated = frozenset(drawing.sample(asked, args.generate))
        scored = [asked[place] for place in places]
        rows = prompt_scores.score_requests(lm, scored, places, generated, args.generated_tokens)
        written = [i for i in drawing.sample(asked, args.fluency) if i in set(places)]
        of = [asked[place] for place in written]
        rows += prompt_scores.free_texts(lm, of, written, args.fluency_tokens)
        with files.atomic(args.scores) as temporary:
            pd.DataFrame(rows, columns=list(prompt_scores.COLUMNS)).to_csv(temporary, index=False)
    if args.perplexity:
        text = hdf5.read(args.heldout, "windows")
        second_moments.check_model(args.heldout, text, lm.fingerprint)
        tokens, nll = prompt_scores.perplexity(lm, text.arrays["ids"])
        row = {"tokens": tokens, "nll": nll, "perplexity": math.exp(nll) if nll < 700 else math.inf}
        with files.atomic(args.perplexity) as temporary:
            pd.DataFrame([row]).to_csv(temporary, index=False)


if __name__ == "__main__":
    made = programs.parser(__doc__, model=True)
    programs.chain_options(made, required=False)
    made.add_argument("--checkpoint", help="edits<n>.h5; none for the unedited model")
    made.add_argument("--first", type=int, default=0, help="first request to score")
    made.add_argument("--last", type=int, default=0, help="requests up to here")
    made.add_argument("--earlier", type=int, help="of the requests before --recent-from, how many")
    made.add_argument("--recent-from", type=int, default=0, help="from here on all are scored")
    made.add_argument("--generate", type=int, default=0, help="requests to generate for")
    made.add_argument("--generated-tokens", type=int, default=20, help="tokens per generation")
    made.add_argument("--fluency", type=int, default=0, help="requests to write texts for")
    made.add_argument("--fluency-tokens", type=int, default=100, help="tokens per text")
    made.add_argument("--scores", help="CSV to write, one row per prompt")
    made.add_argument("--heldout", help="HDF5 file of token windows")
    made.add_argument("--perplexity", help="CSV to write")
    programs.run(program, made, "measure")
