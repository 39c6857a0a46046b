"""`erprm serve` as a real process: the scorer's own scores for everyone, clear refusals, a stop that loses nothing."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import tiny
from serving.browser import Browser, chromium

from erprm.cli import main
from erprm.errors import InputError
from erprm.policy.crediting import MODES
from erprm.policy.reward import PRMReward
from erprm.prm.model import PRM
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec
from erprm.rows import StepRow, write_rows
from erprm.selection.aggregate import AGGREGATIONS, deciding_step
from erprm.serving.batcher import Batcher
from erprm.serving.client import PRMClient
from erprm.steps import split_steps

CLIENTS = 64


@pytest.fixture(scope="module")
def prm(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "prm"
    PRM.from_base(str(model_dir), tiny.tokenizer(), PRMSpec()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@contextlib.contextmanager
def served(prm: Path, *options: str, host: str = "127.0.0.1") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    process = subprocess.Popen([sys.executable, "-m", "erprm", "serve", "--model", str(prm), "--port", "0", "--host",
                                host, *options],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith(f"http://{host}:"), process.communicate()  # the name that was asked for
        yield address, process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def service(prm: Path) -> Iterator[str]:
    with served(prm, "--max-body-mb", "0.2", "--max-steps", "500") as (address, process):
        yield address
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "stopped" in out
        assert "Traceback" not in err


def post(address: str, path: str, body: Any, kind: str = "application/json") -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
    data = body if isinstance(body, (bytes, type(iter([])))) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": kind})
    with connection.getresponse() as answer:
        return answer.status, json.loads(answer.read())


def texts_of(client: int) -> list[tuple[str, list[str]]]:
    """Different for every client, of different lengths."""
    return [(f"{client}+{item}?", [f"{client}+{item}={step}" for step in range(1 + (client + item) % 4)])
            for item in range(3)]


def test_64_clients_at_once_get_the_scorers_scores(service: str, prm: Path) -> None:
    scorer = PRMScorer(str(prm))
    expected = [scorer.score(texts_of(client)) for client in range(CLIENTS)]
    before = json.loads(_get(service, "/health"))
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(lambda client: PRMClient(service).score(texts_of(client)), range(CLIENTS)))
    for ours, theirs in zip(found, expected, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    health = json.loads(_get(service, "/health"))
    assert health["status"] == "ok"
    assert health["answered"] - before["answered"] == CLIENTS
    assert health["busy"] == 0


def _get(address: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.request("GET", path)
    with connection.getresponse() as answer:
        assert answer.status == 200
        return answer.read()


@pytest.mark.parametrize("mode", MODES)
def test_rewards_are_those_of_the_reward_function(mode: str, service: str, prm: Path) -> None:
    texts = ["3*4=12\n2+12=14", "2+3=5\n5*4=20\n5*4=20", " ", f"a{tiny.TAG}b"]
    options = {"mode": mode, "repeat_penalty": 0.125, "outcome_weight": 0.25, "normalise": mode == "softmin"}
    outcomes = [1.0, 0.0, 0.0, 0.0]
    local = PRMReward(str(prm), outcome=lambda **columns: outcomes, **options)
    expected = local.rewarded(["2+3*4?"] * 4, texts)
    status, answer = post(service, "/rewards", {**options, "solutions": [
        {"question": "2+3*4?", "solution": text, "outcome": outcome}
        for text, outcome in zip(texts, outcomes, strict=True)]})
    assert status == 200
    for item, theirs in zip(answer["solutions"], expected, strict=True):
        np.testing.assert_allclose(item["rewards"], theirs.rewards, atol=1e-5)
        assert item["reward"] == pytest.approx(float(theirs.rewards.sum()), abs=1e-5)
        assert tuple(item["ends"]) == theirs.ends
    assert [item["scores"] is None for item in answer["solutions"]] == [False, False, True, True]
    assert "tag" in answer["solutions"][3]["unread"]
    assert "unread" not in answer["solutions"][2]


def test_a_remote_model_is_a_reward(service: str, prm: Path) -> None:
    texts = ["3*4=12\n2+12=14", f"a{tiny.TAG}b", "2+3=5"]
    local, remote = PRMReward(str(prm), mode="shaping"), PRMReward(PRMClient(service, batch_steps=2), mode="shaping")
    np.testing.assert_allclose(remote(["q"] * 3, texts), local(["q"] * 3, texts), atol=1e-6)
    assert (remote.report.scored, remote.report.refused) == (2, 1)


GOOD = {"question": "1+1?", "steps": ["2"]}


@pytest.mark.parametrize(("path", "body", "status", "words"), [
    ("/score", b"{", 400, "body: expected a JSON object"),
    ("/score", b"\xff", 400, "body: expected a JSON object"),
    ("/score", b"[" * 100_000, 400, "body: expected a JSON object"),
    ("/score", b'{"solutions": [{"question": "\\ud800", "steps": ["a"]}]}', 400, "surrogate"),
    ("/score", [1], 400, "body: expected a JSON object, found list"),
    ("/score", {}, 400, "solutions: expected a list of at least one, found none"),
    ("/score", {"solutions": [], "splitter": "newline"}, 400, "found an empty list"),
    ("/score", {"solutions": [GOOD], "mode": "min"}, 400, "mode: unknown field; known are solutions, splitter"),
    ("/score", {"solutions": [GOOD, 3]}, 400, "solutions[1]: expected an object, found a number"),
    ("/score", {"solutions": [{"steps": ["2"]}]}, 400, "solutions[0].question: expected text, found none"),
    ("/score", {"solutions": [{"question": "q"}]}, 400, "expected a solution or its steps, found none"),
    ("/score", {"solutions": [{**GOOD, "solution": "2"}]}, 400, "expected a solution or its steps, found both"),
    ("/score", {"solutions": [{"question": "q", "steps": [1]}]}, 400, "solutions[0].steps: expected a list of texts"),
    ("/score", {"solutions": [{"question": "q", "solution": "a"}], "splitter": "x"}, 400, "splitter: expected one of"),
    ("/score", {"solutions": [GOOD, {"question": "q", "steps": []}]}, 422, "solutions[1]: expected at least one step"),
    ("/score", {"solutions": [GOOD, {"question": "q", "steps": [f"a{tiny.TAG}"]}]}, 422, "solutions[1]: "),
    ("/score", {"solutions": [GOOD, {"question": "q", "steps": ["x" * 5000]}]}, 422, "solutions[1]: expected at most"),
    ("/score", {"solutions": [{"question": "q", "steps": ["a"] * 501}]}, 413, "most 500 steps in a request, found 501"),
    ("/score", {"solutions": [{"question": "q", "steps": ["x" * 300_000]}]}, 413, "body: expected at most 0.2 MB"),
    ("/rewards", {"solutions": [GOOD], "mode": "sum"}, 400, "mode: expected one of"),
    ("/rewards", {"solutions": [GOOD], "temperature": "hot"}, 400, "temperature: expected float, found text"),
    ("/rewards", {"solutions": [GOOD], "temperature": 0}, 400, "temperature: expected more than 0"),
    ("/rewards", {"solutions": [GOOD], "outcome_weight": 0.5}, 400, "solutions[0].outcome: expected a number"),
    ("/rewards", {"solutions": [{**GOOD, "outcome": True}]}, 400, "solutions[0].outcome: expected a finite number"),
    ("/none", {}, 404, "POST /none: Not Found"),
    ("/health", {}, 405, "POST /health: Method Not Allowed"),
])
def test_bad_requests_are_one_clear_line(path: str, body: Any, status: int, words: str, service: str) -> None:
    got, answer = post(service, path, body)
    assert got == status, answer
    assert list(answer) == ["error"]
    assert words in answer["error"]
    assert "\n" not in answer["error"]


def test_a_body_of_unknown_length_is_limited_too_and_other_sites_pages_cannot_send_any(service: str) -> None:
    status, answer = post(service, "/score", iter([b"x" * 50_000] * 10))  # in chunks
    assert (status, answer["error"]) == (413, "body: expected at most 0.2 MB, found 0.5 MB")
    status, answer = post(service, "/score", {"solutions": [GOOD]}, kind="text/plain")
    assert (status, answer["error"]) == (415, "content-type: expected application/json, found text/plain")
    connection = http.client.HTTPConnection(service.removeprefix("http://"))
    connection.request("GET", "/health", headers={"Host": "somewhere.example"})
    assert connection.getresponse().status == 400


class Held:
    """A scorer that waits until it may score, and notes what came together."""

    def __init__(self) -> None:
        self.begun, self.go = Event(), Event()
        self.batches: list[int] = []

    def score(self, texts: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        self.begun.set()
        assert self.go.wait(60)
        self.batches.append(len(texts))
        if any("bad" in steps for _, steps in texts):
            raise InputError("row 1: bad")
        if any("bug" in steps for _, steps in texts):
            raise RuntimeError("a bug")
        return [np.full(len(steps), len(question) / 10) for question, steps in texts]


def test_what_waits_is_scored_together_and_each_gets_its_own() -> None:
    scorer = Held()
    with Batcher(scorer, batch_steps=6) as batcher:  # type: ignore[arg-type]
        first = batcher.submit([("q", ["a"])])
        assert scorer.begun.wait(60)
        waiting = [batcher.submit([("q" * length, ["a"] * 2)]) for length in range(2, 6)]
        unwanted = batcher.submit([("q", ["bad"])])
        assert unwanted.cancel()
        bad = batcher.submit([("q", ["bad"]), ("qq", ["a"])])
        scorer.go.set()
        assert [float(job.result(60)[0][0]) for job in (first, *waiting)] == [0.1, 0.2, 0.3, 0.4, 0.5]
        error, good = bad.result(60)
        assert isinstance(error, InputError)
        assert good.tolist() == [0.2]
        broken = batcher.submit([("q", ["bug"])])
        with pytest.raises(RuntimeError, match="a bug"):
            broken.result(60)
        assert batcher.submit([("qqq", ["a"])]).result(60)[0].tolist() == [0.3], "the next batch is scored again"
    assert scorer.batches[:2] == [1, 3]


def takes_connections(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=60).close()
    except OSError:
        return False
    return True


def test_too_many_requests_are_told_to_come_again_and_a_stop_answers_those_that_run(prm: Path) -> None:
    body = json.dumps({"solutions": [GOOD]}).encode()
    head = (f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode()
    with served(prm, "--max-requests", "1", host="localhost") as (address, process):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as slow:
            slow.sendall(head + body[:5])
            while json.loads(_get(address, "/health"))["busy"] != 1:
                pass
            status, answer = post(address, "/score", {"solutions": [GOOD]})
            assert (status, "come again" in answer["error"]) == (503, True)
            process.send_signal(signal.SIGTERM)
            while takes_connections(host, int(port)):
                pass
            slow.sendall(body[5:])
            answer = slow.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"scores":[' in answer
        assert process.wait(60) == 0


def test_an_address_that_is_taken_is_one_line(prm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--model", str(prm), "--port", str(taken.getsockname()[1])]) == 2
    assert "expected an address to listen at, found" in capsys.readouterr().err.splitlines()[-1]


def test_a_client_without_a_service_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="expected erprm serve to answer"):
        PRMClient(f"http://127.0.0.1:{port}").score([("q", ["a"])])


def test_the_deciding_step() -> None:
    scores = [0.9, 0.2, 0.4, 0.2]
    assert {how: deciding_step(scores, how) for how in AGGREGATIONS} == {
        "min": 1, "last": 3, "product": 1, "mean": 1, "max": 0, "soft_min": 1}


ROWS = [StepRow(f"problem {problem}?", ("one", "two <b>", "three")[: 2 + sample % 2], outcome=float(sample == 1),
                problem_id=f"p{problem}", answer=str(sample), gold="1",
                scores=tuple([0.9, 0.1 + 0.2 * sample, 0.8][: 2 + sample % 2]))
        for problem in range(3) for sample in range(4)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with chromium(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


STEPS = "[...document.querySelectorAll('.step')]"


def test_a_person_pastes_two_solutions(browser: Browser, service: str, prm: Path) -> None:
    """The page in a real browser: every step with the model's score, the weakest one marked, the other one beside."""
    texts = ["3*4=12\n2+12=14\n<img src=x>", "2+3=5\n5*4=20"]
    scores = PRMScorer(str(prm)).score([("2+3*4?", split_steps(text)) for text in texts])
    best = int(np.argmax([part.min() for part in scores]))
    browser.requested.clear()
    browser.visit(f"{service}/")
    browser.run("document.getElementById('more').click()")
    browser.run(f"""{{ const texts = {json.dumps(texts)}; document.getElementById('question').value = '2+3*4?';
        document.querySelectorAll('textarea.solution').forEach((field, index) => field.value = texts[index]);
        document.getElementById('score').click(); }}""")
    browser.until(f"{STEPS}.length && document.body.dataset.state === 'ready'")

    def shown(solution: int) -> None:
        written = browser.run(f"{STEPS}.map(item => item.querySelector('.text').textContent)")
        assert written == split_steps(texts[solution])
        values = browser.run(f"{STEPS}.map(item => Number(item.querySelector('.value').textContent))")
        np.testing.assert_allclose(values, scores[solution], atol=0.005 + 1e-6)
        assert browser.run(f"{STEPS}.findIndex(item => item.classList.contains('decides'))") == int(
            np.argmin(scores[solution]))

    shown(best)
    assert browser.run("document.querySelectorAll('aside button').length") == 2
    browser.run("document.querySelectorAll('aside button')[1].click()")
    shown(1 - best)
    assert browser.run("document.querySelectorAll('article img').length") == 0, "a solution is text, never markup"
    browser.until("document.getElementById('state').textContent.endsWith('answered')")
    assert {address.rpartition("/")[0] for address in browser.requested} == {service}, "nothing from outside"


