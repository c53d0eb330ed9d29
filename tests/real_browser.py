"Chromium without a window, and a JupyterLab for it to open. A machine without Chromium fails these tests: they are not skipped."
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

from built import ROOT, make_python
from processes import environment, free_port

ARTEFACTS = ROOT/".ci-artifacts" # what continuous integration keeps: pictures of what was seen
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()
AXE = ROOT/"tests"/"front_end"/"node_modules"/"axe-core"/"axe.min.js" # see `front_end_tools.install`
COLAB = ("ipywidgets==7.7.1", "ipython==7.34.0", "ipykernel==6.17.1", "jupyterlab_widgets<3") # what Colab has

# Called with an element: whether it begins inside the part of the notebook that is in sight
IN_SIGHT = """e => {
  const r = e.getBoundingClientRect(), window = e.closest('.jp-WindowedPanel-outer, .jp-Notebook').getBoundingClientRect();
  return e.offsetParent !== null && r.height > 0 && r.top >= window.top - 2 && r.top + Math.min(r.height, 40) <= window.bottom + 2 }"""

# Called with an element: pictures in it whose shape on the page is not that of their files
SQUASHED = """root => [...root.querySelectorAll('img')].filter(i => i.offsetParent && i.naturalWidth).filter(i => {
  const kept = ['contain', 'scale-down', 'cover'].includes(getComputedStyle(i).objectFit);
  return !kept && Math.abs(i.clientWidth*i.naturalHeight/(i.clientHeight*i.naturalWidth) - 1) > .03 }).map(i => [i.clientWidth, i.clientHeight, i.naturalWidth, i.naturalHeight].join())"""

# Called with an element: how many broken links ipywidgets draws in it
BROKEN = """root => [root, ...root.querySelectorAll('.jupyter-widgets-disconnected')].filter(e => {
  const mark = getComputedStyle(e, '::before');
  return e.offsetParent && e.classList.contains('jupyter-widgets-disconnected') && !['none', 'normal'].includes(mark.content) && mark.display !== 'none' }).length"""

# Called with an element: all texts in it that can be seen, each with its contrast to what is behind it
CONTRAST = """root => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = color => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3]/255] };
  const over = (top, below) => top.slice(0, 3).map((c, i) => c*top[3] + below[i]*(1 - top[3]));
  const behind = e => { const own = rgba(getComputedStyle(e).backgroundColor); return own[3] >= 1 || !e.parentElement ? own.slice(0, 3) : over(own, behind(e.parentElement)) };
  const luminance = c => c.map(v => (v /= 255) <= .03928 ? v/12.92 : ((v + .055)/1.055)**2.4).reduce((s, v, i) => s + v*[.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + .05)/(y + .05) };
  const found = [];
  for (const e of root.querySelectorAll('*')) {
    const said = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join(' ').trim() || (e.matches('input,select') ? e.value || e.placeholder || '' : '');
    if (!said || !e.offsetParent || e.matches('option,script,style')) continue;
    const below = behind(e), styles = e.matches('input') && !e.value ? [getComputedStyle(e, '::placeholder')] : [getComputedStyle(e)];
    for (const s of styles) found.push([ratio(over(rgba(s.color), below), below), said.slice(0, 40), s.color, below.join()]);
  }
  return found }"""


def find_chromium():
    "Path of an installed Chromium or Chrome."
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "these tests need Chromium: apt-get install chromium"
    return found

@contextlib.contextmanager
def open_browser():
    "Chromium, driven by Playwright; closed at the end, since its event loop is in the way of other tests."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        try: yield browser
        finally: browser.close()

def take_picture(page, name):
    "Keep what a page shows, for people."
    ARTEFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTEFACTS/f"{name}.png")


def make_colab_python(folder):
    "A Python whose notebook packages are as old as Colab's; everything else, JupyterLab too, comes from this one."
    python = make_python(folder, "--without-pip")
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *COLAB], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


class Lab:
    "A JupyterLab on this machine alone, with folders of its own."
    def __init__(self, folder, name, python=sys.executable, **variables):
        self.folder, self.name, self.python, self.token = Path(folder), name, python, secrets.token_hex(16)
        (self.folder/"notebooks").mkdir(parents=True)
        self.url = f"http://127.0.0.1:{free_port()}"
        names = dict(JUPYTER_CONFIG_DIR="config", JUPYTER_DATA_DIR="data", JUPYTER_RUNTIME_DIR="runtime", JUPYTERLAB_SETTINGS_DIR="settings", JUPYTERLAB_WORKSPACES_DIR="workspaces", IPYTHONDIR="ipython")
        places = {name: str(self.folder/sub) for name, sub in names.items()}
        given = environment(**variables)
        given |= {**places, "PYTHONPATH": os.pathsep.join((str(ROOT), given["PYTHONPATH"])), "CUDA_VISIBLE_DEVICES": "", "JUPYTER_PREFER_ENV_PATH": "1"}
        options = dict(port=self.url.rpartition(":")[2], root_dir=self.folder/"notebooks", open_browser=False, allow_root=True, port_retries=0)
        command = [python, "-m", "jupyterlab", *(f"--ServerApp.{k}={v}" for k, v in options.items()), f"--IdentityProvider.token={self.token}", "--LabApp.expose_app_in_browser=True",
                   f"--LabApp.app_dir={sysconfig.get_path('data')}/share/jupyter/lab"]
        quiet = self.folder/"settings"/"@jupyterlab"/"apputils-extension"/"notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        quiet.write_text(json.dumps(dict(fetchNews="false", checkForUpdates=False, doNotDisturbMode=True)))
        self.log = (self.folder/"log").open("w")
        self.process = subprocess.Popen(list(map(str, command)), env=given, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True)

    def wait(self, seconds=120):
        "Until it answers."
        limit = time.monotonic() + seconds
        while True:
            assert self.process.poll() is None and time.monotonic() < limit, (self.folder/"log").read_text()[-3000:]
            try: return urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=5).read()
            except OSError: time.sleep(0.1)

    def close(self):
        self.process.send_signal(signal.SIGTERM) # it ends its kernels
        try: self.process.wait(20)
        except subprocess.TimeoutExpired: os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


