"""A stand-in for the W&B server, in a thread on this machine.

What it answers is filled into `wandb_answers/*.json`. Those were written by hand, from the queries that the `wandb`
client sends and the fields that it reads of the answers; no real server was at hand to record them from.
"""

import copy
import gzip
import http.server
import json
import re
import threading
from pathlib import Path

_ANSWERS = {
    path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "wandb_answers").glob("*.json")
}


def answer(name):
    """One of the answers, to be filled in."""
    return copy.deepcopy(_ANSWERS[name])


class WandbServer:
    """Keeps what clients log into it, and what tests put there, and gives it out as W&B would.

    Attributes:
        runs: by (entity, project), the fields of each run that the client asks for, as GraphQL gives them.
        history: by run id, the lines of its history.
        files: by name, what was uploaded.
        asked: (operation, variables) of every question, in order.
        trouble: by operation, or "all": an HTTP status to answer instead, or None for no answer at all.
        most: rows of history that it gives out at once.
    """

    def __init__(self):
        self.runs, self.history, self.files, self.asked, self.trouble = {}, {}, {}, [], {}
        self.most = 10_000
        self.paths = []
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._closed = threading.Event()
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self):
        self._closed.set()
        self._http.shutdown()
        self._http.server_close()

    def add(self, entity, project, name, *, config=None, summary=None, history=(), **fields):
        """Put a run there; `config` and `summary` as plain mappings, `history` as rows."""
        lines = [json.dumps({"_step": step, **row}) for step, row in enumerate(history)]
        run = {
            **answer("run"),
            "name": name,
            "displayName": name,
            "state": "finished",
            "config": json.dumps({key: {"value": value, "desc": None} for key, value in (config or {}).items()}),
            "summaryMetrics": json.dumps(summary or {}),
            **fields,
        }
        self.runs.setdefault((entity, project), []).append(run)
        self.history[name] = lines

    def operations(self):
        """Names of the questions asked, in order."""
        return [operation for operation, _ in self.asked]

    def _handler(server):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                server.paths.append((self.command, self.path))
                status, said = server._answer(self.path, body)
                if status is None:
                    server._closed.wait(60)
                    self.close_connection = True
                    return
                said = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said)

            do_GET = do_PUT = do_HEAD = do_POST

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except ConnectionError:  # a client that has gone
                    self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler

    def _answer(self, path, body):
        if path.endswith("/graphql"):
            question = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", question["query"]).group(1)
            variables = question.get("variables") or {}
            self.asked.append((operation, variables))
            for name in (operation, "all"):
                if name in self.trouble:
                    return self.trouble[name], answer("unauthorized")
            said = getattr(self, f"_{operation}", lambda _: {"data": {}})(variables)
            return 200, said
        if path.endswith("/file_stream"):
            if "file_stream" in self.trouble:
                return self.trouble["file_stream"], {}
            self._stream(path.split("/")[-2], json.loads(body))
        elif path.startswith("/upload/"):
            self.files[path.removeprefix("/upload/")] = body
        return 200, {}

    # what a client asks

    def _Viewer(self, _):
        return answer("viewer")

    _GetViewer = _GetDefaultEntity = _Viewer

    def _Runs(self, asked):
        runs = self.runs.get((asked["entity"], asked["project"]))
        if runs is None:
            return answer("no_project")
        wanted = json.loads(asked["filters"])
        runs = [run for run in runs if all(run[key] == value for key, value in wanted.items())]
        first = int(asked.get("cursor") or 0)
        page = runs[first : first + asked["perPage"]]
        edges = [{"node": run, "cursor": str(first + place + 1)} for place, run in enumerate(page)]
        for edge in edges:
            edge["node"] = {**edge["node"], "historyLineCount": len(self.history[edge["node"]["name"]])}
        said = answer("runs")
        project = said["data"]["project"]
        project["runCount"] = len(runs)
        more = first + len(page) < len(runs)
        project["runs"] = {
            "edges": edges,
            "pageInfo": {"endCursor": edges[-1]["cursor"] if edges else None, "hasNextPage": more},
        }
        return said

    def _RunFullHistory(self, asked):
        lines = self.history[asked["name"]]
        every = -(-len(lines) // min(self.most, asked["samples"]))
        said = answer("history")
        said["data"]["project"]["run"]["history"] = lines[::every]
        return said

    # what a client tells

    def _UpsertBucket(self, told):
        entity, project, name = told["entity"] or "team", told["project"], told["name"]
        runs = self.runs.setdefault((entity, project), [])
        run = next((run for run in runs if run["name"] == name), None)
        if run is None:
            run = {**answer("run"), "name": name}
            runs.append(run)
            self.history[name] = []
        fields = {"displayName": "displayName", "group": "groupName", "jobType": "jobType", "tags": "tags"}
        for field, variable in {**fields, "config": "config", "summaryMetrics": "summaryMetrics"}.items():
            if told.get(variable) is not None:
                run[field] = told[variable]
        said = answer("upsert_bucket")
        bucket = said["data"]["upsertBucket"]["bucket"]
        bucket |= {"name": name, "displayName": run["displayName"]}
        bucket["project"] |= {"name": project, "entity": {"id": "RW50aXR5OjE=", "name": entity}}
        return said

    def _RunResumeStatus(self, asked):
        runs = self.runs.get((asked["entity"] or "team", asked["project"]), [])
        run = next((run for run in runs if run["name"] == asked["name"]), None)
        if run is None:
            return {"data": {"model": None}}
        lines = self.history[asked["name"]]
        said = answer("resume_status")
        said["data"]["model"]["bucket"] |= {
            "name": run["name"],
            "config": run["config"],
            "summaryMetrics": run["summaryMetrics"],
            "historyLineCount": len(lines),
            "historyTail": json.dumps(lines[-1:]),
        }
        return said

    def _ArtifactType(self, _):
        return {"data": {"project": {"artifact": None}}}

    def _CreateArtifact(self, _):
        return answer("create_artifact")  # one that it has already, so that nothing is uploaded

    def _CreateRunFiles(self, told):
        said = answer("create_run_files")
        said["data"]["createRunFiles"]["files"] = [
            {"name": name, "uploadUrl": f"{self.address}/upload/{name}"} for name in told["files"]
        ]
        return said

    def _stream(self, name, told):
        """What a run sends while it is under way."""
        (run,) = (run for runs in self.runs.values() for run in runs if run["name"] == name)
        files = told.get("files") or {}
        if (history := files.get("wandb-history.jsonl")) is not None:
            self.history[name][history["offset"] :] = history["content"]
        if (summary := files.get("wandb-summary.json")) is not None:
            run["summaryMetrics"] = summary["content"][-1]
        if told.get("complete"):
            run["state"] = "finished" if told.get("exitcode") == 0 else "failed"
