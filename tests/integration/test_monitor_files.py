"""Logs and artifacts through the status API: any part of them, exactly as they were written."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from hivemind_worker.domain.outcome import BlobRef, Cause
from hivemind_worker.monitor.routes import logs as log_routes
from hivemind_worker.monitor.schemas import Log
from hivemind_worker.store.logs import Stream
from tests.serving import refused
from tests.site import Site

# --- logs ---------------------------------------------------------------------------------------------------


def test_a_log_is_read_from_any_chunk_on(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.start()
    site.write("t1", b"one\n", b"two\n")
    site.write("t1", b"oops\n", first=3, stream=Stream.STDERR)
    whole = api.get("/api/tasks/t1/logs").json()
    Log.model_validate(whole)
    assert [(c["number"], c["stream"], c["text"]) for c in whole["chunks"]] == [
        (1, "stdout", "one\n"), (2, "stdout", "two\n"), (3, "stderr", "oops\n"),
    ]  # fmt: skip
    assert (whole["next"], whole["ended"]) == (4, False)
    assert [c["number"] for c in api.get("/api/tasks/t1/logs?from=3").json()["chunks"]] == [3]
    assert api.get("/api/tasks/t1/logs?from=4").json() == {"task_id": "t1", "chunks": [], "next": 4, "ended": False}


def test_a_character_split_between_chunks_comes_out_whole_and_bytes_come_out_exact(
    api: httpx.Client, site: Site
) -> None:
    site.announce()
    site.start()
    site.write("t1", "é".encode()[:1], "é".encode()[1:] + b"\xff\x00")
    texts = [c["text"] for c in api.get("/api/tasks/t1/logs").json()["chunks"]]
    assert texts == ["", "é\ufffd\x00"]
    exact = [c["data"] for c in api.get("/api/tasks/t1/logs?encoding=base64").json()["chunks"]]
    assert exact == ["ww==", "qf8A"]
    plain = api.get("/api/tasks/t1/logs", headers={"Accept": "text/plain"})
    assert plain.content == "é".encode() + b"\xff\x00"
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"


def test_a_long_log_comes_in_pages(api: httpx.Client, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_routes, "PAGE_BYTES", 10)
    site.announce()
    job = site.start()
    site.write("t1", *[b"12345678"] * 5)
    site.end(job)
    numbers, first, ended = [], 1, False
    while not ended:
        page = api.get(f"/api/tasks/t1/logs?from={first}").json()
        numbers += [c["number"] for c in page["chunks"]]
        assert page["next"] > first
        first, ended = page["next"], page["ended"]
    assert numbers == [1, 2, 3, 4, 5]


def test_following_the_log_of_an_ended_job_gives_all_of_it_and_its_end(api: httpx.Client, site: Site) -> None:
    site.announce()
    job = site.start()
    site.write("t1", b"one\n", b"two\n")
    site.end(job, Cause.EXIT, exit_code=3)
    text = api.get("/api/tasks/t1/logs?follow=true").text
    assert text.count("event: chunk") == 2
    assert text.endswith('event: end\ndata: {"state":"failed","cause":"exit","exit_code":3}\n\n')
    resumed = api.get("/api/tasks/t1/logs?follow=true", headers={"Last-Event-ID": "1"}).text
    assert "id: 1\n" not in resumed
    assert "id: 2\n" in resumed


def test_a_resume_point_that_is_no_chunk_is_refused(api: httpx.Client, site: Site) -> None:
    site.submit()
    path = "/api/tasks/t1/logs?follow=true"
    assert refused(api, path, **{"Last-Event-ID": "x"}) == (400, "invalid", "Last-Event-ID")
    assert refused(api, "/api/events", **{"Last-Event-ID": "x-y"}) == (400, "invalid", "Last-Event-ID")


# --- artifacts ----------------------------------------------------------------------------------------------


def ended_with(site: Site, ref: BlobRef | None) -> None:
    site.announce()
    site.end(site.start(), artifact=ref)


def test_an_artifact_that_is_not_there_is_not_found(api: httpx.Client, site: Site) -> None:
    site.submit("waits")
    assert refused(api, "/api/tasks/waits/artifact") == (404, "not_found", None)
    ended_with(site, BlobRef(sha256="0" * 64, size=3))
    assert refused(api, "/api/tasks/t1/artifact") == (404, "not_found", None)
    assert "is no longer kept (retention)" in api.get("/api/tasks/t1/artifact").text


def test_an_artifact_is_streamed_whole_or_in_part(api: httpx.Client, site: Site, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    ended_with(site, site.artifact(tmp_path, content))
    whole = api.get("/api/tasks/t1/artifact")
    assert whole.content == content
    assert whole.headers["content-length"] == str(len(content))
    assert whole.headers["content-disposition"] == 'attachment; filename="t1.zip"'
    part = api.get("/api/tasks/t1/artifact", headers={"Range": "bytes=300000-"})
    assert (part.status_code, part.content) == (206, content[300000:])
    assert part.headers["content-range"] == f"bytes 300000-{len(content) - 1}/{len(content)}"
    head = api.head("/api/tasks/t1/artifact")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(content)))
    assert refused(api, "/api/tasks/t1/artifact", Range=f"bytes={len(content)}-") == (416, "range", "Range")


def test_an_artifact_that_changed_is_not_resumed_and_one_that_did_not_is_not_sent_again(
    api: httpx.Client, site: Site, tmp_path: Path
) -> None:
    ended_with(site, site.artifact(tmp_path, b"0123456789"))
    tag = api.head("/api/tasks/t1/artifact").headers["etag"]
    again = api.get("/api/tasks/t1/artifact", headers={"Range": "bytes=5-", "If-Range": tag})
    other = api.get("/api/tasks/t1/artifact", headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (again.content, other.content) == (b"56789", b"0123456789")
    assert api.get("/api/tasks/t1/artifact", headers={"If-None-Match": tag}).status_code == 304
