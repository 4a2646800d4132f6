"""Pages as one HTML file: folded sections, marked answers, the language of quotes."""

from alexlab.reporting.html import html_page

PAGE = """# Which?

## Answers

**more**: the claim is **supported**. And **no difference that matters**, **not tested**.

> \u6fc0\u6d3b\u51fd\u6570

## Methods

How it was done.

## How it was run

By a command.
"""


def test_folded_sections_are_closed_and_the_others_are_not(tmp_path):
    page = html_page(PAGE, tmp_path, folded=["Methods"])
    assert "<details><summary>Methods</summary>\n<p>How it was done.</p>\n</details>" in page
    assert "<h2>Answers</h2>" in page
    assert "<h2>How it was run</h2>\n<p>By a command.</p>" in page
    assert "<details>" not in html_page(PAGE, tmp_path)


def test_answers_and_judgements_are_marked(tmp_path):
    page = html_page(PAGE, tmp_path)
    for css, text in (
        ("more", "more"),
        ("supported", "supported"),
        ("no-difference-that-matters", "no difference that matters"),
        ("not-tested", "not tested"),
    ):
        assert f'<span class="answer {css}">{text}</span>' in page


def test_chinese_text_has_its_language(tmp_path):
    page = html_page(PAGE, tmp_path)
    assert '<p lang="zh">\u6fc0\u6d3b\u51fd\u6570</p>' in page
    assert page.count('lang="zh"') == 1


def test_each_claim_is_a_card_and_wide_tables_scroll(tmp_path):
    claims = "# Q\n\n## Answers\n\n### 1. One\n\nyes\n\n### 2. Two\n\nno\n\n## Methods\n\nhow"
    page = html_page(f"{claims}\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n", tmp_path, ["Methods"])
    for heading, text in (("1. One", "yes"), ("2. Two", "no")):
        card = f'<section class="card">\n<h3>{heading}</h3>\n<p>{text}</p>\n</section>'
        assert card in page
    assert page.count("<section") == 2
    assert "<details><summary>Methods</summary>\n<p>how</p>" in page
    assert page.count('<div class="wide"><table>') == page.count("</table></div>") == 1
