"""Write the pages of the site that follow from the code: settings, verbs, published reports.

conf.py calls `write_all` at each build. What it writes is ignored by git.
"""

import html
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from alexlab.__main__ import VERBS
from alexlab.reporting.html import html_page
from alexlab.reporting.markdown import markdown
from alexlab.runs.config import CONF
from alexlab.runs.settings import SETTINGS
from alexlab.studies import publish

GROUPS = {
    "model": "The network.",
    "data": "The images, how they are split and how they reach the network.",
    "task": "Classification or regression, with the loss.",
    "optim": "The optimiser. Further keyword arguments of torch's class can be added with `+`.",
    "sched": "The schedule of the learning rate. `constant` has no settings.",
    "augment": "Random changes of the train images. Each option sets some of the settings below.",
    "logger": "Where metrics are written besides history.csv; several as in `logger=[csv,mlflow]`.",
    "callbacks": "Callbacks of Lightning that a run has besides its own.",
    "scale": "At which setting a study runs.",
}
LINE = re.compile(r"^( *)([\w/]+):(?: +(\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}|[^#]*?))?(?: +# *(.*))?$")
SUBCOMMANDS = {"data": ("fetch", "check", "preview")}


class Setting(NamedTuple):
    """One line of a config file."""

    key: str
    default: str
    comment: str


def settings_of(path: Path) -> list[Setting]:
    """Read keys, defaults and comments of a config file, in its order.

    Raises:
        ValueError: A line is neither a setting nor a comment.
    """
    found: list[Setting] = []
    parents: list[tuple[int, str]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("#", "- ")) or line.strip() == "{}":
            continue
        match = LINE.match(line)
        if match is None:
            raise ValueError(f"{path}:{number}: cannot be read as a setting: {line}")
        indent, key, value, comment = match.groups()
        parents = [one for one in parents if one[0] < len(indent)]
        full = ".".join([*(name for _, name in parents), key])
        parents.append((len(indent), key))
        if value and value.strip() != "{}":
            found.append(Setting(full, value.strip(), comment or ""))
    hidden = ("_target_", "_partial_", "defaults", "hydra.")
    return [
        one
        for one in found
        if not one.key.split(".", 1)[-1].startswith(hidden) and not one.key.startswith(hidden)
    ]


def _allowed(key: str) -> str:
    rule = SETTINGS.get(key)
    return rule.text if rule is not None else ""


def _code(text: str) -> str:
    return f"`{text.strip(chr(34)) or text}`" if text else ""


def _table(settings: list[Setting], prefix: str = "") -> str:
    rows = []
    for one in settings:
        key = f"{prefix}{one.key}"
        allowed = _allowed(key).removeprefix("one of ")
        meaning = (
            ""
            if set(re.findall(r"\w+", one.comment)) <= {*re.findall(r"\w+", allowed)}
            else one.comment
        )
        default = (
            "computed"
            if one.default.startswith("${") and ":${" in one.default
            else _code(one.default)
        )
        rows.append([_code(key), default, _escape(allowed), _escape(meaning)])
    return markdown(["setting", "default", "allowed", "meaning"], rows)


def _escape(text: str) -> str:
    return re.sub(r"([<>*_\[\]])", r"\\\1", text)


def settings_page() -> str:
    """Return the page of all settings, from the files in conf/."""
    parts = [
        "# Settings",
        "This page is made from the files in `conf/`. `alexlab train --cfg job` prints the settings"
        " of a run with all values. A setting is changed by `KEY=VALUE`; an option of a group is"
        " chosen by `GROUP=OPTION`. What may have several values is an axis of a"
        " [sweep](../guides/sweeps.md).",
        "## Settings of every run",
    ]
    root = settings_of(CONF / "train.yaml")
    for name, title in (("", "General"), ("trainer", "trainer"), ("sweep", "sweep")):
        of = [
            s for s in root if (s.key.partition(".")[0] == name) or (not name and "." not in s.key)
        ]
        parts += [f"### {title}", _table(of)]
    for group, text in GROUPS.items():
        files = sorted((CONF / group).glob("*.yaml"))
        parts += [f"## {group}", text]
        names = ", ".join(_code(file.stem) for file in files)
        parts.append(f"Options: {names}.")
        for file in files:
            lines = file.read_text("utf-8").splitlines()
            about = " ".join(line[2:] for line in _head(lines))
            part = re.match(r"\w+: +(?:\{\} +)?# (.*)", lines[0]) if lines else None
            about = about or (part[1][:1].upper() + part[1][1:] if part else "")
            target = re.search(r"_target_: *(\S+)", "\n".join(lines))
            based = re.search(r"defaults: *\[(\w+)", "\n".join(lines))
            facts = [_escape(about.rstrip(".")) + "." if about else ""]
            facts.append(f"`{target[1]}`." if target else "")
            facts.append(f"Like `{based[1]}`, with:" if based else "")
            settings = settings_of(file)
            settings = [s._replace(key=s.key.removeprefix(f"{group}.")) for s in settings]
            own = [s for s in settings if s.key not in ("objective", "direction")]
            parts.append(f"### {group}={file.stem}")
            if text := " ".join(filter(None, facts)):
                parts.append(text)
            if own and group != "scale":
                parts.append(_table(own, f"{group}."))
    return "\n\n".join(parts) + "\n"