class NotebookPage:
    "A notebook opened in JupyterLab. `js` sees it as `notebook`, and its panel as `panel`."
    def __init__(self, browser, lab, scale=1):
        self.lab, self.page = lab, browser.new_page(viewport=dict(width=1000, height=900), device_scale_factor=scale)
        self.page.set_default_timeout(60_000)

    def js(self, code, argument=None):
        "Run JavaScript with the notebook at hand."
        return self.page.evaluate("(argument) => { const app = window.jupyterapp, panel = app.shell.currentWidget, notebook = panel.content; " + code + " }", argument)

    def wait(self, condition, what="", seconds=60):
        "Until some JavaScript is true."
        limit = time.monotonic() + seconds
        while not self.js(f"return Boolean({condition})"):
            if time.monotonic() > limit:
                take_picture(self.page, "waited-in-vain")
                raise AssertionError(f"waited in vain for {what or condition}")
            self.page.wait_for_timeout(50)

    def open(self, name, kernel=True):
        "Open a notebook of the lab's folder and show nothing else; with its kernel ready, or without one."
        if not kernel:
            self.page.route("**/api/kernelspecs*", lambda route: route.fulfill(json=dict(default="", kernelspecs={})))
            self.page.route("**/api/sessions*", lambda route: route.fulfill(json=[]) if route.request.method == "GET" else route.abort())
        self.page.goto(f"{self.lab.url}/lab/tree/{name}?reset&token={self.lab.token}")
        self.page.wait_for_function("window.jupyterapp && jupyterapp.shell.currentWidget && jupyterapp.shell.currentWidget.content.widgets", timeout=60_000)
        if kernel: self.wait("panel.sessionContext.session && panel.sessionContext.session.kernel && panel.sessionContext.session.kernel.connectionStatus === 'connected'", "a kernel", 60)
        else: self.page.locator(".jp-Dialog button.jp-mod-accept").click() # it asks for a kernel
        self.js("app.shell.collapseLeft(); if (app.shell.collapseRight) app.shell.collapseRight(); app.shell.mode = 'single-document'")
        if kernel: self.page.wait_for_function("jupyterapp.shell.currentWidget.sessionContext.session.kernel.info.then(() => true)")

    def run_cell(self, number):
        "Run a cell, and return at once."
        self.js("notebook.activeCellIndex = argument; notebook.deselectAll(); app.commands.execute('notebook:run-cell')", number)

    def count(self, number): return self.js("return notebook.widgets[argument].model.executionCount", number)
    def done(self, number, seconds=60):
        "Wait until a cell has run."
        self.wait(f"notebook.widgets[{number}].model.executionState !== 'running' && notebook.widgets[{number}].model.executionCount", f"cell {number}", seconds)

    def settle(self):
        "Wait until what was clicked has been answered and drawn: the kernel takes its messages in turn, and many may come of one click."
        self.js("return panel.sessionContext.session.kernel.requestExecute({code: '', silent: true}).done.then(() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn))))")

    def ask(self, code):
        "What some code prints in the kernel, after everything that was clicked before."
        return self.js("""return new Promise(done => {
            const future = panel.sessionContext.session.kernel.requestExecute({code: argument, store_history: false});
            let text = '';
            future.onIOPub = m => { if (m.header.msg_type === 'stream') text += m.content.text; if (m.header.msg_type === 'error') text += m.content.traceback.join('\\n') };
            future.done.then(() => requestAnimationFrame(() => requestAnimationFrame(() => done(text))));
        })""", code).strip()

    def restart(self):
        "Restart the kernel; what it knew is gone."
        self.js("return panel.sessionContext.session.kernel.restart()")
        self.wait("panel.sessionContext.session.kernel.connectionStatus === 'connected' && panel.sessionContext.session.kernel.status === 'idle'", "a kernel")

    def find_faults(self, part):
        "What axe-core finds in an element: rule, how bad, and the first place."
        if not self.page.evaluate("Boolean(window.axe)"): self.page.evaluate(AXE.read_text())
        return part.evaluate("async e => (await axe.run(e)).violations.map(v => `${v.id} (${v.impact}, ${v.nodes.length}): ${v.nodes[0].html.slice(0, 200)}`)")

    def text(self, number): return self.cell(number).locator(".jp-OutputArea").inner_text()
    def cell(self, number): return self.page.locator(".jp-Notebook .jp-Cell").nth(number)
    def save(self): self.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    def theme(self, name): self.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
