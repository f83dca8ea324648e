"""Hook of MkDocs: formulas become MathML when the site is built.

They are written in the two forms that GitHub shows as well: $`...`$ in a line, and a block between
```math and ```. Browsers show MathML themselves, without a script or a network.
"""

import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

IN_LINE = r"\$`([^`]+)`\$"
# Before Markdown's own code spans (190), which have the same backticks.
PRIORITY = 195


def _mathml(source: str, display: str) -> str:
    # Browsers know no columnalign.
    return re.sub(
        r'columnalign="(\w+)"', r'style="text-align: \1"', convert(source, display=display)
    )


class _InLine(InlineProcessor):
    def handleMatch(self, m: Any, data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(_mathml(m[1], "inline")), m.start(0), m.end(0)


class _Formulas(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(_InLine(IN_LINE, md), "formula", PRIORITY)


def _block(source: str, *_: Any, **__: Any) -> str:
    """A formatter of pymdownx.superfences. Too wide a formula gets a bar to scroll by."""
    formula = _mathml(source.strip(), "block")
    return f'<div style="overflow: auto hidden">{formula}</div>'


def on_config(config: Any) -> Any:
    config.markdown_extensions.append(_Formulas())
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": _block}]
    return config
