"""The target `next_tokens`: of every run and checkpoint, and one table of them."""

import pandas as pd
from project import check


def test_the_table_has_every_checkpoint_of_every_run(whole, tmp_path):
    project = whole.copy(tmp_path)
    done = project.run("--", "next_tokens")
    check(done)
    results = project.folder / "results" / "small"
    table = pd.read_csv(results / "next_tokens.csv")
    assert set(zip(table.method, table.edits, table.kind, strict=True)) == {
        (method, edits, kind)
        for method in ("memit", "mose-input")
        for edits in (2, 4)
        for kind in ("locality", "heldout")
    }
    assert (table["kl"] > 0).all()
    near = table[table["kind"] == "locality"]
    assert near["requests"].tolist() == near["edits"].tolist()
    rows = pd.read_csv(results / "tiny" / "capitals" / "memit" / "seed0" / "next_tokens4.csv")
    assert rows.loc[rows["kind"] == "locality", "order"].tolist() == [0, 1, 2, 3]
    assert project.planned("--", "next_tokens") == {}