def _head(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("# ") or line.startswith("# @"):
            if line.startswith("# @"):
                continue
            return
        yield line


def verbs_page() -> str:
    """Return the page of all verbs, with what each prints for --help."""
    parts = [
        "# Verbs",
        "This page is made from `alexlab VERB --help`. In a checkout `python -m src.train` is the"
        " same as `alexlab train`.",
        f"```text\n{_help()}\n```",
    ]
    for verb, about in VERBS.items():
        parts += [f"## {verb}", f"{about[:1].upper()}{about[1:]}.", f"```text\n{_help(verb)}\n```"]
        for name in SUBCOMMANDS.get(verb, ()):
            parts += [f"### {verb} {name}", f"```text\n{_help(verb, name)}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(*words: str) -> str:
    env = {**os.environ, "COLUMNS": "90", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "alexlab", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return done.stdout.strip()


def studies_page() -> str:
    """Return the page that lists the studies, from their files in conf/study/."""
    rows = []
    for file in sorted((CONF / "study").glob("*.yaml")):
        config = yaml.safe_load(file.read_text("utf-8"))
        study = config.get("study") or {}
        if "question" not in study:
            continue
        rows.append(
            [
                _code(f"study={file.stem}"),
                study["question"],
                ", ".join(map(_code, sorted(_data_of(config)))),
                str(len(study.get("claims") or ())),
            ]
        )
    parts = [
        "# Studies",
        "This page is made from the files in `conf/study/`. How to run one: [Studies and"
        " answers](../guides/studies.md). Where its images come from: [Your"
        " data](../guides/data.md). Published answers: [Gallery](../gallery.md).",
        markdown(["study", "question", "data", "claims"], rows),
    ]
    return "\n\n".join(parts) + "\n"


def _data_of(config: dict[str, Any]) -> set[str]:
    """Return the data sets that a study uses: in its defaults, an axis, a recipe or a setting."""
    study = config["study"]
    recipes = (study.get("recipes") or {}).values()
    settings = [study.get(setting) or {} for setting in ("published", "tuned")]
    places = [*config.get("defaults", []), study.get("axes") or {}, *recipes, *settings]
    named = [
        one.get("override /data") or one.get("data") for one in places if isinstance(one, dict)
    ]
    names = {name.strip() for text in named if text for name in str(text).split(",")}
    return names or {"shapes"}


def write_reports(published: Path, site: Path) -> list[tuple[dict[str, Any], str]]:
    """Write each published report as one HTML file below `site`.

    Returns:
        (answers.json, link from the root of the site) of each; without claims whose runs are
        elsewhere.
    """
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir()
    found = []
    answers = publish.read(published)
    for report in sorted(published.rglob("report.md")):
        text, place = report.read_text("utf-8"), report.parent.relative_to(published)
        target = site / "reports" / place / "report.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        plots = [path.name for path in (report.parent / "plots").glob("*.png")]
        target.write_text(html_page(text, report.parent, images=plots), "utf-8")
        facts = {**answers[report.parent], "claims": publish.claims_here(report.parent, answers)}
        found.append((facts, target.relative_to(site).as_posix()))
    return found


def _link(text: str, link: str) -> str:
    return f'<a href="{link}">{html.escape(text)}</a>'


def with_site_links(text: str) -> str:
    """Return a page whose links to published reports lead to the pages of the site."""
    text = re.sub(
        r"\[([^\[\]]*)\]\(studies/(\S+?)/report\.md\)",
        lambda link: _link(html.unescape(link[1]), f"reports/{link[2]}/report.html"),
        text,
    )
    return text.replace("](studies/README.md)", "](gallery.md)")


def gallery_page(reports: list[tuple[dict[str, Any], str]]) -> str:
    """Return the page that lists the published reports."""
    parts = [
        "# Gallery",
        "Each report is one page: the answer first, then the evidence. The articles whose"
        " statements are tested are listed, with translations, in [the articles](articles.md).",
    ]
    rows = []
    for facts, link in reports:
        counted = {}
        for claim in facts["claims"]:
            word = publish.answer_word(claim)
            counted[word] = counted.get(word, 0) + 1
        said = ", ".join(f"{n} {word}" for word, n in counted.items()) or "no claims"
        rows.append([_link(facts["question"], link), said, facts["setting"], str(facts["seeds"])])
    parts.append("## Reports")
    parts.append(
        markdown(["question", "answers", "setting", "seeds"], rows)
        if rows
        else "No report has been published yet."
    )
    return "\n\n".join(parts) + "\n"


def write_all(docs: Path) -> None:
    """Write all generated pages below `docs`; a page that did not change keeps its date."""
    reports = write_reports(docs / "studies", docs / "_reports")
    pages = {
        "reference/settings.md": settings_page(),
        "reference/verbs.md": verbs_page(),
        "reference/studies.md": studies_page(),
        "gallery.md": gallery_page(reports),
    }
    for name, text in pages.items():
        path = docs / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    write_all(Path(__file__).parent)
