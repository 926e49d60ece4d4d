"""ComfyUI's real page in a headless Chromium, for tests of what the artist sees.

A test names the fixture ``page`` (tests/conftest.py) and gets a `ComfyPage` with an empty workflow. ``@RENDERERS``
runs it in both node renderers, ``@FRONTENDS`` with both frontends, ``@PAGES`` once in each of these, in two pages.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from playwright.sync_api import Error as BrowserError

from tests.hosting.provision import find_browser
from tests.hosting.session import ROOT

ARTEFACTS = ROOT / "tests" / "artefacts"
RENDERERS = pytest.mark.parametrize("renderer", ["classic", "nodes2"], indirect=True)
FRONTENDS = pytest.mark.parametrize("frontend", ["pinned", "newest"], indirect=True)
PAGES = pytest.mark.parametrize("renderer, frontend", [("classic", "pinned"), ("nodes2", "newest")], indirect=True)
SIZE = {"width": 1400, "height": 900}

# The browser reaches this machine only, whatever the page asks for.
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# Of every new user: no tour, no news.
_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
}


def missing_browser() -> str:
    """Why no test of the page can run, or ""."""
    if find_browser() is None:
        return ("No Chromium was found for the tests of the page: install one (`playwright install chromium`, or "
                "your system's package) or point RECACHE_BROWSER at one.")
    return ""


@contextmanager
def launch() -> Iterator[Browser]:
    """A headless Chromium while the ``with`` block lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class ComfyPage:
    """ComfyUI's page in one tab of its own, with nothing remembered from tabs before.

    Attributes:
        tab: playwright's page, for whatever is not here.
        url: of the server.
        renderer: ``"classic"`` (canvas) or ``"nodes2"`` (Nodes 2.0).
        console: every warning, error and uncaught exception of the page: (kind, text, address of the script).
    """

    tab: Page
    url: str
    renderer: str
    console: list[tuple[str, str, str]] = field(default_factory=list)

    def open(self) -> ComfyPage:
        """Goes to the page, waits until it can be used, and starts an empty workflow."""
        self.tab.goto(self.url, wait_until="domcontentloaded")
        self._until_ready()
        self.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
        self.wait("() => app.graph.nodes.length === 0")
        return self

    def clear(self) -> None:
        """Starts an empty workflow; closes others, messages, menus and panels; dark again, at the canvas's origin."""
        self.tab.keyboard.press("Escape")
        self.dismiss_messages()
        self.evaluate("""async () => {
          const { command, setting, sidebarTab, workflow } = app.extensionManager;
          if (setting.get('Comfy.ColorPalette') !== 'dark') await setting.set('Comfy.ColorPalette', 'dark');
          const panel = 'Comfy.RightSidePanel.IsOpen';
          if (setting.get(panel)) await setting.set(panel, false);
          if (sidebarTab.activeSidebarTab) sidebarTab.toggleSidebarTab(sidebarTab.activeSidebarTab.id);
          await command.execute('Comfy.NewBlankWorkflow');
          for (const open of [...workflow.openWorkflows])
            if (open.path !== workflow.activeWorkflow.path) await workflow.closeWorkflow(open);
          app.canvas.ds.scale = 1;
          app.canvas.ds.offset = [0, 0];
        }""")
        self.wait("() => app.graph.nodes.length === 0 && app.extensionManager.workflow.openWorkflows.length === 1")
        self.settle()

    def reload(self) -> ComfyPage:
        """What F5 does, some time after the last change: the page keeps a draft of the open workflow."""
        self.tab.wait_for_timeout(1000)
        self.tab.reload(wait_until="domcontentloaded")
        return self._until_ready()

    def _until_ready(self) -> ComfyPage:
        self.wait("() => window.app?.extensionManager?.spinner === false && Boolean(window.app.canvas?.graph)",
                  seconds=180)
        self.settle()
        return self

    def evaluate(self, script: str, argument: Any = None) -> Any:
        """Runs JavaScript in the page: an expression, or a function of `argument`; promises are awaited."""
        return self.tab.evaluate(script, argument)

    def wait(self, script: str, argument: Any = None, seconds: float = 30.0) -> Any:
        """Waits until JavaScript gives something true, and returns that; a promise is true at once."""
        return self.tab.wait_for_function(script, arg=argument, timeout=seconds * 1000).json_value()

    def note(self) -> None:
        """Makes a step of undo, as the page does after every gesture.

        To the step of one gesture the newest page adds whatever changes in the 50 ms after it; that time is waited for.
        """
        self.settle()
        self.evaluate("async () => { const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker; "
                      "tracker.captureCanvasState(); await tracker.squashState?.() }")

    def load(self, workflow: Mapping[str, Any]) -> None:
        """Opens a workflow, of the page's format or of the API's."""
        api = all(isinstance(node, Mapping) and "class_type" in node for node in workflow.values())
        self.evaluate("([workflow, api]) => api ? app.loadApiJson(workflow, 'test') : app.loadGraphData(workflow)",
                      [dict(workflow), api])
        self.note()

    def add(self, kind: str, x: float = 100, y: float = 100) -> int | str:
        """Adds a node of a type at a place of the canvas, and returns its id."""
        node = self.evaluate("([kind, x, y]) => { const node = LiteGraph.createNode(kind); node.pos = [x, y]; "
                             "app.graph.add(node); return node.id }", [kind, x, y])
        self.note()
        return node

    def connect(self, source: int | str, output: int | str, target: int | str, name: int | str) -> None:
        """Links an output, by name or number, to an input of another node."""
        self.evaluate("([source, output, target, name]) => app.graph.getNodeById(source).connect(output, "
                      "app.graph.getNodeById(target), name)", [source, output, target, name])
        self.note()

    def set_widget(self, node: int | str, name: str, value: Any) -> None:
        """Sets a widget as its own control does."""
        self.evaluate(
            "([id, name, value]) => { const node = app.graph.getNodeById(id); "
            "const widget = node.widgets.find((widget) => widget.name === name); "
            "const before = widget.value; widget.value = value; "
            "widget.callback?.(widget.value, app.canvas, node, node.pos); "
            "node.onWidgetChanged?.(name, widget.value, before, widget); "
            "app.graph.setDirtyCanvas(true, true) }", [node, name, value])
        self.note()

    def widget(self, node: int | str, name: str) -> Any:
        """The value of a widget."""
        return self.evaluate("([id, name]) => app.graph.getNodeById(id).widgets.find((widget) => "
                             "widget.name === name).value", [node, name])

    def workflow(self) -> dict[str, Any]:
        """The open workflow as it would be saved."""
        return self.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")

    def prompt(self) -> dict[str, Any]:
        """The open workflow as it would be queued."""
        return self.evaluate("async () => (await app.graphToPrompt()).output")

    def queue(self, seconds: float = 120.0) -> None:
        """Presses Run, and waits until the server has done all."""
        self.start()
        self.until_idle(seconds)

    def start(self) -> None:
        """Presses Run."""
        self.evaluate("() => app.queuePrompt(0, 1)")

    def until_idle(self, seconds: float = 120.0) -> None:
        """Waits until nothing is queued or running."""
        deadline = time.monotonic() + seconds
        while any(self.evaluate("() => fetch('/queue').then((answer) => answer.json())").values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"ComfyUI did not finish within {seconds:g} seconds.")
            self.tab.wait_for_timeout(100)
        self.settle()

    def undo(self) -> None:
        """What Ctrl-Z does."""
        self.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")
        self.settle()

    def setting(self, name: str, value: Any) -> None:
        """Changes one of ComfyUI's settings in the page, such as ``Comfy.ColorPalette`` to ``light``."""
        self.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
        self.settle()

    def message(self, words: str) -> None:
        """Waits until one of the page's messages says these words."""
        self.wait("(words) => [...document.querySelectorAll('.p-toast-message, [data-testid=toast]')].some((told) => "
                  "told.innerText.includes(words))", words)  # in ComfyUI's own page, and in the newest

    def dismiss_messages(self) -> None:
        """Closes them all, in ComfyUI's own page and in the newest."""
        self.evaluate("() => { const { toast } = app.extensionManager; (toast.removeAll ?? toast.dismissAll)() }")

    def settle(self) -> None:
        """Lets the page draw."""
        self.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def screenshot(self, name: str, node: int | str | None = None, zoom: float = 1.0, margin: int = 40) -> Path:
        """Saves what is seen, or the surroundings of one node, as tests/artefacts/NAME.png."""
        clip = None
        if node is not None:
            self.evaluate(
                "([id, zoom]) => { const node = app.canvas.graph.getNodeById(id); app.canvas.ds.scale = zoom; "
                "app.canvas.ds.offset = [200 / zoom - node.pos[0], 150 / zoom - node.pos[1]]; "
                "app.canvas.setDirty(true, true) }", [node, zoom])
            self.settle()
            width, height = self.evaluate("(id) => [...app.canvas.graph.getNodeById(id).size]", node)
            title = 30 * zoom
            clip = {"x": 200 - margin, "y": 150 - title - margin, "width": min(width * zoom + 2 * margin, 1150),
                    "height": min(height * zoom + title + 2 * margin, 740)}
        ARTEFACTS.mkdir(exist_ok=True)
        path = ARTEFACTS / f"{name}-{self.renderer}.png"
        self.tab.screenshot(path=path, clip=clip)
        return path

    def complaints(self) -> list[str]:
        """Warnings, errors and exceptions since the page was opened, except those of a ComfyUI page by itself."""
        return [f"{kind}: {text} ({address})" for kind, text, address in self.console
                if not any(part in text or part in address for part in HOST_COMPLAINTS)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("warning", "error", "assert"):
            self.console.append((message.type, message.text, message.location.get("url", "")))

    def _on_exception(self, error: BrowserError) -> None:
        self.console.append(("exception", f"{error.message}\n{error.stack or ''}", ""))


# Parts of messages that ComfyUI's page writes without the pack too.
HOST_COMPLAINTS = (
    "the server responded with a status of 404",  # files of the user that are not there yet
    "The legacy queue/history menu is deprecated",
    "ComfyApp.open_maskeditor is deprecated",
    "ComfyApp graph accessed before initialization",
    "Invalid layout total size",
    "input.link is deprecated",
    "redirecting to root graph",  # a workflow that gets its id when the page is loaded again
    "[proxyWidgetMigration]",  # templates that an older page saved
    "[ExecutableNodeDTO.resolveOutput]",  # a bypassed node with no input of its output's type
    "Error loading model: HttpError",  # a template shows a 3D file that its last run made
    "Error loading model: Error: Failed to fetch model: 404",  # the same in another viewer of the host's
    "[appModeStore]",
    "LiteGraph addWidget(...) without a callback",
    "LiteGraph: duplicate subgraph ",  # ids of nodes or links: of templates with several subgraphs
    "api.comfy.org",  # says which pack a missing node is of
    "THREE.Clock",
    "GL Driver Message",
    "huggingface.co",  # the size of a template's model, which may not be asked for
)


def save_settings(url: str, renderer: str, theme: str) -> None:
    """Saves on the server what a page reads when it starts."""
    settings = {**_SETTINGS, "Comfy.VueNodes.Enabled": renderer == "nodes2", "Comfy.ColorPalette": theme}
    request = urllib.request.Request(f"{url}/settings", json.dumps(settings).encode(), method="POST",
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30):
        pass


@contextmanager
def comfy_page(browser: Browser, url: str, renderer: str = "classic", theme: str = "dark") -> Iterator[ComfyPage]:
    """ComfyUI's page at a server, in a new profile.

    Args:
        renderer: ``"classic"`` or ``"nodes2"``.
        theme: ``"dark"``, ``"light"`` or another of ComfyUI's palettes.
    """
    save_settings(url, renderer, theme)
    context = browser.new_context(viewport=SIZE, locale="en-US")
    try:
        page = ComfyPage(context.new_page(), url, renderer)
        page.tab.on("console", page._on_console)
        page.tab.on("pageerror", page._on_exception)
        yield page.open()
    finally:
        context.close()


class KeptPage:
    """The page of the last test, for the next one of the same server and renderer: to open one takes ten CPU seconds.

    No second one is kept: an idle page takes a seventh of a core.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._page: ComfyPage | None = None
        self._opened = ExitStack()

    def empty(self, url: str, renderer: str) -> ComfyPage:
        """The page at a server with an empty workflow and no complaints."""
        if self._page is not None and (self._page.url, self._page.renderer) == (url, renderer):
            save_settings(url, renderer, "dark")
            self._page.clear()
            self._page.console.clear()
        else:
            self.close()
            self._page = self._opened.enter_context(comfy_page(self._browser, url, renderer))
        return self._page

    def close(self) -> None:
        """Closes the page, so that the next test gets a new one."""
        self._page = None
        self._opened.close()
