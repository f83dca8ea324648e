"""Downstream tasks: the effect of edits on general abilities.

`definition` holds the keys of a task, `records` and `items` turn its source into a fixed list of
items, `scoring` runs the model on them, `answers` has the metrics of text, `harness` runs tasks of
lm-evaluation-harness. `mose.report.abilities` compares the edited and the unedited model.
"""
