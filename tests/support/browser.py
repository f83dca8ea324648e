"""A real browser without a window or a network, to try pages in."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
# Before everything else on the page, to hear of every error.
LISTEN = """<script>
const heard = [];
addEventListener("error", e => heard.push(e.message || "not loaded: " + e.target.outerHTML), true);
addEventListener("unhandledrejection", e => heard.push(String(e.reason)));
addEventListener("securitypolicyviolation", e => heard.push("refused: " + e.blockedURI));
for (const name of ["error", "warn"]) console[name] = (...said) => heard.push(said.join(" "));
</script>"""
TELL = """<script>
addEventListener("load", async () => {{
  const found = await (async () => {{ {script} }})();
  const told = document.createElement("output");
  told.id = "told";
  told.textContent = JSON.stringify({{ found, heard }});
  document.body.append(told);
}});
</script>"""


def find():
    """The browser's program; without one the test is skipped, or fails where CI is set."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        message = f"no browser; install one of {', '.join(NAMES)}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def visit(page: str, script: str, folder: Path):
    """Open a page, and run the body of a function, which may wait, on it when it has loaded.

    Returns what the function returned, and the errors that the browser reported.
    """
    program = find()
    head, mark, rest = page.partition("<head>")
    body, end, tail = rest.rpartition("</body>")
    assert mark
    assert end
    file = folder / "visited.html"
    file.write_text("".join([head, mark, LISTEN, body, TELL.format(script=script), end, tail]))
    shown = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
         "--virtual-time-budget=20000", "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    told = re.search(r'<output id="told">(.*?)</output>', shown.stdout, re.DOTALL)
    assert told, f"the script on the page did not end: {shown.stdout[-2000:]}"
    answer = json.loads(unescape(told[1]))
    return answer["found"], answer["heard"]