def test_a_person_opens_a_scored_file(browser: Browser, service: str, tmp_path: Path) -> None:
    write_rows(tmp_path / "scored.parquet", [*ROWS, StepRow("unscored?", ("one",))])
    browser.visit(f"{service}/?file")
    browser.choose_file("#file", tmp_path / "scored.parquet")
    browser.until(f"{STEPS}.length && document.body.dataset.state === 'ready'")
    assert browser.run("document.getElementById('note').textContent") == (
        "scored.parquet: 12 solutions to 3 problems; 1 rows have no scores and are left out")
    listed = "[...document.querySelectorAll('aside button b')].map(item => item.textContent)"
    assert browser.run(listed) == ["0.70", "0.50", "0.30", "0.10"]
    assert browser.run("[...document.querySelectorAll('aside .mark')].map(item => item.textContent)") == [
        "wrong", "wrong", "right", "wrong"]
    browser.run("{ const how = document.getElementById('how'); how.value = 'last'; how.onchange(); }")
    assert browser.run(listed) == ["0.80", "0.80", "0.50", "0.10"]
    browser.run("document.getElementById('behind').click()")
    assert browser.run("document.getElementById('asked').textContent") == "problem 1?"
    browser.run("{ const find = document.getElementById('find'); find.value = 'PROBLEM 2'; find.oninput(); }")
    assert browser.run("document.getElementById('place').textContent") == "1 of 1"
    assert browser.run("document.getElementById('asked').textContent") == "problem 2?"


