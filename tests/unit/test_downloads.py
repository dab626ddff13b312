"""Files of public repositories: downloaded from a server that the test starts, filled by hand, refused by digest."""

import hashlib
import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from substitution import substitute

from nbutils import progress
from nbutils.data import downloads
from nbutils.data.downloads import Source, fetch, folder_of, is_complete
from nbutils.errors import InputError

CONTENTS = {"one.json": b'{"data": 1}\n' * 20_000, "sub/two words.json": b"[2]", "three.txt": "drei\u00df".encode()}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


DIGESTS = {path: sha256(content) for path, content in CONTENTS.items()}
SOURCE = Source("things", "someone/something", "c" * 40, "data", DIGESTS, "CC0")


@pytest.fixture
def server(monkeypatch, cache_folder):
    """A stand-in for GitHub: `contents` by path, `requests` as they came, `cut` after so many bytes, `silent`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            stand_in.requests.append(self.path)
            if stand_in.silent:
                time.sleep(0.5)
                return
            content = stand_in.contents.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: stand_in.cut])

        def log_message(self, *arguments):
            pass

    stand_in = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.requests, stand_in.cut, stand_in.silent = [], None, False
    root = f"/someone/something/{'c' * 40}/data/"
    stand_in.contents = {root + path.replace(" ", "%20"): content for path, content in CONTENTS.items()}
    stand_in.root = root
    threading.Thread(target=stand_in.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(downloads, "GITHUB", f"http://127.0.0.1:{stand_in.server_address[1]}")
    monkeypatch.setenv("no_proxy", "*")
    yield stand_in
    stand_in.shutdown()
    stand_in.server_close()


@pytest.fixture
def offline(monkeypatch, cache_folder):
    """A port at which nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(downloads, "GITHUB", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("no_proxy", "*")


def files_in(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fill(folder, contents=CONTENTS):
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def refused(source, *wanted):
    with pytest.raises(InputError) as caught:
        fetch(source, *wanted)
    message = str(caught.value)
    assert "\n" not in message and " object at " not in message
    return message


def test_files_are_downloaded_once_from_the_pinned_commit(server, cache_folder, capfd):
    assert not is_complete(SOURCE)
    assert fetch(SOURCE) == cache_folder / "downloads" / "things"
    assert files_in(fetch(SOURCE)) == CONTENTS
    assert server.requests == [server.root + path for path in ("one.json", "sub/two%20words.json", "three.txt")]
    assert is_complete(SOURCE)
    usual = cache_folder / "usual"
    usual.touch()
    assert {(fetch(SOURCE) / path).stat().st_mode for path in CONTENTS} == {usual.stat().st_mode}
    assert capfd.readouterr() == ("", "")  # nobody watches


def test_only_what_is_wanted_is_downloaded(server):
    fetch(SOURCE, "three.txt")
    assert files_in(folder_of(SOURCE)) == {"three.txt": CONTENTS["three.txt"]}
    assert is_complete(SOURCE, "three.txt") and not is_complete(SOURCE)


def test_a_source_may_start_from_the_root_of_its_repository():
    source = Source("things", "a/b", "d" * 40, "", {"x.txt": "0" * 64}, "CC0")
    assert source.url("x.txt") == f"https://raw.githubusercontent.com/a/b/{'d' * 40}/x.txt"


def test_what_was_put_there_by_hand_is_taken_without_a_server(offline, cache_folder, tmp_path):
    fill(tmp_path / "elsewhere")
    (cache_folder / "downloads").mkdir(parents=True)
    (cache_folder / "downloads" / "things").symlink_to(tmp_path / "elsewhere")
    before = files_in(tmp_path)
    assert files_in(fetch(SOURCE).resolve()) == CONTENTS
    assert files_in(tmp_path) == before  # no lock either: the cache may be read-only


def test_offline_the_error_says_what_to_put_where(offline, cache_folder):
    message = refused(SOURCE)
    assert SOURCE.url("one.json") in message and "no connection" in message
    assert f"into {cache_folder / 'downloads' / 'things'} as one.json (sha256 {DIGESTS['one.json']})" in message
    assert "2 other missing file(s)" in message
    fill(folder_of(SOURCE), {"one.json": CONTENTS["one.json"], "three.txt": CONTENTS["three.txt"]})
    message = refused(SOURCE)
    assert f"into {folder_of(SOURCE) / 'sub'} as two words.json (sha256 " in message and "other" not in message
    fill(folder_of(SOURCE), {"sub/two words.json": CONTENTS["sub/two words.json"]})
    assert fetch(SOURCE) == folder_of(SOURCE)


def test_a_damaged_file_is_downloaded_again(server):
    fill(folder_of(SOURCE), {**CONTENTS, "three.txt": b"drei"})
    assert files_in(fetch(SOURCE)) == CONTENTS
    assert server.requests == [server.root + "three.txt"]


def test_what_arrives_with_another_digest_is_not_kept(server):
    server.contents[server.root + "three.txt"] = b"<html>Please log in</html>"
    message = refused(SOURCE)
    assert SOURCE.url("three.txt") in message and DIGESTS["three.txt"] in message
    assert set(files_in(folder_of(SOURCE))) == set(CONTENTS) - {"three.txt"}


@pytest.mark.parametrize("cut", [0, 100_000])
def test_an_interrupted_set_goes_on_with_what_is_missing(server, cut):
    fetch(SOURCE, "three.txt")
    server.cut = cut
    assert "the connection broke off" in refused(SOURCE)
    assert files_in(folder_of(SOURCE)) == {"three.txt": CONTENTS["three.txt"]}
    server.cut, server.requests[:] = None, []
    assert files_in(fetch(SOURCE)) == CONTENTS
    assert server.requests == [server.root + path for path in ("one.json", "sub/two%20words.json")]


def test_ctrl_c_leaves_nothing_behind(server, monkeypatch):
    import requests

    def iter_content(self, chunk_size):
        yield b"{"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(requests.Response, "iter_content", iter_content)
        with pytest.raises(KeyboardInterrupt):
            fetch(SOURCE)
    assert files_in(folder_of(SOURCE)) == {}
    assert files_in(fetch(SOURCE)) == CONTENTS


def test_a_silent_server_is_given_up(server, monkeypatch):
    server.silent = True
    monkeypatch.setattr(downloads, "TIMEOUT", (0.1, 0.1))
    assert "silence for 0.1 s" in refused(SOURCE)


def test_a_file_that_the_server_does_not_have(server):
    server.contents.clear()
    assert "(the server answers 404 Not Found)" in refused(SOURCE)


def test_a_cache_that_cannot_be_written_is_refused_before_the_download(server, cache_folder):
    cache_folder.write_text("a file")
    assert "NBUTILS_CACHE" in refused(SOURCE)
    assert server.requests == []


def test_of_several_that_ask_one_downloads(server):
    threads = [threading.Thread(target=fetch, args=(SOURCE,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 3 and files_in(folder_of(SOURCE)) == CONTENTS


def test_who_watches_sees_how_far_it_is(server, monkeypatch, capfd):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    substitute(monkeypatch, progress, "is_watched", lambda: True)
    fetch(SOURCE, "one.json")
    shown = capfd.readouterr().err
    assert "Downloading one.json" in shown and "0.00/240k" in shown and os.fspath(folder_of(SOURCE)) not in shown


@contextmanager
def kept(folder):
    before = files_in(folder)
    yield
    assert files_in(folder) == before


def test_pruning_leaves_downloads_alone(server, cache_folder):
    from nbutils import cache

    fetch(SOURCE)
    with kept(cache_folder / "downloads" / "things"):
        assert cache.prune(0) == {}
    assert cache.clear()["downloads"].n_entries == 1 and not is_complete(SOURCE)
