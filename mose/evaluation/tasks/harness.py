"""Tasks of lm-evaluation-harness, run on a loaded, possibly edited model.

Needs the extra `pip install 'mose[harness]'`, which is imported only if a task needs it.
"""

import logging
from collections.abc import Mapping
from numbers import Real
from typing import Any

from mose.errors import ConfigError, ExtraMissing
from mose.evaluation.tasks.items import Prepared
from mose.evaluation.tasks.scoring import Answers, Row
from mose.models.causal_lm import CausalLM

logger = logging.getLogger(__name__)

ALL = -1
"""`item` of a metric that the harness computes for all items together only."""


def evaluate(lm: CausalLM, prepared: Prepared, batch_size: int = 8) -> Answers:
    """Run the task that `prepared` names; one row per item and numeric metric.

    A metric without values per item is one row with the item ALL, and has no interval in the
    tables. Raises ExtraMissing without the extra; ConfigError for an unknown task, a group of
    tasks, and a headline that the task lacks or that is better when lower.
    """
    lm_eval, tasks, huggingface = _load()
    task, where = prepared.task, f"tasks.{prepared.name}"
    name, folder = task.harness["task"], task.harness.get("folder")
    # Indexing the harness's own tasks takes 15 s, so skip it for tasks of a folder.
    manager = tasks.TaskManager(include_path=folder, include_defaults=folder is None)
    if name not in manager.all_tasks:
        known = ", ".join(sorted(manager.all_tasks)[:10]) if folder else "those of lm_eval"
        raise ConfigError(f"{where}.harness.task: no task {name!r}; known are {known}")
    wrapped = huggingface.HFLM(
        pretrained=lm.model, tokenizer=lm.tokenizer, batch_size=batch_size, device=str(lm.device)
    )
    results = lm_eval.simple_evaluate(
        model=wrapped,
        tasks=[name],
        task_manager=manager,
        limit=task.samples,
        bootstrap_iters=0,  # takes minutes for F1; our intervals are of paired differences
        log_samples=True,
        random_seed=task.seed,
        numpy_random_seed=task.seed,
        torch_random_seed=task.seed,
        fewshot_random_seed=task.seed,
    )
    if list(results["results"]) != [name]:
        raise ConfigError(f"{where}.harness.task: {name!r} is a group; name its tasks one by one")
    if not results["higher_is_better"][name].get(task.headline, True):
        raise ConfigError(f"{where}.headline: less {task.headline} is better; choose another")
    samples = results["samples"][name]
    # A task may parse its answers in several ways ("filters"); the first one counts.
    first_filter = samples[0]["filter"]
    rows = sample_rows([sample for sample in samples if sample["filter"] == first_filter])
    per_item = {row["metric"] for row in rows}
    for key, value in results["results"][name].items():
        metric, _, parsed_by = key.partition(",")
        whole = metric not in per_item and not metric.endswith("_stderr")
        if parsed_by == first_filter and whole and isinstance(value, Real):
            rows.append({"item": ALL, "metric": metric, "value": float(value)})
    metrics = {row["metric"] for row in rows}
    if task.headline not in metrics:
        known = ", ".join(sorted(metrics))
        raise ConfigError(f"{where}.headline: {name} has no {task.headline!r}; it has {known}")
    return Answers([{"task": prepared.name, "kind": task.kind, **row} for row in rows], [])


def sample_rows(samples: list[Mapping[str, Any]]) -> list[Row]:
    """Rows of the numeric metrics in lm_eval's records of items."""
    return [
        {"item": int(sample["doc_id"]), "metric": metric, "value": float(sample[metric])}
        for sample in samples
        for metric in sample.get("metrics", [])
        if isinstance(sample.get(metric), Real)
    ]


def _load() -> tuple[Any, Any, Any]:
    try:
        import lm_eval
        from lm_eval import tasks
        from lm_eval.models import huggingface
    except ImportError as error:
        raise ExtraMissing("a task of kind harness", f"lm_eval ({error})", "harness") from None
    return lm_eval, tasks, huggingface
