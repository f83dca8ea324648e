"""Downstream tasks: what edits cost in general abilities.

`definition` says what a task is, `records` and `items` turn its source into a fixed list of items,
`answers` holds the metrics of text, `scoring` asks the model, `harness` runs tasks of
lm-evaluation-harness. `mose.report.abilities` compares the edited and the unedited model.
"""
