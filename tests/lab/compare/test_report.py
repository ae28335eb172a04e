"""Tables, plots and the page: complete, the same each time, and holding nothing from elsewhere."""

import html
import re
import sys
from dataclasses import replace
from shutil import which

import pytest

from atmost.errors import MissingExtra
from atmost.lab.compare import CompareOptions, Sweep, compare, plots, report, run_points
from atmost.lab.compare.table import Table, checks_table, comparison_table, plain, sweep_tables

ARMS = ("at-most-once", "at-least-once", "exactly-once")


@pytest.fixture(scope="module")
def one():
    """A comparison."""
    return compare(CompareOptions(messages=400, loss=0.2))


@pytest.fixture(scope="module")
def swept():
    """Three points of a sweep."""
    return run_points(Sweep.parse("loss=0:0.4:3").points(CompareOptions(messages=300)))


@pytest.fixture(scope="module")
def drawn(one, swept):
    """The plots of both, by the option that was swept."""
    return {None: plots.draw([one], None), "loss": plots.draw(swept, "loss")}


def test_the_table_has_every_figure_of_every_arm(one):
    """In columns as wide as their widest cell."""
    table = comparison_table(one)
    assert table.heading == ("", *ARMS)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["processed once"][2] == "100%"
    assert rows["payments: lost"] == (str(one.arms[0].never), "0", "0")
    assert rows["kept over a crash, bytes"] == ("0", "0", "6,400")
    assert "refused by this host's socket" not in rows
    lines = plain(table)
    assert len({len(line) for line in lines[1:]}) == 1
    assert "400 messages simulated" in lines[0]


def test_what_this_host_refused_is_a_row_of_its_own(one):
    """Only where there is something to tell."""
    arms = (replace(one.arms[0], refused=3), *one.arms[1:])
    assert comparison_table(replace(one, arms=arms)).rows[-1] == ("refused by this host's socket", "3", "0", "0")


def test_no_share_is_shown_as_all_or_nothing_unless_it_is():
    """One in a million is not 0 %."""
    from atmost.lab.compare.table import _share

    assert _share(1, 1_000_000) == "0.000%"
    assert (_share(0, 10), _share(10, 10)) == ("0%", "100%")
    assert _share(999_999, 1_000_000) != "100%"


def test_theory_stands_beside_the_simulation(one):
    """With the interval, and a NO that is seen."""
    rows = checks_table(one).rows
    assert len(rows) == len(one.checks)
    assert {row[-1] for row in rows} == {"yes"}
    assert rows[0][0] == "at-most-once: processed"


def test_a_sweep_has_a_table_for_each_figure(swept):
    """A row for each point."""
    tables = {table.title: table for table in sweep_tables("loss", swept)}
    never = tables["never processed"]
    assert never.heading == ("loss", *ARMS)
    assert [row[0] for row in never.rows] == ["0", "0.2", "0.4"]
    assert "caller's wait, mean" in tables


def test_plots_are_the_same_bytes_each_time(one, drawn, tmp_path):
    """PNG and SVG, without a date; whatever the user has set for other plots."""
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 20}):
        assert plots.draw([one], None) == drawn[None]
    assert set(drawn["loss"]) == {"outcome", "cost", "time", "uses"}
    assert set(drawn[None]) == {"comparison"}
    written = plots.save(drawn["loss"] | drawn[None], tmp_path / "new" / "folder")
    assert len(written) == 10
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
        assert b"<dc:date>" not in content


def test_every_arm_and_its_theory_is_in_the_plot(drawn):
    """By name, and as many curves as there are arms."""
    svg = drawn["loss"]["outcome"]["svg"].decode()
    assert all(arm in svg for arm in ARMS)
    assert all(colour.lower() in svg.lower() for colour in plots._COLOURS.values())


def test_without_matplotlib_the_extra_is_named(monkeypatch, one):
    """Before anything is drawn."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"atmost\[lab\]"):
        plots.draw([one], None)


def test_the_page_holds_everything_and_asks_nobody(one, swept, drawn):
    """Every row of the tables as text, every plot with words; no script, no address, nothing unescaped."""
    pictures = {plots.described(name, "loss"): files["svg"] for name, files in drawn["loss"].items()}
    tables = [
        comparison_table(one),
        checks_table(one),
        *sweep_tables("loss", swept),
        Table("<t>", ("", "a"), (("&", "NO"),)),
    ]
    page = report.page("Three & one", tables, pictures)
    assert page == report.page("Three & one", tables, pictures)
    for table in tables[:-1]:
        for row in table.rows:
            assert all(html.escape(cell) in page for cell in row)
    assert page.count("<img ") == len(pictures) == 4
    assert 'alt="never processed, processed twice or more, by loss; the tables' in page
    assert "<h1>Three &amp; one</h1>" in page
    assert "<h2>&lt;t&gt;</h2>" in page
    assert '<td class="bad">NO</td>' in page
    assert not re.search(r"<script|<link|https?://|url\(", page)


@pytest.mark.slow
@pytest.mark.needs("chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing_in_the_page(one, drawn, tmp_path, scheme, width):
    """And nothing of it lies outside of the window."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    pictures = {plots.described(name, None): files["svg"] for name, files in drawn[None].items()}
    path = tmp_path / "report.html"
    path.write_text(report.page("One", [comparison_table(one), checks_table(one)], pictures), encoding="utf-8")
    program = which("chromium") or which("chromium-browser")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(path.as_uri())
        found = Axe().run(page).response
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.images[0].naturalWidth") > 100
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]] == []
    assert len(found["passes"]) > 10
