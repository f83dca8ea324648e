"""Score requests and measure perplexity, at a checkpoint or on the unedited model."""

import argparse

from mose.cli import programs


def program(args: argparse.Namespace) -> None:
    from mose.evaluation import measurement

    if args.checkpoint:
        from mose.editing import chain

        lm = chain.open_model(args)
    else:
        from mose.models import loading

        lm = loading.load(args.model, args.device, args.dtype, args.gpus)
    if args.scores:
        from mose.facts.requests import read_requests

        selection = measurement.Selection(
            first=args.first,
            last=args.last,
            earlier=args.earlier,
            recent_from=args.recent_from,
            generate=args.generate,
            generated_tokens=args.generated_tokens,
            fluency=args.fluency,
            fluency_tokens=args.fluency_tokens,
            prefixed=args.prefixed,
            prefix_tokens=args.prefix_tokens,
        )
        requests = chain.open_chain(args).asked if args.checkpoint else read_requests(args.requests)
        rows = measurement.score_selection(lm, requests, selection, args.requests, args.heldout)
        programs.write_table(args.scores, rows, measurement.COLUMNS)
    if args.perplexity:
        programs.write_table(args.perplexity, [measurement.perplexity_row(lm, args.heldout)])


if __name__ == "__main__":
    parser = programs.parser(__doc__, model=True)
    programs.chain_options(parser, required=False)
    parser.add_argument("--checkpoint", help="edits<n>.h5; omit for the unedited model")
    parser.add_argument("--first", type=int, default=0, help="first request to score")
    parser.add_argument(
        "--last", type=int, default=0, help="end of the requests to score, exclusive"
    )
    parser.add_argument(
        "--earlier",
        type=int,
        help="number of requests before --recent-from to score; all if omitted",
    )
    parser.add_argument(
        "--recent-from", type=int, default=0, help="first request from which all are scored"
    )
    parser.add_argument(
        "--generate", type=int, default=0, help="number of requests to generate answers for"
    )
    parser.add_argument(
        "--generated-tokens", type=int, default=20, help="tokens per generated answer"
    )
    parser.add_argument(
        "--fluency", type=int, default=0, help="number of requests to sample texts for"
    )
    parser.add_argument("--fluency-tokens", type=int, default=100, help="tokens per text")
    parser.add_argument(
        "--prefixed", type=int, default=0, help="number of requests to ask behind unrelated text"
    )
    parser.add_argument("--prefix-tokens", type=int, default=100, help="tokens of that text")
    parser.add_argument("--scores", help="CSV to write, one row per prompt")
    parser.add_argument("--heldout", help="HDF5 file of token windows")
    parser.add_argument("--perplexity", help="CSV to write")
    programs.run(program, parser, "measure")