def test_intervals_are_served_and_drawn(model_dir: Path, browser: Browser, tmp_path: Path) -> None:
    """A model that learnt its concentration says how sure it is, in the answer and beside each step."""
    spec = PRMSpec(loss="beta_binomial", concentration="learnt")
    PRM.from_base(str(model_dir), tiny.tokenizer(), spec).save_pretrained(tmp_path / "sure")
    tiny.tokenizer().save_pretrained(tmp_path / "sure")
    [expected] = PRMScorer(str(tmp_path / "sure"), every=True).score([("1+1?", ["a", "b"])])
    asked = {"solutions": [{"question": "1+1?", "solution": "a\nb"}]}
    with served(tmp_path / "sure") as (address, _):
        [answer] = post(address, "/score", asked)[1]["solutions"]
        found = np.column_stack([answer[name] for name in ("scores", "score_low", "score_high")])
        np.testing.assert_allclose(found, expected, atol=1e-6)
        [paid] = post(address, "/rewards", {**asked, "mode": "steps"})[1]["solutions"]
        np.testing.assert_allclose(paid["rewards"], expected[:, 0], atol=1e-6)
        np.testing.assert_allclose(PRMClient(address).score([("1+1?", ["a", "b"])])[0], expected[:, 0], atol=1e-6)
        browser.visit(f"{address}/")
        browser.run("""{ document.getElementById('question').value = '1+1?';
            document.querySelector('textarea.solution').value = 'a\\nb'; document.getElementById('score').click(); }""")
        browser.until(f"{STEPS}.length === 2")
        widths = browser.run(f"{STEPS}.map(item => parseFloat(item.querySelector('.gauge u').style.width))")
        np.testing.assert_allclose(widths, 100 * (expected[:, 2] - expected[:, 1]), atol=1e-3)
        said = browser.run(f"{STEPS}.map(item => item.querySelector('small').textContent)")
        assert said[0] == f"{expected[0, 1]:.2f} to {expected[0, 2]:.2f}"


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_scores_and_text_is_readable_by_day_and_night(dark: bool, browser: Browser, service: str,
                                                                    tmp_path: Path) -> None:
    write_rows(tmp_path / "scored.jsonl", [StepRow("q?", tuple("abcde"), scores=(0.0, 0.25, 0.5, 0.75, 1.0))])
    browser.look(dark)
    browser.visit(f"{service}/?{dark}")
    browser.choose_file("#file", tmp_path / "scored.jsonl")
    browser.until(f"{STEPS}.length === 5")
    colours = browser.run(f"""{{ const canvas = document.createElement('canvas').getContext('2d');
        const rgb = colour => {{ canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); }};
        {STEPS}.map(item => [getComputedStyle(item).borderLeftColor, getComputedStyle(item).backgroundColor,
          getComputedStyle(item).color, getComputedStyle(item.querySelector('small') ?? item).color].map(rgb)); }}""")
    assert [tuple(colours[index][0]) for index in (0, 2, 4)] == [(213, 82, 28), (222, 178, 64), (22, 150, 105)]
    assert len({tuple(part[0]) for part in colours}) == 5
    for _, ground, ink, small in colours:
        assert _contrast(ground, ink) >= 7
        assert _contrast(ground, small) >= 4.5
    assert (sum(colours[0][1]) < 300) == dark


def _contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """WCAG's contrast ratio."""
    def light(colour: Sequence[int]) -> float:
        parts = [part / 255 for part in colour]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_file_without_scores_is_one_line_on_the_page(browser: Browser, service: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "steps": ["a"]}\n')
    browser.visit(f"{service}/?unscored")
    browser.choose_file("#file", tmp_path / "rows.jsonl")
    browser.until("document.getElementById('alarm').textContent")
    assert "score them first (erprm score)" in browser.run("document.getElementById('alarm').textContent")
