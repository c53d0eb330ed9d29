"""What the progress widget costs: the sample is evaluated in a real kernel, with the widget and without, in turns.

    python benchmarks/progress.py [--rounds 5] [--limit 1093] [--device cpu]

Prints, as JSON: the ratios of the answering times with the widget to those without, by the wall clock and in processor
time of the kernel (median, and each round: on a busy machine they scatter); the share of the answering time that was
spent in the display itself (measured inside the same runs, so that it scatters less); milliseconds for showing the
widget, once; microseconds per update.
"""
import argparse
import json

CODE = """
import json, statistics, tempfile, time
from beit3_colab import evaluate, load_model
from beit3_colab.progress.display import Display
from beit3_colab.progress.snapshot import Rank, Snapshot, TypeAccuracy
from beit3_colab.progress.widget import WidgetDisplay
from dataclasses import replace

class Timed:
    def __init__(self): super().__init__(); self.spent, self.updates, self.opening, self.cpu = 0., 0, 0., 0.
    def begin(self, run):
        before = time.perf_counter()
        super().begin(run)
        self.opening = time.perf_counter() - before
    def show(self, snapshot, final=False):
        if snapshot.state != "running": return super().show(snapshot, final)
        before = time.perf_counter()
        if not self.cpu: self.cpu = -time.process_time()
        super().show(snapshot, final)
        self.spent += time.perf_counter() - before
    def draw(self, snapshot, final):
        self.updates += snapshot.state == "running"
        super().draw(snapshot, final)
    def end(self, state, error=""):
        self.cpu += time.process_time() # the summary comes after the answers
        super().end(state, error)
class TimedWidget(Timed, WidgetDisplay): pass
class TimedSilence(Timed, Display): pass

vqa = load_model("sample", device={device!r})
def answering(kind):
    display = kind()
    with tempfile.TemporaryDirectory() as folder:
        run = evaluate(vqa, limit={limit}, output_dir=folder, progress=display)
        return run.report().seconds["answering"], display
answering(TimedSilence); answering(TimedWidget) # warm
walls, cpus, shares, openings, updates = [], [], [], [], 0
for i in range({rounds}):
    order = (TimedSilence, TimedWidget) if i % 2 else (TimedWidget, TimedSilence)
    found = {{kind: answering(kind) for kind in order}}
    (wall, display), (plain_wall, plain) = found[TimedWidget], found[TimedSilence]
    walls.append(wall/plain_wall)
    cpus.append(display.cpu/plain.cpu)
    shares.append(display.spent/wall)
    openings.append(1000*display.opening)
    updates += display.updates

types = tuple(TypeAccuracy(n, 70., (65., 75.)) for n in ("yes/no", "number", "other"))
ranks = tuple(Rank(r, 12500 + r, 26794, 250., 0.1) for r in range(8))
moment = Snapshot(214354, 100000, 0, 100., 71.2, (68.1, 74.3), ("cuda:0 ran out of memory",), types, 10**9, 10**10,
                  ranks, tuple(float(i % 7) for i in range(60)))
display = WidgetDisplay()
display.show(moment)
def each(what, n=300):
    begin = time.perf_counter()
    for i in range(n): what(replace(moment, done=i, seconds=i/3))
    return round(1e6*(time.perf_counter() - begin)/n, 1)
display.interval = display.detail_interval = 0.
full = each(display.show)
display.detail_interval = 1e9
head = each(display.show)
display.interval = 1e9
skipped = each(display.show)
display.end("stopped"); display.close()
def many(values, digits):
    return dict(median=round(statistics.median(values), digits), rounds=[round(v, digits) for v in values])
print(json.dumps(dict(
    wall_ratio=many(walls, 4),
    processor_ratio=many(cpus, 4),
    share_in_display=many(shares, 5),
    opening_ms=many(openings, 1),
    updates=updates,
    microseconds=dict(update_with_details_of_8_ranks=full, update=head, throttled_call=skipped),
)))
"""

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in ("rounds", 5), ("limit", 1093): parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    import nbformat
    from nbclient import NotebookClient
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE.format(**vars(args)))])
    NotebookClient(book, timeout=3600, kernel_name="python3", store_widget_state=False).execute()
    text, = [o["text"] for o in book.cells[0]["outputs"] if o["output_type"] == "stream" and o["name"] == "stdout"]
    print(json.dumps(json.loads(text), indent=1))

if __name__ == "__main__": main()
