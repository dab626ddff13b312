"""Files of public GitHub repositories, at a pinned commit and with pinned digests: downloaded once, then kept.

They lie in `data/cache/downloads/<name of the source>/`, or where NBUTILS_CACHE says, under their paths in the source.
What lies there with the right digest is never downloaded. So the folder can be filled by hand, with copies or links, on
a machine without internet, and may be read-only then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nbutils import cache, paths
from nbutils.errors import InputError
from nbutils.files import exclusive, sha256_file
from nbutils.progress import progress_bar

GITHUB = "https://raw.githubusercontent.com"
TIMEOUT = (10, 30)  # seconds to connect, and of silence from a server that has answered
_CHUNK = 1 << 16  # bytes


@dataclass(frozen=True)
class Source:
    """Files of one folder of a repository, all under one license."""

    name: str  # of the folder that keeps them
    repository: str  # "owner/name"
    commit: str  # 40 hex digits
    folder: str  # of the repository, which the paths start from; "" for its root
    files: Mapping[str, str]  # path -> sha256 of the content
    license: str

    def url(self, path: str) -> str:
        """Where the file at `path` is downloaded from."""
        steps = filter(None, (self.repository, self.commit, self.folder, path))
        return f"{GITHUB}/{quote('/'.join(steps))}"


def folder_of(source: Source) -> Path:
    """The folder that keeps the source's files, there or not."""
    return paths.CACHE / cache.DOWNLOADS / source.name


def is_complete(source: Source, *wanted: str) -> bool:
    """Whether all files of the source, or those `wanted` of them, lie in its folder with the right digests."""
    return not _missing(source, wanted)


def fetch(source: Source, *wanted: str) -> Path:
    """The folder with all files of the source, or those `wanted` of them, after what is missing was downloaded.

    Each file is kept as soon as it is complete and has its digest, so that a second call downloads the others alone. A
    file itself starts anew, since pooch asks for no part of one; a download that fails or is interrupted leaves nothing
    behind. A file with another digest is replaced. Of several processes one downloads, and the others wait.
    Raises InputError, in one line, for a file that cannot be downloaded, where to put it by hand included, for one that
    arrives with another digest, and for a cache that cannot be written.
    """
    folder = folder_of(source)
    if _missing(source, wanted):
        cache.require_writable(folder)
        with exclusive(folder.parent / f".{source.name}.lock"):
            missing = _missing(source, wanted)  # another process may have downloaded them
            for number, path in enumerate(missing, start=1):
                _download(source, path, len(missing) - number)
    return folder


def _missing(source: Source, wanted: tuple[str, ...]) -> list[str]:
    folder = folder_of(source)
    return [path for path in wanted or source.files if not _is_right(folder / path, source.files[path])]


def _is_right(path: Path, digest: str) -> bool:
    try:
        return sha256_file(path) == digest
    except OSError:  # not there, or not for us to read
        return False


def _download(source: Source, path: str, n_others: int) -> None:
    """One file in its place; where that fails, the error says what else is missing."""
    import pooch
    import requests

    url, digest, target = source.url(path), source.files[path], folder_of(source) / path
    pooch.get_logger().setLevel("WARNING")  # it would write paths of this machine into a notebook
    try:
        # The server says the size, and pooch puts it in place of the one here.
        with progress_bar(_CHUNK, f"Downloading {target.name}", unit="B") as progress:
            # Not compressed on the way, so that the size is that of the file.
            options = {"timeout": TIMEOUT, "headers": {"Accept-Encoding": "identity"}}
            download = pooch.HTTPDownloader(progress, _CHUNK, **options)
            pooch.retrieve(url, f"sha256:{digest}", target.name, target.parent, downloader=download)
        target.chmod(target.parent.stat().st_mode & 0o666)  # pooch's temporary file is for its owner alone
    except requests.RequestException as error:
        others = f", and {n_others} other missing file(s) of {source.repository} likewise" if n_others else ""
        raise InputError(
            f"cannot download {url} ({_reason(error)}): get it on a machine that can, and put it into {target.parent} "
            f"as {target.name} (sha256 {digest}){others}"
        ) from error
    except ValueError as error:  # pooch's word for another digest
        raise InputError(
            f"{url}: what was downloaded has not the sha256 {digest}, and is not kept: is something in between that "
            f"answers for the server? Try again, or put the file into {target.parent} as {target.name}"
        ) from error
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error}); make room") from error


def _reason(error: Exception) -> str:
    """A few words: the library's own run over lines, with addresses of objects in them."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}".strip()
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT[0]} s, or silence for {TIMEOUT[1]} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
