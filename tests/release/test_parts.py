"""What dev/release is made of, without compiling anything."""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "dev"))

from release_parts import image, manual, pack  # noqa: E402

FACTS = {"EPOCH": "1700000000", "VERSION": "1.2.3", "COMMIT": "0123456789ab", "LICENSE": "MIT", "ARCHITECTURE": "amd64"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def tree(folder: Path, umask: int, time: int) -> Path:
    """A folder with a program and a file, made under a umask, with a date."""
    before = os.umask(umask)
    try:
        (folder / "usr/bin").mkdir(parents=True)
        (folder / "usr/bin/program").write_text("#!/bin/sh\n")
        (folder / "usr/bin/program").chmod(0o777 & ~umask)
        (folder / "etc").mkdir()
        (folder / "etc/file").write_text("text\n")
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        os.utime(path, (time, time))
    return folder


class Archives(unittest.TestCase):
    """release_parts.pack."""

    def setUp(self) -> None:
        """In a folder that is deleted afterwards."""
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_the_bytes_depend_neither_on_umask_nor_on_dates(self) -> None:
        """Order, owner and date are the same."""
        one = tree(self.folder / "one", 0o022, 1)
        other = tree(self.folder / "other", 0o077, 2_000_000_000)
        packed = [pack.compress(pack.tar(root, 1_700_000_000, "name-1")) for root in (one, other)]
        self.assertEqual(packed[0], packed[1])
        with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
            members = [(member.name, oct(member.mode), member.uid, member.mtime) for member in archive]
        self.assertIn(("name-1/usr/bin/program", "0o755", 0, 1_700_000_000), members)
        self.assertIn(("name-1/etc/file", "0o644", 0, 1_700_000_000), members)
        self.assertEqual(members, sorted(members))

    def test_a_link_is_refused(self) -> None:
        """Nobody would see where it leads."""
        (self.folder / "link").symlink_to("/etc/passwd")
        with self.assertRaisesRegex(ValueError, "symbolic link"):
            pack.tar(self.folder, 0)

    def test_the_header_of_gzip_names_no_time(self) -> None:
        """Neither time nor name."""
        packed = pack.compress(b"text")
        self.assertEqual(packed[4:8], bytes(4))
        self.assertEqual(gzip.decompress(packed), b"text")


class Images(unittest.TestCase):
    """release_parts.image."""

    def test_it_runs_as_the_dockerfile_says(self) -> None:
        """User, environment, entry point, health check."""
        worker = image.run_config(DOCKERFILE, "worker")
        self.assertEqual(worker["User"], "10001:10001")
        self.assertEqual(worker["Entrypoint"], ["teamleader2db"])
        self.assertEqual(worker["Cmd"], ["worker"])
        self.assertIn("LOG_FORMAT=json", worker["Env"])
        self.assertEqual(worker["Healthcheck"]["Test"], ["CMD", "teamleader2db", "healthcheck"])
        self.assertEqual(worker["Healthcheck"]["StartPeriod"], 60_000_000_000)
        simulator = image.run_config(DOCKERFILE, "simulator")
        self.assertEqual(simulator["Entrypoint"], ["teamleader-simulator"])
        self.assertNotIn("Healthcheck", simulator)

    def test_what_it_does_not_know_is_refused(self) -> None:
        """An instruction or stage that would be left out."""
        with self.assertRaisesRegex(ValueError, "VOLUME"):
            image.run_config("FROM scratch AS worker\nVOLUME /data\n", "worker")
        with self.assertRaisesRegex(ValueError, "no stage"):
            image.run_config("FROM debian AS worker\nUSER 1\n", "worker")

    def test_all_digests_are_those_of_what_they_name(self) -> None:
        """Of blobs, and of the layer before it is compressed."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        root = tree(folder / "root", 0o022, 1)
        layout = folder / "layout"
        layout.mkdir()
        before = Path.cwd()
        os.chdir(ROOT)
        self.addCleanup(os.chdir, before)
        image.pack_image(layout, "worker", root, "teamleader2db:1.2.3", FACTS)
        for blob in (layout / "blobs/sha256").iterdir():
            self.assertEqual(hashlib.sha256(blob.read_bytes()).hexdigest(), blob.name)
        docker = json.loads((layout / "manifest.json").read_text())[0]
        layer = gzip.decompress((layout / docker["Layers"][0]).read_bytes())
        config = json.loads((layout / docker["Config"]).read_text())
        self.assertEqual(config["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(layer).hexdigest()])
        self.assertEqual(config["created"], "2023-11-14T22:13:20Z")


class Manual(unittest.TestCase):
    """release_parts.manual."""

    def test_lines_stay_as_they_are(self) -> None:
        """What troff would take for an instruction is escaped."""
        self.assertEqual(manual.verbatim(".a -b\n'c\\d\n"), [".nf", "\\&.a \\-b", "\\&'c\\ed", ".fi"])


if __name__ == "__main__":
    unittest.main()
