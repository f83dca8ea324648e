"""Every path of an experiment: patterns with wildcards for rules, full paths for programs.

results/
  models/<model>/                          shared by all experiments
    manifest.json                          description and fingerprint of the model
    weights/                               of a converted model
    corpus/<corpus>/
      heldout.h5  windows<shard>.h5        token windows
      layers<layers>/
        shard<shard>.h5  moments.h5        second moments: of one shard, of all
  <experiment>/
    <table>.csv                            mose/report/catalog.py lists them
    summary.txt  summary.tex  comparison.txt  scan.txt  best_settings.yaml
    figures/<model>/<dataset>/<figure>.{pdf,png}
    report.html                            all of these on one page
    captions/<entry>.rst                   captions, for `snakemake --report`
    so_far/                                tables and figures of an unfinished experiment
    task_items/<task>.json                 a downstream task and its items
    options/<digest>.json                  options of programs that are too long for a command
    <model>/
      templates/seed<seed>.json            context templates
      null_space/<method>.csv
      unedited/
        perplexity.csv  task_scores.csv  answers.jsonl
      <dataset>/
        facts.jsonl  facts_report.json     facts; counts of records read and refused
        layer_scores.csv
        target_norms/<method>.{csv,json}   lengths of value targets; the anchor of anchored targets
        seed<seed>/
          requests.jsonl
          requests_report.json             counts of facts and prompts left out
          targets/<targets>/targets<n>.h5  targets of the unedited model, of one segment
          enough_requests<n>.txt           written if there are at least n requests
        unedited/seed<seed>/
          scores<n>.csv                    of the requests of the segment that ends at n
        <method>/seed<seed>/
          edits<n>.h5                      the checkpoint after n edits
          immediate<n>.csv                 scores of each batch right after its edit
          scores<n>.csv  perplexity<n>.csv  stability<n>.csv
          task_scores<n>.csv  answers<n>.jsonl
          next_tokens<n>.csv               next-token distributions beside the unedited model's
          exported<n>/                     the edited model as a directory of transformers
  logs/<stage>/<job>.log                   a job's messages
  benchmarks/<stage>/<job>.tsv             a job's seconds and memory
"""

from collections.abc import Iterator
from typing import Any

RESULTS = "results"
LOGS = "results/logs"
BENCHMARKS = "results/benchmarks"

_MODEL = "results/models/{model}"
_CORPUS = _MODEL + "/corpus/{corpus}"
_MOMENTS = _CORPUS + "/layers{layers}"
_EXPERIMENT = "results/{experiment}"
_OF_MODEL = _EXPERIMENT + "/{model}"
_OF_DATASET = _OF_MODEL + "/{dataset}"
_OF_SEED = _OF_DATASET + "/seed{seed}"
_RUN = _OF_DATASET + "/{method}/seed{seed}"

