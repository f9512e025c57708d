"""The page in a real browser: nothing fetched, nothing logged, accessible, and every control does what it says."""

import dataclasses
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from results import join, report
from results.cost import Pricing
from tests.fakes import showcase
from tests.fakes.records import write_root

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which(CHROMIUM), reason=f"no Chromium at {CHROMIUM}: set CHROMIUM"),
]


@dataclass
class Tab:
    """A page with what it asked the network for and what it complained about."""

    page: Any
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))

    def open(self, fragment: str = "") -> "Tab":
        self.page.goto(f"{self.url}{fragment}")
        return self

    def column(self, sheet: str, name: str) -> list[str]:
        """The visible texts of one column."""
        script = """([sheet, name]) => {
            const table = document.querySelector(`table[data-sheet=${sheet}]`);
            const index = [...table.tHead.rows[0].cells].findIndex((cell) => cell.dataset.c === name);
            return [...table.tBodies[0].rows].filter((row) => !row.hidden).map((row) => row.cells[index].textContent);
        }"""
        texts: list[str] = self.page.evaluate(script, [sheet, name])
        return texts

    def control(self, name: str) -> Any:
        return self.page.locator(f"[data-state={name}]")

    @property
    def fragment(self) -> str:
        """Asked of the document: what the driver remembers lags behind."""
        return str(self.page.evaluate("location.hash.slice(1)"))

    def back(self, fragment: str) -> None:
        """One step back in the history, which has to lead to `fragment`."""
        self.page.evaluate("history.back()")
        for _ in range(200):
            if self.fragment == fragment:
                return
            self.page.wait_for_timeout(25)
        assert self.fragment == fragment


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which(CHROMIUM), args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    write_root(folder / "runs", identities=112, runs=1, repeats=3)
    table = join.table(folder / "runs", Pricing(usd_per_hour=0.0892))
    return report.write(table, folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every scenario, LoadGen, energy, notes."""
    folder = tmp_path_factory.mktemp("every")
    showcase.write(folder / "runs", repeats=2)
    return report.write(join.table(folder / "runs"), folder / "report.html").as_uri()


@pytest.fixture
def tab(browser: Any, url: str) -> Iterator[Tab]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light", offline=True)
    opened = Tab(context.new_page(), url)
    yield opened
    context.close()
    assert opened.complaints == []
    assert [request for request in opened.requests if not request.startswith("file:")] == []


def sort_by(tab: Tab, sheet: str, name: str) -> None:
    tab.page.locator(f"table[data-sheet={sheet}] th[data-c={name}] button").click()


def ranked(tab: Tab) -> list[float]:
    """Throughputs, in the order shown, of the rows that are compared."""
    pairs = zip(tab.column("offline", "throughput_per_s"), tab.column("offline", "ratio"), strict=True)
    return [float(text.replace(",", "")) for text, ratio in pairs if not ratio.startswith("n/a")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("fragment", ["", "#row=r0"])
def test_axe_finds_nothing(tab: Tab, scheme: str, fragment: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.open(fragment if not fragment else f"#row={first_row(tab)}")
    found = Axe().run(tab.page, options={"runOnly": RULES}).response["violations"]
    assert [(one["id"], [node["html"][:160] for node in one["nodes"]][:3]) for one in found] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sheet", ["", "server", "cold_start", "compile"])
def test_axe_finds_nothing_on_any_scenario(tab: Tab, every: str, scheme: str, sheet: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab.url = every
    tab.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    tab.open()
    if sheet:
        tab.page.locator(f"table[data-sheet={sheet}] .more").first.click()
    else:
        tab.page.locator("#market-others summary").click()
    found = Axe().run(tab.page, options={"runOnly": RULES}).response["violations"]
    assert [(one["id"], [node["html"][:160] for node in one["nodes"]][:3]) for one in found] == []


def test_a_finding_leads_to_its_row(tab: Tab, every: str) -> None:
    tab.url = every
    tab.open()
    button = tab.page.locator("#findings .more").first
    assert button.count() == 1
    row = str(button.get_attribute("data-row"))
    button.click()
    assert tab.fragment == f"row={row}"
    assert tab.page.get_by_role("dialog").is_visible()
    tab.page.keyboard.press("Escape")
    assert tab.fragment == ""


def test_a_servers_row_unfolds_to_how_its_rate_was_found(tab: Tab, every: str) -> None:
    tab.url = every
    tab.open("#scenario=server")
    tab.page.locator("table[data-sheet=server] .more").first.click()
    text = tab.page.get_by_role("dialog").inner_text()
    assert "Load offered" in text
    assert "searched for" in text
    assert re.search(r"/s broken \(40 of 700 over\)", text)


def test_an_estimate_unfolds_to_its_source_and_no_machine(tab: Tab, every: str) -> None:
    tab.url = every
    tab.open()
    section = tab.page.locator("#estimates")
    assert set(section.locator("tbody th .tag").all_inner_texts()) == {"estimate", "simulator"}
    section.locator(".more", has_text="kws").first.click()
    dialog = tab.page.get_by_role("dialog")
    assert "kws, vela int8 on Arm Ethos-U55-128, compile, batch 1" in dialog.inner_text()
    assert "It warns" in dialog.inner_text() or "it warns" in dialog.inner_text()
    assert "Xeon" not in dialog.inner_text()
    assert "pytest bench/ --target ethos_u:all" in dialog.inner_text()


def test_estimates_sort_and_filter_by_themselves_and_say_what_is_missing(tab: Tab, every: str) -> None:
    tab.url = every
    tab.open()
    sort_by(tab, "compile", "estimated_latency_ns")
    texts = tab.column("compile", "estimated_latency_ns")
    known = [float(text) for text in texts if not text.startswith("n/a")]
    assert known == sorted(known)
    assert [text.startswith("n/a") for text in texts] == sorted(text.startswith("n/a") for text in texts)
    gap = tab.page.locator("#estimates td.na").first
    assert gap.get_attribute("title")
    tab.control("provenance").select_option("simulator")
    assert tab.column("compile", "hardware") == ["Qualcomm HTP v75"]
    assert tab.page.locator("table[data-sheet=offline]").is_hidden()
    tab.control("provenance").select_option("measured")
    assert tab.page.locator("#estimates").is_hidden()


def test_others_figures_have_a_filter_of_their_own(tab: Tab, every: str) -> None:
    tab.url = every
    tab.open()
    rows = tab.page.locator("table.market tbody tr:not(.group):visible")
    assert tab.page.locator("#market .tag", has_text="published").count() > 5
    count = tab.page.locator("#market-count")
    assert re.fullmatch(r"\d+ rows", count.inner_text())
    measured = tab.page.locator("#count").inner_text()
    tab.control("market").fill("coral usb")
    assert tab.fragment == "market=coral+usb"
    assert tab.page.locator("#market-others").get_attribute("open") is not None
    assert all("Coral USB" in text for text in rows.all_inner_texts())
    assert re.fullmatch(r"3 of \d+ rows", count.inner_text())
    assert tab.page.locator("#count").inner_text() == measured
    tab.control("network").select_option("VGG16 (224x224)")
    assert rows.count() == 1
    tab.page.reload()
    assert rows.count() == 1
    tab.control("market").fill("")
    tab.control("network").select_option("")
    assert tab.fragment == ""
    assert tab.page.locator("#market .v-invalid", has_text="impossible").count() == 1


@pytest.mark.parametrize("part", ["estimates", "market"])
def test_a_page_of_estimates_or_of_others_figures_alone(browser: Any, tmp_path: Path, part: str) -> None:
    showcase.write(tmp_path / "runs", repeats=1)
    table = join.table(tmp_path / "runs")
    rows = table.rows[table.rows.provenance.isin(["estimate"]) & (part == "estimates")]
    bare = dataclasses.replace(table, rows=rows, ceilings={}, published=table.published if part == "market" else ())
    page = browser.new_page()
    tab = Tab(page, report.write(bare, tmp_path / "report.html").as_uri()).open("#q=kws&market=coral")
    assert page.locator(f"#{part}").is_visible()
    assert tab.complaints == []
    page.close()


def first_row(tab: Tab) -> str:
    return str(tab.open().page.locator("table.sheet tbody tr").first.get_attribute("id"))


@pytest.mark.parametrize("keep", ["none", "absent"])
def test_a_page_without_measurements_works_too(browser: Any, tmp_path: Path, keep: str) -> None:
    write_root(tmp_path / "runs", identities=112, runs=1, repeats=1)
    table = join.table(tmp_path / "runs")
    bare = dataclasses.replace(table, rows=table.rows[table.rows.status == keep], ceilings={})
    page = browser.new_page()
    tab = Tab(page, report.write(bare, tmp_path / "report.html").as_uri()).open("#q=x&sort-offline=engine&row=r0")
    page.get_by_role("button", name="Dark theme").click()
    assert "theme=dark" in tab.fragment
    assert tab.complaints == []
    page.close()


def test_only_the_page_itself_is_requested(tab: Tab) -> None:
    tab.open()
    assert tab.requests == [tab.url]


def test_hostile_names_do_not_reach_the_document(tab: Tab) -> None:
    tab.open()
    assert tab.page.title() == "accelmark report"
    assert tab.page.locator("script").count() == 2
    assert tab.page.locator("img").count() == 0


def test_sorting_goes_both_ways_and_back_and_puts_the_missing_last(tab: Tab) -> None:
    tab.open()
    before = tab.column("offline", "workload")
    sort_by(tab, "offline", "throughput_per_s")
    falling = ranked(tab)
    assert falling == sorted(falling, reverse=True)
    ranks = [not text.startswith("n/a") for text in tab.column("offline", "ratio")]
    assert False in ranks
    assert ranks == sorted(ranks, reverse=True)
    assert tab.fragment == "sort-offline=-throughput_per_s"
    head = tab.page.locator("table[data-sheet=offline] th[data-c=throughput_per_s]")
    assert head.get_attribute("aria-sort") == "descending"
    sort_by(tab, "offline", "throughput_per_s")
    assert ranked(tab) == sorted(falling)
    assert head.get_attribute("aria-sort") == "ascending"
    sort_by(tab, "offline", "throughput_per_s")
    assert head.get_attribute("aria-sort") is None
    assert tab.column("offline", "workload") == before
    sort_by(tab, "offline", "quality")
    texts = tab.column("offline", "quality")
    known = [not text.startswith("n/a") for text in texts]
    assert True in known
    assert known == sorted(known, reverse=True)


def test_filter_facets_and_reset(tab: Tab) -> None:
    tab.open()
    every = tab.page.locator("#count").inner_text()
    assert re.fullmatch(r"\d+ rows", every)
    tab.control("q").fill("resnet50 openvino")
    assert set(tab.column("offline", "workload")) == {"resnet50"}
    assert set(tab.column("offline", "engine")) == {"openvino"}
    assert re.fullmatch(r"\d+ of \d+ rows", tab.page.locator("#count").inner_text())
    assert tab.page.locator(".pt.dim").count() > 0
    tab.control("scenario").select_option("offline")
    assert tab.page.locator("table[data-sheet=single_stream]").is_hidden()
    tab.page.get_by_role("button", name="Reset").click()
    assert tab.page.locator("#count").inner_text() == every
    assert tab.page.locator(".pt.dim").count() == 0
    assert tab.fragment == ""


def test_nothing_found_is_said(tab: Tab) -> None:
    tab.open("#q=no-such-thing")
    assert tab.page.get_by_text("No row matches").is_visible()


def test_baseline_picker_changes_the_ratios(tab: Tab) -> None:
    tab.open("#workload=resnet50&scenario=offline")
    default = tab.column("offline", "ratio")
    tab.control("baseline").select_option("reference fp32")
    rows = zip(
        tab.column("offline", "engine"), tab.column("offline", "precision"), tab.column("offline", "ratio"), strict=True
    )
    ratios = {(engine, precision): text for engine, precision, text in rows}
    assert ratios["reference", "fp32"] == "1.00×"
    assert float(ratios["openvino", "fp32"].rstrip("×")) > 1
    assert "baseline=reference" in tab.fragment
    tab.control("baseline").select_option(index=0)
    assert tab.column("offline", "ratio") == default


def test_the_address_keeps_the_state_over_reload_and_back(tab: Tab) -> None:
    tab.open()
    tab.control("engine").select_option("torch")
    sort_by(tab, "single_stream", "latency_p50_ns")
    tab.control("q").fill("bert")
    assert tab.fragment == "engine=torch&sort-single_stream=latency_p50_ns&q=bert"
    shown = tab.column("single_stream", "latency_p50_ns")
    assert shown
    tab.page.reload()
    assert tab.column("single_stream", "latency_p50_ns") == shown
    assert tab.control("q").input_value() == "bert"
    tab.back("engine=torch")
    assert set(tab.column("single_stream", "engine")) == {"torch"}
    tab.back("")
    assert len(set(tab.column("single_stream", "engine"))) > 1


def test_a_row_unfolds_by_keyboard_and_folds_again(tab: Tab) -> None:
    tab.open()
    button = tab.page.locator("table[data-sheet=offline] .more").first
    button.focus()
    tab.page.keyboard.press("Enter")
    dialog = tab.page.get_by_role("dialog")
    assert dialog.is_visible()
    assert "pytest bench/ --backend=cpu" in dialog.inner_text()
    assert "records.log" in dialog.inner_text()
    assert tab.fragment.startswith("row=r")
    tab.page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert tab.fragment == ""
    assert tab.page.evaluate("document.activeElement.className") == "more"


def test_a_link_to_a_row_opens_it_and_a_link_to_nothing_does_not(tab: Tab) -> None:
    row = first_row(tab)
    tab.open("#q=x").open(f"#row={row}")
    assert tab.page.get_by_role("dialog").is_visible()
    tab.open("#row=r999999&engine=no-such&sort-offline=-nonsense&theme=pink&%FF=%00")
    assert tab.page.get_by_role("dialog").is_hidden()
    assert tab.page.locator("#count").inner_text().startswith("0 of")


def test_theme_toggle_beats_the_system(tab: Tab) -> None:
    tab.open()
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(background)
    tab.page.get_by_role("button", name="Dark theme").click()
    assert tab.page.evaluate(background) != light
    assert tab.fragment == "theme=dark"
    tab.page.get_by_role("button", name="Light theme").click()
    assert tab.page.evaluate(background) == light


def test_links_within_the_page_leave_the_state_alone(tab: Tab) -> None:
    tab.open("#engine=torch")
    tab.page.get_by_role("link", name="Charts").click()
    assert tab.fragment == "engine=torch"
    assert tab.page.evaluate("document.activeElement.id") == "charts"


@pytest.mark.parametrize("page", ["usual", "every"])
@pytest.mark.parametrize("width", [360, 390, 768])
def test_a_narrow_window_scrolls_tables_and_not_the_page(tab: Tab, every: str, width: int, page: str) -> None:
    tab.url = every if page == "every" else tab.url
    tab.page.set_viewport_size({"width": width, "height": 844})
    tab.open()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.page.locator(".sheet .more").first.click()
    assert tab.page.evaluate("document.querySelector('dialog').scrollWidth") <= width


def test_print_shows_everything_on_light_paper(tab: Tab) -> None:
    tab.page.emulate_media(color_scheme="dark", media="print")
    tab.open("#theme=dark")
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    clipped = """[...document.querySelectorAll('.scroll,.chart')].filter((e) =>
        getComputedStyle(e).overflow !== 'visible' || getComputedStyle(e).maxHeight !== 'none').length"""
    assert tab.page.evaluate(clipped) == 0
    assert tab.page.locator(".tools").is_hidden()
    assert len(tab.page.pdf(prefer_css_page_size=True, print_background=True)) > 50_000


@pytest.mark.parametrize("page", ["usual", "every"])
def test_a4_landscape_is_wide_enough_for_the_tables(tab: Tab, every: str, page: str) -> None:
    tab.url = every if page == "every" else tab.url
    tab.page.emulate_media(media="print")
    tab.page.set_viewport_size({"width": 1047, "height": 720})
    tab.open()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 1047


def test_it_reads_without_javascript(browser: Any, url: str) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(url)
    assert page.locator("table[data-sheet=offline] tbody tr").count() > 10
    assert page.get_by_text("needs JavaScript").is_visible()
    context.close()
