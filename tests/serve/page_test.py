"""The page at / in real Chromium: every control is used as a person would. Needs Chromium (Debian's package) and playwright.

page_test.py PROGRAM [--screenshots DIR]: starts `PROGRAM serve` on the default model; prints `ok NAME` or `FAIL NAME: why` a check.
"""
import argparse
import contextlib
import re
import shutil
import subprocess
import sys

from playwright.sync_api import expect, sync_playwright

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--screenshots")
arguments = parser.parse_args()
failed = 0


@contextlib.contextmanager
def served(*flags):
    command = [arguments.program, "serve", "--port", "0", "--memory-fraction", "0.1", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield re.search(r"http://\S+?(?=:? )", process.stdout.readline())[0].rstrip(":")
    finally:
        process.terminate()
        process.wait(60)


def check(name, work, page):
    global failed
    try:
        work(page)
        print("ok", name, flush=True)
    except Exception as error:  # noqa: BLE001: a failed check must not end the others
        failed += 1
        print(f"FAIL {name}: {str(error).splitlines()[0]}", flush=True)
        if arguments.screenshots:
            page.screenshot(path=f"{arguments.screenshots}/failed.png")


def picture(page, name):
    if arguments.screenshots:
        page.screenshot(path=f"{arguments.screenshots}/{name}.png")


def ask(page, text, wait=True):
    page.fill("#prompt", text)
    page.press("#prompt", "Enter")
    if wait:
        expect(page.locator("#send")).to_be_visible(timeout=60000)


def answers_in_sentences(page):
    page.click("#toggle-settings")
    page.fill("#temperature", "0")  # for this and the next checks: answers that can be foreseen
    page.click("#toggle-settings")
    ask(page, "What is the capital of France? One sentence.")
    expect(page.locator(".message.assistant .body").last).to_contain_text("Paris")
    expect(page.locator(".message.assistant .tools").last).to_contain_text("tokens")
    expect(page.locator("#conversations li").first).to_contain_text("What is the capital")


def streams_and_stops(page):
    page.click("#new-chat")
    ask(page, "Write a very long story about the sea.", wait=False)
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator(".message.assistant .body").last).to_contain_text(re.compile(r"\w+ \w+ \w+"))
    page.click("#stop")
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator(".message.assistant .tools").last).to_contain_text("stopped")


def edits_and_retries(page):
    page.locator(".message.user").get_by_role("button", name="Edit").click()
    page.fill(".message.user textarea", "What is the capital of Japan? One sentence.")
    page.locator(".message.user").get_by_role("button", name="Send").click()
    expect(page.locator("#send")).to_be_visible(timeout=60000)
    expect(page.locator(".message.user")).to_have_count(1)
    expect(page.locator(".message.assistant .body")).to_contain_text("Tokyo")
    page.locator(".message.assistant").get_by_role("button", name="Retry").click()
    expect(page.locator("#send")).to_be_visible(timeout=60000)
    expect(page.locator(".message.assistant")).to_have_count(1)
    expect(page.locator(".message.assistant .body")).to_contain_text("Tokyo")


def keeps_several_conversations(page):
    before = page.locator("#conversations li").count()
    page.click("#new-chat")
    ask(page, "Hello")
    expect(page.locator("#conversations li")).to_have_count(before + 1)
    page.locator("#conversations .open", has_text="capital of France").click()
    expect(page.locator(".message.assistant .body").last).to_contain_text("Paris")
    page.reload()
    expect(page.locator("#conversations li")).to_have_count(before + 1)
    page.locator("#conversations li", has_text="Hello").locator(".delete").click()
    expect(page.locator("#conversations li")).to_have_count(before)


def takes_parameters(page):
    page.click("#new-chat")
    page.click("#toggle-settings")
    page.fill("#temperature", "0")
    page.fill("#max-tokens", "5")
    page.fill("#seed", "1")
    page.fill("#top-p", "0.9")
    page.fill("#system-prompt", "You are a pirate.")
    with page.expect_request("**/v1/chat/completions") as request:
        ask(page, "Who are you?")
    sent = request.value.post_data_json
    assert (sent["temperature"], sent["max_completion_tokens"], sent["seed"], sent["top_p"]) == (0, 5, 1, 0.9), sent
    assert sent["messages"][0] == {"role": "system", "content": "You are a pirate."}, sent
    expect(page.locator(".message.assistant .tools").last).to_contain_text("5 tokens")
    page.reload()
    page.click("#toggle-settings")
    expect(page.locator("#max-tokens")).to_have_value("5")
    for field in ["temperature", "max-tokens", "seed", "top-p", "system-prompt"]:
        page.fill(f"#{field}", "")
    page.click("#toggle-settings")
    expect(page.locator("#settings")).to_be_hidden()