# By rule: name of its jobs' files under logs/ and benchmarks/, without suffix.
JOBS = {
    "model": "model/{model}",
    "corpus": "corpus/{model}.{corpus}.{part}",
    "second_moments": "moments/{model}.{corpus}.{layers}.{shard}",
    "add_second_moments": "moments/{model}.{corpus}.{layers}",
    "null_space": "null_space/{experiment}.{model}.{method}",
    "facts": "facts/{experiment}.{model}.{dataset}",
    "requests": "requests/{experiment}.{model}.{dataset}.{seed}",
    "enough_requests": "requests/{experiment}.{model}.{dataset}.{seed}.enough{n}",
    "templates": "templates/{experiment}.{model}.{seed}",
    "targets": "targets/{experiment}.{model}.{dataset}.{targets}.{seed}.{n}",
    "edit": "edit/{experiment}.{model}.{dataset}.{method}.{seed}.{n}",
    "stability": "stability/{experiment}.{model}.{dataset}.{method}.{seed}.{n}",
    "measure": "measure/{experiment}.{model}.{dataset}.{method}.{seed}.{n}",
    "measure_unedited": "measure/{experiment}.{model}.{dataset}.unedited.{seed}.{n}",
    "perplexity_unedited": "measure/{experiment}.{model}.unedited",
    "task_items": "tasks/{experiment}.{task}",
    "tasks": "tasks/{experiment}.{model}.{dataset}.{method}.{seed}.{n}",
    "exported": "exported/{experiment}.{model}.{dataset}.{method}.{seed}.{n}",
    "next_tokens_of": "next_tokens/{experiment}.{model}.{dataset}.{method}.{seed}.{n}",
    "next_tokens": "next_tokens/{experiment}",
    "tasks_unedited": "tasks/{experiment}.{model}.unedited",
    "tables": "tables/{experiment}",
    "task_tables": "tables/{experiment}.tasks",
    "captions": "tables/{experiment}.captions",
    "report_page": "tables/{experiment}.page",
    "figures": "figures/{experiment}",
    "task_figures": "figures/{experiment}.tasks",
    "so_far": "so_far/{experiment}",
    "choose_settings": "scan/{experiment}",
    "target_norms_of": "target_norms/{experiment}.{model}.{dataset}.{method}",
    "layer_scores": "layers/{experiment}.{model}.{dataset}",
    "layer_figure": "layers/{experiment}.{model}.{dataset}.figure",
}


class _Path:
    """A path of `Paths`: of the class its pattern, of an object what is known of it."""

    def __init__(self, name: str, pattern: str) -> None:
        self.name, self.pattern = name, pattern

    def __get__(self, paths: "Paths | None", owner: type) -> str:
        return self.pattern if paths is None else paths.filled(self.name, self.pattern)


def _filled_when_asked(paths: type["Paths"]) -> type["Paths"]:
    """Each pattern of the class as a `_Path`.

    A plan of 10,000 jobs makes 50,000 objects, and asks each for one or two of its 40 paths.
    """
    for name, pattern in list(vars(paths).items()):
        if isinstance(pattern, str) and not name.startswith("_"):
            setattr(paths, name, _Path(name, pattern))
    return paths


