#!/usr/bin/env python3
"""One cache for two clients: what `huggingface_hub` fetches the release binary uses with the
network gone, and the other way round. Part of `make parity`.

A mock hub on this machine serves a tiny SD3 pipeline and a file of prompts to those who have the
token. `snapshot_download` and `hf_hub_download` fill a cache, with links and with copies; the hub
stops, and `dmdr train` has to make of the cache the student that it makes of the folder, to the
last bit. Then the binary fills a cache, and `snapshot_download` has to find it whole without the
hub.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from export import CASES, DMDR, write_base, write_config
from safetensors.numpy import load_file

NAME, TOKEN = "lab/tiny-1.0", "hf_secret"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROMPTS = "data/train prompts.json"
SNAPSHOT = f"""
from huggingface_hub import snapshot_download
print(snapshot_download("{NAME}", revision="refs/pr/1"))
"""
DATASET = f"""
from huggingface_hub import hf_hub_download
print(hf_hub_download("{NAME}", "{PROMPTS}", repo_type="dataset"))
"""


class MockHub(BaseHTTPRequestHandler):
    """The addresses that `huggingface_hub` 2.4 asks for; files of `root`."""

    root: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def entry(self, path: Path) -> dict:
        """A file as the list of a tree has it: known by git's hash, weights also by their SHA-256."""
        content = path.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        name = path.relative_to(self.root).as_posix()
        found = {"type": "file", "path": name, "size": len(content), "oid": oid}
        if path.suffix == ".safetensors":
            sha256 = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 130}
        return found

    def files(self) -> list[dict]:
        return [self.entry(path) for path in sorted(self.root.rglob("*")) if path.is_file()]

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.send(401, X_Error_Code="GatedRepo")
        path = urlsplit(self.path).path
        for kind in ("models", "datasets"):
            if path.startswith(f"/api/{kind}/{NAME}/tree/"):
                return self.send(200, json.dumps(self.files()).encode())
            if path.startswith(f"/api/{kind}/{NAME}/revision/"):
                names = dict(rfilename="path", size="size", blobId="oid")
                files = [{to: file[name] for to, name in names.items()} for file in self.files()]
                info = {"id": NAME, "sha": COMMIT, "siblings": files}
                return self.send(200, json.dumps(info).encode())
        if "/resolve/" not in path:
            return self.send(404, X_Error_Code="RepoNotFound")
        file = self.root / unquote(path.split("/resolve/")[1].split("/", 1)[1])
        if not file.is_file():
            return self.send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        entry = self.entry(file)
        etag = entry.get("lfs", entry)["oid"]
        self.send(200, file.read_bytes(), ETag=f'"{etag}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


class Machine:
    """What both clients are told by the environment."""

    def __init__(self, here: Path, cache: str, **variables: str) -> None:
        self.here = here
        own = ("HF_", "HUGGING", "TRANSFORMERS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        kept |= {"HF_HOME": str(here / cache), "OMP_NUM_THREADS": "1"}
        self.environment = kept | variables

    def run(self, *command: str | Path, **variables: str) -> str:
        env = self.environment | variables
        out = subprocess.run(command, cwd=self.here, env=env, check=True, stdout=subprocess.PIPE)
        return out.stdout.decode().strip()

    def python(self, code: str, **variables: str) -> str:
        return self.run(sys.executable, "-c", code, **variables).splitlines()[-1]

    def student(self, name: str, weights: str, prompts: str, **variables: str) -> str:
        """The SHA-256 of the student that a run makes, all of it anew."""
        sets = [f"name={name}", f"teacher.weights={weights}", f"world.prompts.train={prompts}"]
        sets.append(f"world.prompts.embeddings=cache-{name}")
        if "/" in weights:
            sets.append("teacher.revision=refs/pr/1")
        sets = [part for one in sets for part in ("--set", one)]
        self.run(DMDR, "--quiet", "train", "config.toml", *sets, **variables)
        tensors = load_file(self.here / "runs" / name / "student.safetensors")
        content = hashlib.sha256()
        for key in sorted(tensors):
            content.update(key.encode() + tensors[key].tobytes())
        return content.hexdigest()


def make_input(here: Path) -> None:
    write_base(CASES[0], here / "base")
    write_config(CASES[0], here)
    index = json.loads((here / "base/model_index.json").read_text())
    clip = ["transformers", "CLIPTextModelWithProjection"]
    parts = dict(
        scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
        text_encoder=clip,
        text_encoder_2=clip,
        text_encoder_3=["transformers", "T5EncoderModel"],
        tokenizer=["transformers", "CLIPTokenizer"],
        tokenizer_2=["transformers", "CLIPTokenizer"],
        tokenizer_3=["transformers", "T5Tokenizer"],
        transformer=["diffusers", "SD3Transformer2DModel"],
        vae=["diffusers", "AutoencoderKL"],
    )
    parts = {name: part for name, part in parts.items() if (here / "base" / name).is_dir()}
    (here / "base/model_index.json").write_text(json.dumps(index | parts))
    (here / "base/README.md").write_text("A card.")
    (here / "base/data").mkdir()
    rows = [{"prompt": line} for line in (here / "train.txt").read_text().splitlines()]
    (here / "base" / PROMPTS).write_text(json.dumps(rows))


def check(here: Path) -> list[str]:
    make_input(here)
    faults = []
    MockHub.root = here / "base"
    server = ThreadingHTTPServer(("127.0.0.1", 0), MockHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    told = dict(HF_ENDPOINT=f"http://127.0.0.1:{server.server_port}/", HF_TOKEN=f"{TOKEN}\n")
    links, ours = Machine(here, "links", **told), Machine(here, "ours", **told)
    copies = Machine(here, "copies", HF_HUB_DISABLE_SYMLINKS="1", **told)
    prompts = f"hf://datasets/{NAME}/{PROMPTS}"
    expected = links.student("local", "base", f"base/{PROMPTS}")
    try:
        for machine in (links, copies):
            machine.python(SNAPSHOT)
            machine.python(DATASET)
        if ours.student("ours", NAME, prompts) != expected:
            faults.append("the binary makes another student of the hub than of the folder")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    offline = [{}, {"HF_HUB_OFFLINE": "1"}]
    for name, machine in {"links": links, "copies": copies, "ours": ours}.items():
        for number, variables in enumerate(offline):
            if machine.student(f"{name}-{number}", NAME, prompts, **variables) != expected:
                faults.append(f"another student of the cache `{name}`, {variables}")
    # The binary fetched what it reads, and kept the list of all files.
    partly = SNAPSHOT.replace('revision="', 'ignore_patterns=["README.md", "data/*"], revision="')
    found = Path(ours.python(partly, HF_HUB_OFFLINE="1"))
    files = [path for path in found.rglob("*") if path.is_file()]
    for file in files:
        if file.read_bytes() != (here / "base" / file.relative_to(found)).read_bytes():
            faults.append(f"`{file.name}` differs in our cache")
    rows = Path(ours.python(DATASET, HF_HUB_OFFLINE="1"))
    if rows.read_bytes() != (here / "base" / PROMPTS).read_bytes():
        faults.append("the Python client has other prompts in our cache")
    num_runs = 3 * len(offline)
    print(f"{num_runs} runs without the hub, one student; {len(files)} files of our cache read back")
    return faults


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        faults = check(Path(folder))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