def shows_markdown_as_text_only(page):
    written = "# Title\n\nSome **bold** and `code`, <img src=x onerror=alert(1)>.\n\n- one\n  - two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\nprint('<b>')\n```\n[bad](javascript:alert(1)) [good](https://example.org)"
    page.evaluate("""async written => {
        const {markdown} = await import('/page/markdown.js');
        document.querySelector('#messages').innerHTML = '<article class="message assistant"><div class="body"></div></article>';
        document.querySelector('#messages .body').append(markdown(written));
    }""", written)
    body = page.locator("#messages .body")
    for selector in ["h1", "strong", "p > code", "ul ul li", "table td", "pre code.language-python"]:
        assert body.locator(selector).count() > 0, selector
    assert body.locator("img").count() == 0
    assert body.locator("a").count() == 1
    expect(body.locator("pre code")).to_have_text("print('<b>')")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    body.get_by_role("button", name="Copy").click()
    expect(body.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "print('<b>')"
    picture(page, "page-markdown")


def changes_its_theme(page):
    page.reload()
    page.evaluate("document.querySelector('#conversations .open').click()")
    expect(page.locator(".message").first).to_be_visible()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    picture(page, "page-light")
    page.click("#toggle-theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    picture(page, "page-dark")
    page.click("#toggle-theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def shows_the_server_at_work(page):
    page.click("#new-chat")
    ask(page, "Write a very long story about the sea.", wait=False)
    expect(page.locator("#live-running")).to_have_text("1")
    expect(page.locator("#live-speed")).not_to_have_text(re.compile("^(-|0.0)$"))
    expect(page.locator("#live-cache")).to_have_text(re.compile("^[0-9]+%$"))
    expect(page.locator("#live-waiting")).to_have_text("0")
    expect(page.locator("#live-acceptance")).to_have_text("no guesses")
    page.click("#stop")
    expect(page.locator("#live-running")).to_have_text("0")
    assert len(page.locator("#live-curve polyline").get_attribute("points").split()) > 1


def fits_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("#sidebar")).not_to_be_visible()
    page.click("#toggle-sidebar")
    expect(page.locator("#sidebar")).to_be_visible()
    page.locator("#conversations .open").last.click()
    expect(page.locator("#sidebar")).not_to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    picture(page, "page-phone")
    page.set_viewport_size({"width": 1200, "height": 800})


def asks_for_a_key(page):
    expect(page.locator("#model-name")).to_contain_text("API key is missing")
    ask(page, "Hello")
    expect(page.locator(".message.assistant .error")).to_contain_text("API key is missing")
    page.click("#toggle-settings")
    page.fill("#api-key", "secret")
    page.fill("#temperature", "0")
    page.fill("#max-tokens", "16")  # a sampled answer to "Hello" can go on for thousands of tokens
    expect(page.locator("#model-name")).not_to_contain_text("missing")
    page.locator(".message.assistant").get_by_role("button", name="Retry").click()
    expect(page.locator("#send")).to_be_visible(timeout=60000)
    expect(page.locator(".message.assistant .error")).to_have_count(0)


expect.set_options(timeout=60000)  # a loaded machine is slow, not wrong
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"])
    complaints = []
    with served() as url:
        page = browser.new_context(viewport={"width": 1200, "height": 800}).new_page()
        page.set_default_timeout(60000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(url)
        for work in [answers_in_sentences, streams_and_stops, edits_and_retries, keeps_several_conversations, takes_parameters,
                     shows_markdown_as_text_only, changes_its_theme, shows_the_server_at_work, fits_a_phone]:
            check(work.__name__, work, page)

        def says_nothing_on_the_console(_):
            assert not complaints, complaints
        check("says_nothing_on_the_console", says_nothing_on_the_console, page)
    with served("--api-key", "secret") as url:
        page = browser.new_context().new_page()
        page.set_default_timeout(60000)
        page.goto(url)
        check("asks_for_a_key", asks_for_a_key, page)
    browser.close()
sys.exit(failed > 0)
