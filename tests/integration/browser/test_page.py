"""The example's page in a real browser: four panes follow what is typed, and find their way back after a break."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from tests.integration.browser.chromium import Chromium, Page
from tests.integration.conftest import Headline, start_headline, start_proxy
from tests.integration.processes import Processes
from tests.ports import free_port

pytestmark = pytest.mark.requires_program("chromium")

LIVE = ("Server-Sent Events", "WebSocket", "Long-poll")
PLAIN = "Plain request"
HELPERS = """
    window.panes = () => [...document.querySelectorAll(".pane")];
    window.pane = (name) => panes().find((pane) => pane.querySelector("h3").textContent === name);
    window.shows = (name, part) => pane(name).querySelector(`.card .${part}`).textContent;
    window.state = (name) => pane(name).querySelector(".state").dataset.state;
    window.updates = (name) => Number(pane(name).querySelector("[data-field=updates]").textContent);
    window.focusOn = (name) => {
        const input = document.querySelector(`[name=${name}]`);
        input.focus();
        input.select();
    };
"""


# The texts on the page, and what stands in empty inputs, that have less contrast to their ground than WCAG's 4.5.
FAINT = r"""(() => {
    const parts = (colour) => { const found = colour.match(/[\d.]+/g).map(Number); return [...found, 1].slice(0, 4); };
    const linear = (part) => (part /= 255) <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const luminance = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const ground = (element) => {
        const colour = parts(getComputedStyle(element).backgroundColor);
        return colour[3] === 1 ? colour : ground(element.parentElement);
    };
    const isFaint = (element, pseudo) => {
        const style = getComputedStyle(element, pseudo);
        const [below, colour] = [ground(element), parts(style.color)];
        const share = colour[3] * style.opacity;
        const seen = below.map((part, index) => colour[index] * share + part * (1 - share));
        const [dark, bright] = [luminance(seen), luminance(below)].sort((one, other) => one - other);
        return (bright + 0.05) / (dark + 0.05) < 4.5;
    };
    const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll("body *")].filter((element) => element.offsetParent && (
        (hasText(element) && isFaint(element)) || (element.placeholder && isFaint(element, "::placeholder"))
    )).map((element) => element.outerHTML);
})()"""


def send(url: str, method: str, **fields: str) -> dict[str, str]:
    """What somebody else does meanwhile."""
    request = Request(url, json.dumps(fields).encode(), {"Content-Type": "application/json"}, method=method)
    with build_opener(ProxyHandler({})).open(request, timeout=20) as response:
        return dict(json.load(response))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    folder = tmp_path_factory.mktemp("chromium")
    with Processes(folder) as processes:
        chromium = Chromium(processes, folder)
        yield chromium
        chromium.close()


@pytest.fixture
def page(chromium: Chromium) -> Iterator[Page]:
    page = chromium.new_page()
    yield page
    page.close()


def open_page(page: Page, url: str) -> None:
    page.open(url)
    page.wait_for("document.readyState === 'complete' && document.querySelectorAll('.pane').length === 4")
    page.evaluate(HELPERS)


def wait_until_live(page: Page) -> None:
    page.wait_for(f"{json.dumps(LIVE)}.every((name) => state(name) === 'live')")


def wait_until_all_show(page: Page, part: str, text: str) -> None:
    page.wait_for(f"{json.dumps(LIVE)}.every((name) => shows(name, {part!r}) === {json.dumps(text)})")


def test_four_panes_follow_what_is_typed(headline: Headline, page: Page) -> None:
    open_page(page, headline.proxy_url)
    page.evaluate("document.getElementById('create').click()")
    page.wait_for("document.activeElement.name === 'title'")
    wait_until_live(page)
    page.wait_for(f"state({PLAIN!r}) === 'fetched'")
    page.type("Typed in a browser")
    wait_until_all_show(page, "title", "Typed in a browser")
    assert page.evaluate(f"{json.dumps(LIVE)}.every((name) => updates(name) >= 1)")
    page.wait_for(f"state({PLAIN!r}) === 'out of date'")
    page.evaluate(f"pane({PLAIN!r}).querySelector('.fetch').click()")
    page.wait_for(f"shows({PLAIN!r}, 'title') === 'Typed in a browser'")
    page.evaluate(f"pane({PLAIN!r}).querySelector('.fetch').click()")
    page.wait_for(f"pane({PLAIN!r}).querySelector('[data-field=extra]').textContent.startsWith('304')")
    assert "Typed in a browser" == page.evaluate("document.querySelector('#list [aria-current] .name').textContent")
    assert [] == page.errors


def test_panes_and_what_takes_the_focus_have_names(headline: Headline, page: Page) -> None:
    """Who does not see the page hears which of the four says "live", and where the focus is."""
    open_page(page, headline.proxy_url)
    nodes = page.command("Accessibility.getFullAXTree")["nodes"]
    names = {(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]}
    assert {("article", name) for name in (*LIVE, PLAIN)} <= names
    assert {("group", f"Request of {name}") for name in (*LIVE, PLAIN)} <= names
    focusable = {"button", "combobox", "group", "link", "textbox"}
    assert set() == {role for role, name in names if role in focusable and not name}


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_too_faint_to_be_read(headline: Headline, page: Page, dark: bool) -> None:
    page.show(1280, 900, dark=dark)
    created = send(f"{headline.proxy_url}/", "POST", title="Read me")
    open_page(page, f"{headline.proxy_url}/#{created['id']}")
    wait_until_live(page)
    wait_until_all_show(page, "title", "Read me")
    assert [] == page.evaluate(FAINT)


def test_what_others_write_appears_everywhere_as_text(headline: Headline, page: Page) -> None:
    created = send(f"{headline.proxy_url}/", "POST", title="Before")
    open_page(page, f"{headline.proxy_url}/#{created['id']}")
    wait_until_live(page)
    wait_until_all_show(page, "title", "Before")
    markup = "<img src=x onerror=\"document.title='hurt'\"> & <b>Grüße</b>"
    send(f"{headline.proxy_url}/{created['id']}/", "PUT", type="news", title=markup, text="one\ntwo \U0001f30d")
    wait_until_all_show(page, "title", markup)
    wait_until_all_show(page, "text", "one\ntwo \U0001f30d")
    page.wait_for(f"shows({PLAIN!r}, 'title') === {json.dumps(markup)}")
    page.wait_for(f"document.querySelector('[name=title]').value === {json.dumps(markup)}")
    page.wait_for(f"document.querySelector('#list [aria-current] .name').textContent === {json.dumps(markup)}")
    assert "Headline" == page.evaluate("document.title")
    assert [] == page.errors


def test_a_second_window_follows_the_first(headline: Headline, chromium: Chromium, page: Page) -> None:
    created = send(f"{headline.proxy_url}/", "POST", title="Shared")
    url = f"{headline.proxy_url}/#{created['id']}"
    other = chromium.new_page()
    for window in (page, other):
        open_page(window, url)
        wait_until_live(window)
        wait_until_all_show(window, "title", "Shared")
    page.evaluate("focusOn('text')")
    page.type("from the first window")
    wait_until_all_show(other, "text", "from the first window")
    assert "from the first window" == other.evaluate("document.querySelector('[name=text]').value")
    other.close()


def test_changing_over_leaves_the_other_headline_alone(headline: Headline, page: Page) -> None:
    first = send(f"{headline.proxy_url}/", "POST", title="First")
    second = send(f"{headline.proxy_url}/", "POST", title="Second")
    open_page(page, f"{headline.proxy_url}/#{first['id']}")
    wait_until_live(page)
    page.evaluate("focusOn('title')")
    page.type("First, changed")
    page.evaluate(f"document.querySelector('#list [data-id=\"{second['id']}\"]').click()")
    wait_until_live(page)
    wait_until_all_show(page, "title", "Second")
    page.wait_for("document.querySelector('[name=title]').value === 'Second'")
    page.evaluate(f"document.querySelector('#list [data-id=\"{first['id']}\"]').click()")
    wait_until_all_show(page, "title", "First, changed")


def test_the_keyboard_is_enough(headline: Headline, page: Page) -> None:
    open_page(page, headline.proxy_url)
    page.press("Tab")
    assert "Skip to the editor" == page.evaluate("document.activeElement.textContent")
    page.press("Tab")
    assert "create" == page.evaluate("document.activeElement.id")
    page.press("Enter")
    page.wait_for("document.activeElement.name === 'title'")
    wait_until_live(page)
    page.type("No mouse")
    wait_until_all_show(page, "title", "No mouse")


def test_a_refused_change_is_said(headline: Headline, page: Page) -> None:
    created = send(f"{headline.proxy_url}/", "POST")
    open_page(page, f"{headline.proxy_url}/#{created['id']}")
    wait_until_live(page)
    page.evaluate("document.querySelector('[name=title]').removeAttribute('maxlength'); focusOn('title')")
    page.type("x" * 201)
    said = "document.getElementById('saved').textContent"
    page.wait_for(f"{said}.startsWith('Not saved')")
    assert 'Not saved: "title" has 201 characters, at most 200 are allowed' == page.evaluate(said)


def test_panes_and_writing_come_back_after_the_proxy_was_away(page: Page, processes: Processes) -> None:
    port = free_port()
    proxy = start_proxy(processes, f"http://127.0.0.1:{port}")
    headline = start_headline(processes, proxy, port)
    created = send(f"{headline.proxy_url}/", "POST", title="Before")
    open_page(page, f"{headline.proxy_url}/#{created['id']}")
    wait_until_live(page)
    wait_until_all_show(page, "title", "Before")
    proxy.process.stop()
    page.wait_for(f"{json.dumps(LIVE)}.every((name) => state(name) === 'reconnecting')")
    page.evaluate("focusOn('text')")
    page.type("written while it was away")
    page.wait_for("document.getElementById('saved').textContent.startsWith('Not saved')")
    send(f"{headline.backend_url}/{created['id']}/", "PUT", type="news", title="Meanwhile")
    listen, control = (urlsplit(url).port for url in (proxy.url, proxy.control_url))
    start_proxy(processes, headline.backend_url, listen=listen, control=control)
    wait_until_live(page)
    wait_until_all_show(page, "text", "written while it was away")
    send(f"{headline.proxy_url}/{created['id']}/", "PUT", type="news", title="After")
    wait_until_all_show(page, "title", "After")


def test_without_a_proxy_the_page_says_so_and_still_edits(headline: Headline, page: Page) -> None:
    created = send(f"{headline.backend_url}/", "POST", title="Direct")
    open_page(page, f"{headline.backend_url}/#{created['id']}")
    page.wait_for(f"shows({PLAIN!r}, 'title') === 'Direct'")
    assert page.evaluate("document.getElementById('unproxied').checkVisibility()")
    page.wait_for(f"{json.dumps(LIVE)}.every((name) => state(name) === 'reconnecting')")
    page.evaluate("focusOn('text')")
    page.type("still works")
    page.wait_for("document.getElementById('saved').textContent.startsWith('Saved')")


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_sticks_out_sideways(headline: Headline, page: Page, width: int) -> None:
    created = send(f"{headline.proxy_url}/", "POST", type="t" * 64, title="W" * 200, text="m" * 2000)
    page.show(width, 800, mobile=width < 700)
    open_page(page, f"{headline.proxy_url}/#{created['id']}")
    wait_until_all_show(page, "title", "W" * 200)
    assert width >= page.evaluate("document.documentElement.scrollWidth")
