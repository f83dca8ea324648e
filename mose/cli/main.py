"""The command `mose`. Each command imports what it needs, so that help is shown at once."""

import json
import logging
import sys
import textwrap
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from mose.errors import MoseError
from mose.facts.requests import Repeated

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: mose edit smollm2-135m facts.csv --out edited/",
)
cache_app = typer.Typer(
    help="Converted models, second moments and settings kept in the user's cache (MOSE_CACHE).",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: mose cache list",
)
app.add_typer(cache_app, name="cache")

LINE = 100  # letters of a line of text

Model = Annotated[
    str,
    typer.Argument(
        help="Directory, packaged name (mose models), hub id, file of config/models/, or what "
        "--state stored."
    ),
]
Facts = Annotated[str, typer.Argument(help="File of facts: JSON, JSON lines, CSV, TSV, Parquet.")]
Form = Annotated[str | None, typer.Option(help="Form of the records (docs/data.md).")]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Columns named otherwise than the fields of a fact, such as '{target_new: answer}'."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Dtype = Annotated[str | None, typer.Option(help="Number format; that of the files if omitted.")]
Patch = Annotated[str | None, typer.Option(help="Patch to apply first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Out = Annotated[str | None, typer.Option(help="New folder for a plain Hugging Face directory.")]
PatchOut = Annotated[str | None, typer.Option(help="File for the exact change (.safetensors).")]


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mose {version('mose')}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Edit facts in language models, and take the edits back (docs/library.md)."""


@app.command(epilog="Example: mose edit smollm2-135m facts.csv --out edited/")
def edit(
    model: Model,
    facts: Facts,
    method: Annotated[
        str | None, typer.Option(help="Method (mose methods); mose if none is given.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="Option as KEY=VALUE: lambda=100, batch=1, tokens=..."),
    ] = None,
    form: Form = None,
    columns: Columns = None,
    out: Out = None,
    patch: PatchOut = None,
    state: Annotated[str | None, typer.Option(help="File to continue from later (.h5).")] = None,
    repeated: Annotated[
        Repeated | None,
        typer.Option(help="What becomes of an earlier fact with the same subject and prompt."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Write facts into a model, and write the edited model, a patch, or a state.

    Ctrl-C stops after the last whole batch and writes what is edited.
    """
    from mose.cli import editing

    table = editing.edit(
        model, editing.Records(facts, form, editing.columns_of(columns)), method,
        editing.options_of(option or []), device, dtype,
        editing.Outputs(out, patch, state), repeated,
    )  # fmt: skip
    _show(table, as_json)


@app.command(epilog="Example: mose tune my-model/ --method memit -o edits=20")
def tune(
    model: Model,
    method: Annotated[str, typer.Option(help="Method (mose methods).")] = "mose",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", help="KEY=VALUE: edits=20, scan='{lambda: [10, 100]}', ..."),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Scan settings for a model that has none, on built-in facts, and remember the best."""
    from mose.cli import editing

    _show(editing.tune(model, method, editing.options_of(option or []), device, dtype), as_json)


@app.command(epilog='Example: mose ask smollm2-135m "The capital of France is"')
def ask(
    model: Model,
    prompts: Annotated[list[str], typer.Argument(help="Texts to continue.")],
    tokens: Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)] = 10,
    patch: Patch = None,
    device: Device = "auto",
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Continue prompts greedily."""
    from mose.cli import editing

    answers = editing.ask(model, prompts, tokens, patch, device, dtype)
    if as_json:
        rows = [{"prompt": p, "answer": a} for p, a in zip(prompts, answers, strict=True)]
        _echo_json(rows)
    else:
        for answer in answers:
            typer.echo(answer)


@app.command(epilog="Example: mose evaluate smollm2-135m facts.csv --patch edit.safetensors --json")
def evaluate(
    model: Model,
    facts: Facts,
    patch: Patch = None,
    form: Form = None,
    columns: Columns = None,
    device: Device = "auto",
    dtype: Dtype = None,
    as_json: AsJson = False,
) -> None:
    """Metrics of facts: reliability, generalization, locality and others (docs/methods.md).

    The unedited model, which locality compares with, is the one under the state or patch; without
    either, locality is left out.
    """
    from mose.cli import editing

    records = editing.Records(facts, form, editing.columns_of(columns))
    _show(editing.evaluate(model, records, patch, device, dtype), as_json)


@app.command(epilog="Example: mose export state.h5 --out edited/ --patch edit.safetensors")
def export(
    state: Annotated[str, typer.Argument(help="What mose edit --state or Editor.save stored.")],
    out: Out = None,
    patch: PatchOut = None,
    adapter: Annotated[str | None, typer.Option(help="New folder for an adapter of PEFT.")] = None,
    device: Device = "auto",
) -> None:
    """Write the edited model of a state as a directory, a patch, or an adapter."""
    from mose.cli import editing

    editing.export(state, editing.Outputs(out, patch, adapter=adapter), device)


@app.command(epilog="Example: mose inspect edit.safetensors")
def inspect(
    file: Annotated[
        str, typer.Argument(help="Checkpoint, state, statistics, patch, or exported folder.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a file is, what it was made from, how large it is, and its edits."""
    from mose.cli import inspection

    _show_mapping(inspection.describe(file), as_json)


@app.command(epilog="Example: mose check config/mine.yaml")
def check(
    file: Annotated[str, typer.Argument(help="Experiment, model's file, or file of facts.")],
    form: Form = None,
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """Check a configuration or facts without running anything; exit status 1 for a fault."""
    from mose.cli import editing, inspection

    report, good = inspection.check(editing.Records(file, form, editing.columns_of(columns)))
    _show_mapping(report, as_json)
    if not good:
        raise typer.Exit(1)


@app.command(epilog="Example: mose methods mose memit-memory")
def methods(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAMES", help="Methods; all if omitted.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods: what they do, their source, what they cost, and when to take them.

    What a method needs stands in the model's file for many models (mose models); else give it by
    -o KEY=VALUE, or let mose tune find it.
    """
    from mose.cli import inspection

    rows = inspection.methods(names or ())
    if as_json:
        _echo_json(rows)
    else:
        typer.echo("\n\n".join(map(_paragraph, rows)))


@app.command(epilog="Example: mose models")
def models(as_json: AsJson = False) -> None:
    """List the models whose settings are known."""
    from mose.cli import inspection

    _show_rows(inspection.models(), as_json)


class PassesOn(TyperCommand):
    """A command that passes its arguments on, with the `--` that Click takes away: without it, an
    option of Snakemake that takes many values would take the targets as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        place = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [*args[:place], *args[place : place + 1], *args[place:]])


@app.command(
    cls=PassesOn,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: mose run config/mine.yaml --cores 2 -n",
)
def run(
    context: typer.Context,
    config: Annotated[str, typer.Argument(help="Experiment's configuration.")],
    full: Annotated[bool, typer.Option("--full", help="Print all that Snakemake logs.")] = False,
) -> None:
    """Run the workflow in the working directory; further options are Snakemake's.

    Shows progress, failures and the summary; Snakemake's own log, in .snakemake/log, has the rest.
    Without --cores, all cores are used.
    """
    from mose.cli import workflow

    workflow.run_config(config, context.args, full)


@cache_app.command("list", epilog="Example: mose cache list")
def cache_list(as_json: AsJson = False) -> None:
    """List what the cache holds."""
    from mose.cli import inspection

    _show_rows(inspection.cached(), as_json)


@cache_app.command("clear", epilog="Example: mose cache clear --kind statistics")
def cache_clear(
    kind: Annotated[
        str | None, typer.Option(help="models, statistics or settings; all if omitted.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what the cache holds; it is made again when it is needed."""
    from mose.cli import inspection

    _show_rows(inspection.clear_cache(kind), as_json)


def main() -> None:
    """Run the command; MoseError becomes one line and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mose").setLevel(logging.INFO)
    try:
        app(prog_name="mose")
    except MoseError as error:
        sys.exit(f"error: {error}")


def _show(table: Any, as_json: bool) -> None:
    """A data frame as a table or as JSON records; what is missing is null."""
    _show_rows(table.astype(object).where(table.notna(), None).to_dict("records"), as_json)


def _show_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _echo_json(rows)
        return
    if not rows:
        typer.echo("nothing")
        return
    cells = [[*rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _paragraph(row: dict[str, Any]) -> str:
    """A row as its first value, and a line for each of the others that is not empty."""
    (_, head), *others = row.items()
    width = max(len(name) for name, _ in others)
    lines = [head]
    for name, value in others:
        if value:
            first, rest = f"    {name.ljust(width)}  ", " " * (width + 6)
            lines += textwrap.wrap(
                _cell(value), LINE, initial_indent=first, subsequent_indent=rest,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines)


def _show_mapping(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _echo_json(values)
        return
    width = max(map(len, values))
    for name, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            typer.echo(f"{name}:")
            _show_rows(value, as_json)
        elif isinstance(value, dict) and len(_cell(value)) > LINE:
            for place, (key, one) in enumerate(value.items()):
                typer.echo(f"{('' if place else name).ljust(width)}  {_cell({key: one})}")
        else:
            typer.echo(f"{name.ljust(width)}  {_cell(value)}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_cell(one)}" for name, one in value.items())
    return "" if value is None else " ".join(str(value).split())


def _echo_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
