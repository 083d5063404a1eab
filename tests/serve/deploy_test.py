"""What deploy/ says fits the program: each metric that the dashboard asks for is in /metrics, the units and compose files are valid, the flags exist.

deploy_test.py PROGRAM: prints `ok NAME` or `FAIL NAME: why` a check.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

deploy = pathlib.Path(__file__).parents[2] / "deploy"
program = sys.argv[1]
failed = 0


def check(name, problems):
    global failed
    if problems:
        failed += 1
        print(f"FAIL {name}: {problems}")
    else:
        print("ok", name)


def metrics_page():
    server = subprocess.Popen([program, "serve", "--port", "0", "--memory-fraction", "0.1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = re.search(r"http://[\d.:]*\d", server.stdout.readline())[0]
        body = json.dumps({"prompt": "Hello", "max_tokens": 4}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/v1/completions", body)).read()
        return urllib.request.urlopen(f"{url}/metrics").read().decode()
    finally:
        server.terminate()
        server.wait(60)


def main():
    page = metrics_page()
    there = set(re.findall(r"^([\w:]+)(?:\{| )", page, re.M))
    dashboard = json.loads((deploy / "grafana/dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in re.findall(r"\b(?:vllm|fathom):\w+", query)}
    check("dashboard_asks_for_what_metrics_has", sorted(asked - there) if len(asked) > 10 else "too few queries")
    labels = {label for query in queries for label in re.findall(r"\{(\w+)=~", query)} | {"le", "finished_reason", "status"}
    check("dashboard_labels_exist", sorted(label for label in labels if f'{label}="' not in page))

    usage = subprocess.run([program, "serve", "--help"], capture_output=True, text=True).stdout
    flags = set()
    for name in ["Dockerfile", "fathom.service"]:
        for line in (deploy / name).read_text().splitlines():
            if "fathom-run" in line and "serve" in line:
                flags |= set(re.findall(r"--[\w-]+", line))
    check("flags_exist", sorted(flag for flag in flags if flag not in usage) if flags else "no flags found")

    if shutil.which("systemd-analyze"):
        with tempfile.TemporaryDirectory() as folder:  # the program need not be installed where the test runs
            unit = pathlib.Path(folder) / "fathom.service"
            unit.write_text((deploy / "fathom.service").read_text().replace("/opt/fathom/bin/fathom-run", "/bin/true"))
            run = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
            check("systemd_takes_the_unit", (run.stdout + run.stderr).strip() if run.returncode or run.stderr else "")
    for path in [deploy / "compose.yaml", deploy / "prometheus.yaml", *deploy.glob("grafana/provisioning/*/*.yaml")]:
        import yaml
        text = yaml.safe_load(path.read_text())
        check(f"{path.name}_is_yaml", "" if isinstance(text, dict) else "not a mapping")
    mounts = re.findall(r"- \"?\./(?!models)([\w./]+):", (deploy / "compose.yaml").read_text()) + re.findall(r'\["\./([\w./]+):', (deploy / "compose.yaml").read_text())
    check("compose_mounts_exist", sorted(mount for mount in mounts if not (deploy / mount).exists()) if mounts else "no mounts found")
    return failed > 0


sys.exit(main())
