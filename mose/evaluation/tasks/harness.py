"""Tasks of lm-evaluation-harness, run on a model that is loaded and edited already.

An optional extra of the package (`pip install 'mose[harness]'`); imported when a task asks for it.
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
"""The item of a metric that the harness gives for all items together only."""


def evaluate(lm: CausalLM, prepared: Prepared, batch_size: int = 8) -> Answers:
    """Run the task that `prepared` names; one row per item and metric that is a number.

    A metric that the harness does not give per item is one row with the item ALL: it is in the
    tables without an interval. Raises ConfigError without the extra, for unknown tasks, and for a
    headline that the task does not have or of which less is better.
    """
    lm_eval, tasks, huggingface = _load()
    task, where = prepared.task, f"tasks.{prepared.name}"
    name, folder = task.harness["task"], task.harness.get("folder")
    # Indexing the harness's own tasks takes 15 s: only those who name one of them wait.
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
        bootstrap_iters=0,  # for F1 alone it takes minutes; intervals are made here, in pairs
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
    # A task may read its answers in several ways, "filters"; the first one counts.
    wanted = samples[0]["filter"]
    rows = sample_rows([sample for sample in samples if sample["filter"] == wanted])
    per_item = {row["metric"] for row in rows}
    for key, value in results["results"][name].items():
        metric, _, read_by = key.partition(",")
        whole = metric not in per_item and not metric.endswith("_stderr")
        if read_by == wanted and whole and isinstance(value, Real):
            rows.append({"item": ALL, "metric": metric, "value": float(value)})
    metrics = {row["metric"] for row in rows}
    if task.headline not in metrics:
        known = ", ".join(sorted(metrics))
        raise ConfigError(f"{where}.headline: {name} has no {task.headline!r}; it has {known}")
    return Answers([{"task": prepared.name, "kind": task.kind, **row} for row in rows], [])


def sample_rows(samples: list[Mapping[str, Any]]) -> list[Row]:
    """Rows of the metrics that lm_eval's record of each item holds as a number."""
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
