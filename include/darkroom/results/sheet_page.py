"""The HTML of a contact sheet: as a file that stands alone, and as a page of the plant."""

import base64
import hashlib
from string import Template

STYLE = """
:root { color-scheme: light dark; --back: #f4f4f2; --card: #fff; --text: #1c1d1f; --soft: #666a70;
  --line: #dcdcd8; --completed: #1f8a4c; --rejected: #b26a00; --failed: #c62f2f; --timed_out: #7b4bc4; }
@media (prefers-color-scheme: dark) { :root { --back: #131416; --card: #1d1f22; --text: #ececea;
  --soft: #9da2a9; --line: #33363b; --completed: #4cc27f; --rejected: #f0a63a; --failed: #f07070;
  --timed_out: #b491f0; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem clamp(1rem, 4vw, 3rem); background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, sans-serif; }
header { margin-bottom: 1.5rem; }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; letter-spacing: -.01em; overflow-wrap: anywhere; }
header p { margin: 0 0 1rem; color: var(--soft); max-width: 70ch; }
header a { color: inherit; margin-right: .8rem; }
button { --colour: var(--text); font: inherit; padding: .3rem .8rem; margin: 0 .4rem .4rem 0;
  border: 1px solid var(--line); border-radius: 99px; background: var(--card); color: var(--colour);
  cursor: pointer; }
button[aria-pressed=true] { background: var(--colour); border-color: var(--colour); color: var(--back); }
button:focus-visible { outline: 2px solid var(--colour); outline-offset: 2px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 1rem; }
figure { --colour: var(--soft); margin: 0; background: var(--card); border: 1px solid var(--line);
  border-top: 4px solid var(--colour); border-radius: 8px; overflow: hidden; }
figure[hidden] { display: none; }
.completed { --colour: var(--completed) !important; } .rejected { --colour: var(--rejected) !important; }
.failed { --colour: var(--failed) !important; } .timed_out { --colour: var(--timed_out) !important; }
img, .none { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--back); }
.none { display: grid; place-items: center; padding: 1rem; text-align: center; color: var(--colour);
  font: 600 .9rem/1.3 ui-monospace, monospace; overflow-wrap: anywhere; }
figcaption { padding: .6rem .75rem .75rem; font-size: .82rem; }
figcaption strong { display: block; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.badge { color: var(--colour); font-weight: 600; }
figcaption em { font-style: normal; color: var(--colour); overflow-wrap: anywhere; }
figcaption em:not(:empty)::before { content: " · "; }
figcaption p { margin: .3rem 0 0; color: var(--soft); overflow-wrap: anywhere; display: -webkit-box;
  -webkit-box-orient: vertical; -webkit-line-clamp: 4; overflow: hidden; }
"""

SCRIPT = """
const buttons = document.querySelectorAll("button");
for (const button of buttons) button.addEventListener("click", () => {
  for (const other of buttons) other.setAttribute("aria-pressed", other === button);
  for (const figure of document.querySelectorAll("figure"))
    figure.hidden = button.dataset.show !== "" && figure.dataset.status !== button.dataset.show;
});
"""


def policy(pictures: str) -> str:
    """A Content-Security-Policy: pictures from there, this style and this script, and nothing else.

    Args:
        pictures: `data:` on a page that stands alone, `'self'` on one of the plant.
    """
    return (
        f"default-src 'none'; img-src {pictures}; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_HEAD = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="$policy">
<title>$title</title>
<style>{STYLE}</style>
"""

PAGE = Template(f"""{_HEAD}</head>
<body>
<header>
<h1>$batch_id</h1>
<p>$about</p>
$links<nav aria-label="Filter by status">
<button data-show="" aria-pressed="true">all <b>$items</b></button>$buttons
</nav>
</header>
<main>
$tiles
</main>
<script>{SCRIPT}</script>
</body>
</html>
""")

NOTE = Template(f"""{_HEAD}$refresh</head>
<body>
<header>
<h1>$title</h1>
<p>$about</p>
$links</header>
</body>
</html>
""")
"""A page that only says something."""
