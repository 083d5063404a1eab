"""A `fathom serve` of its own for a test: started on a free port of the loopback, stopped at the end."""
import pathlib
import re
import signal
import subprocess
import urllib.request


class RunningServer:
    """with RunningServer(program, "--max-num-seqs", "8") as server: ... server.url, server.model, server.pid"""

    def __init__(self, program, *flags):
        self.command = [str(program), "serve", "--port", "0", *map(str, flags)]
        if "--access-log" not in self.command:
            self.command += ["--access-log", "off"]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.match(r"(\S+) at (http://[\d.]+:(\d+)):", line)
        if not found:
            raise RuntimeError(f"{' '.join(self.command)} said '{line}' and ended with {self.process.wait(60)}")
        self.cache_tokens = int(re.search(r"a cache of (\d+)", line)[1])
        self.model, self.url, self.port, self.pid = found[1], found[2], int(found[3]), self.process.pid

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def resident_mb(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1e3

    def num_files(self):
        return len(list(pathlib.Path(f"/proc/{self.pid}/fd").iterdir()))

    def num_threads(self):
        return len(list(pathlib.Path(f"/proc/{self.pid}/task").iterdir()))

    def metrics(self):
        """Of /metrics without their labels; of several with one name the sum."""
        page = urllib.request.urlopen(self.url + "/metrics", timeout=60).read().decode()
        values = {}
        for name, value in re.findall(r"^([\w:]+)(?:\{[^}]*\})? ([\d.eE+-]+)$", page, re.M):
            values[name] = values.get(name, 0) + float(value)
        return values