@_filled_when_asked
class Paths:
    """The paths of an experiment, relative to its working directory.

    Each attribute is a pattern with wildcards in braces, as in Snakemake; known wildcards are
    filled in. `Paths().manifest` is "results/models/{model}/manifest.json",
    `Paths(model="gpt2").manifest` is "results/models/gpt2/manifest.json".
    """

    manifest = _MODEL + "/manifest.json"

    corpus_part = _CORPUS + "/{part}.h5"
    heldout = _CORPUS + "/heldout.h5"
    windows = _CORPUS + "/windows{shard}.h5"
    moments_shard = _MOMENTS + "/shard{shard}.h5"
    moments = _MOMENTS + "/moments.h5"
    null_space = _OF_MODEL + "/null_space/{method}.csv"
    target_norms = _OF_DATASET + "/target_norms/{method}.csv"
    anchor = _OF_DATASET + "/target_norms/{method}.json"

    facts = _OF_DATASET + "/facts.jsonl"
    facts_report = _OF_DATASET + "/facts_report.json"
    requests = _OF_SEED + "/requests.jsonl"
    requests_report = _OF_SEED + "/requests_report.json"
    targets = _OF_SEED + "/targets/{targets}/targets{n}.h5"
    enough_requests = _OF_SEED + "/enough_requests{n}.txt"
    templates = _OF_MODEL + "/templates/seed{seed}.json"
    layer_scores = _OF_DATASET + "/layer_scores.csv"
    task_items = _EXPERIMENT + "/task_items/{task}.json"
    options = _EXPERIMENT + "/options/{digest}.json"

    checkpoint = _RUN + "/edits{n}.h5"
    immediate = _RUN + "/immediate{n}.csv"
    stability = _RUN + "/stability{n}.csv"
    scores = _RUN + "/scores{n}.csv"
    perplexity = _RUN + "/perplexity{n}.csv"
    task_scores = _RUN + "/task_scores{n}.csv"
    answers = _RUN + "/answers{n}.jsonl"
    next_tokens = _RUN + "/next_tokens{n}.csv"
    exported = _RUN + "/exported{n}"

    unedited_scores = _OF_DATASET + "/unedited/seed{seed}/scores{n}.csv"
    unedited_perplexity = _OF_MODEL + "/unedited/perplexity.csv"
    unedited_task_scores = _OF_MODEL + "/unedited/task_scores.csv"
    unedited_answers = _OF_MODEL + "/unedited/answers.jsonl"

    folder = _EXPERIMENT
    table = _EXPERIMENT + "/{table}.csv"
    summary_text = _EXPERIMENT + "/summary.txt"
    summary_latex = _EXPERIMENT + "/summary.tex"
    report_page = _EXPERIMENT + "/report.html"
    comparison_text = _EXPERIMENT + "/comparison.txt"
    scan_text = _EXPERIMENT + "/scan.txt"
    best_settings = _EXPERIMENT + "/best_settings.yaml"
    figure = _EXPERIMENT + "/figures/{model}/{dataset}/{figure}.{kind}"
    figure_stem = _EXPERIMENT + "/figures/{model}/{dataset}/{figure}"
    portability_figures = _EXPERIMENT + "/figures/{model}/{dataset}/portability"
    times_figure = _EXPERIMENT + "/figures/times"  # .pdf, .png, .csv
    caption = _EXPERIMENT + "/captions/{entry}.rst"

    # Attributes whose files an unfinished experiment has in so_far/.
    _SO_FAR = ("folder", "table", "summary_text", "summary_latex", "figure", "figure_stem",
               "portability_figures")  # fmt: skip

    def __init__(self, *, unfinished: bool = False, **known: Any) -> None:
        """unfinished: tables and figures are in so_far/. known: values of wildcards."""
        self._unfinished = unfinished
        self._known = known

    def filled(self, name: str, pattern: str) -> str:
        """The path of this name with the known wildcards filled in."""
        if self._unfinished and name in self._SO_FAR:
            pattern = pattern.replace(_EXPERIMENT, _EXPERIMENT + "/so_far")
        return fill(pattern, **self._known)

    def at(self, **known: Any) -> "Paths":
        """The same paths with more wildcards filled in."""
        return Paths(unfinished=self._unfinished, **{**self._known, **known})

    def so_far(self) -> "Paths":
        """The same paths, with tables and figures in so_far/."""
        return Paths(unfinished=True, **self._known)

    def log(self, rule: str) -> str:
        """Log file of a rule's jobs."""
        return fill(f"{LOGS}/{JOBS[rule]}.log", **self._known)

    def benchmark(self, rule: str) -> str:
        """Benchmark file of a rule's jobs."""
        return fill(f"{BENCHMARKS}/{JOBS[rule]}.tsv", **self._known)


def patterns() -> Iterator[tuple[str, str]]:
    """Name and pattern of every path of `Paths`."""
    for name, path in vars(Paths).items():
        if isinstance(path, _Path):
            yield name, path.pattern


class _Wildcards(dict[str, Any]):
    """Values by name; a name without a value becomes itself in braces."""

    def __missing__(self, name: str) -> str:
        return "{" + name + "}"


def fill(pattern: str, **known: Any) -> str:
    """`pattern` with the known wildcards filled in; the others stay."""
    return pattern.format_map(_Wildcards(known))


def spans(numbers: list[int]) -> str:
    """Ascending numbers as part of a file name: "4-8", "4_6-8"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return "_".join(f"{first}" if first == last else f"{first}-{last}" for first, last in parts)


def numbers_of(text: str) -> list[int]:
    """The numbers of `spans`. Raises ValueError for another text."""
    numbers: list[int] = []
    for part in text.split("_"):
        first, _, last = part.partition("-")
        numbers.extend(range(int(first), int(last or first) + 1))
    return numbers
