"""`dept-vl serve` as a process: flags, sockets, SIGTERM."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from dept_vl import cli
from tests.serve.http.conftest import as_base64, png

REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS = 120  # until a loaded machine has imported torch


@pytest.fixture
def process(save, t5_folder, tmp_path):
    """The server of a tiny adapter, and its port."""
    (tmp_path / "token").write_text("secret\n")
    flags = ["--adapter", f"dept={save('dept')}", "--adapter", f"pt={save('pt', seed=1)}", "--backbone", str(t5_folder)]
    flags += ["--port", "0", "--token-file", str(tmp_path / "token"), "--max-wait", "1000", "--max-body", "100000"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "dept_vl", "serve", *flags]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as running:
        lines = []
        for line in running.stderr:
            lines.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail("".join(lines))
        rest = threading.Thread(target=lambda: lines.extend(running.stderr))
        rest.start()
        try:
            yield running, int(found[1]), lines
        finally:
            running.kill()
            rest.join(SECONDS)


def ask(port, method, path, body=None, token="secret"):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_a_process_answers_several_clients_and_drains(process, load, save):
    running, port, lines = process
    assert ask(port, "GET", "/readyz") == (200, {"status": "ready"})
    assert ask(port, "GET", "/v1/models", token="no")[0] == 401
    assert [each["id"] for each in ask(port, "GET", "/v1/models")[1]["data"]] == ["dept", "pt"]
    model = load(save("dept"), adapter_name="dept")
    model.load_adapter(save("pt", seed=1), adapter_name="pt")
    wanted = [model.answer([png(seed)], ["what shape"], [name]) for seed, name in ((0, "dept"), (1, "pt"))]

    too_long = socket.create_connection(("127.0.0.1", port))  # says nothing of its length and goes on
    head = "POST /v1/answer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer secret\r\n"
    too_long.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    for _ in range(3):
        too_long.sendall(b"C350\r\n" + b" " * 0xC350 + b"\r\n")
    assert too_long.recv(100).startswith(b"HTTP/1.1 413")
    too_long.close()

    idle = socket.create_connection(("127.0.0.1", port))  # a connection that asks nothing holds up no end
    answers = {}

    def asking(seed, name):
        rows = [{"adapter_id": name, "question": "what shape", "image": as_base64(png(seed))}]
        answers[seed] = ask(port, "POST", "/v1/answer", {"rows": rows})

    clients = [threading.Thread(target=asking, args=pair) for pair in ((0, "dept"), (1, "pt"))]
    for each in clients:
        each.start()
    time.sleep(0.3)  # they wait a second for others to share their batch
    running.send_signal(signal.SIGTERM)
    for each in clients:
        each.join(SECONDS)
    assert [answers[seed] for seed in (0, 1)] == [(200, {"answers": each}) for each in wanted]
    assert running.wait(SECONDS) == 0
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    assert "Traceback" not in "".join(lines) and "secret" not in "".join(lines)


WRONG = {
    "no adapter": ([], "--adapter"),
    "no name": (["--adapter", "folder"], "--adapter: wanted NAME=FOLDER, given 'folder'"),
    "a name twice": (["--adapter", "a=b", "--adapter", "a=c"], "--adapter: wanted names that differ"),
    "no folder": (["--adapter", "a=none"], "none: wanted a folder with adapter_config.json"),
    "no root": (["--adapter", "a=none", "--image-root", "none"], "--image-root: wanted a folder, given none"),
    "no rows": (["--adapter", "a=none", "--max-rows", "0"], "rows: wanted a number above 0, given 0"),
    "more rows than wait": (["--adapter", "a=none", "--max-queue", "9"], "rows: wanted at most 9"),
    "no token": (["--adapter", "a=none", "--token-file", "empty"], "wanted a token, given an empty one"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_flags_end_in_one_plain_line(case, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_text("\n")
    flags, message = WRONG[case]
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", *flags])
    assert ended.value.code != 0
    assert message in capsys.readouterr().err + str(ended.value.code)
