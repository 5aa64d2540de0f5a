"""dev/limits finds what it is for."""

import importlib.machinery
import importlib.util
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def limits():
    """dev/limits as a module."""
    loader = importlib.machinery.SourceFileLoader("limits", str(ROOT / "dev" / "limits"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("limits", loader))
    loader.exec_module(module)
    return module


class Limits(unittest.TestCase):
    """Of files that are made for it."""

    def breaches(self, files):
        """What is wrong with these files of src/."""
        found = limits()
        with tempfile.TemporaryDirectory() as root:
            found.ROOT = Path(root)
            for name, code in files.items():
                file = Path(root) / "src" / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(code)
            return list(found.breaches("src"))

    def test_what_runs_down_is_sound(self):
        """Imports that run down are no breach, nor what stands in tests, comments and texts."""
        files = {
            "lib.rs": "mod sync;\nmod store;\n",
            "sync/mod.rs": "mod list;\n",
            "sync/list.rs": "use crate::store::{pool, runs::{self, Step}};\n",
            "store/mod.rs": "pub mod pool;\npub mod runs;\n",
            "store/pool.rs": "// use crate::sync::list;\npub(in crate::sync) fn open() {}\n",
            "store/runs.rs": '#[cfg(test)]\nmod tests {\n    use crate::sync::list;\n}\nconst X: &str = "crate::sync::list";\n',
        }
        self.assertEqual(self.breaches(files), [])

    def test_a_circle_is_found_however_it_is_written(self):
        """By `use`, by a path in the code, and in a tree of names."""
        for way in ("use super::runs;\n", "fn f() { super::runs::g() }\n", "use crate::store::{runs::g, other};\n"):
            files = {
                "lib.rs": "mod store;\n",
                "store/mod.rs": "mod pool;\nmod runs;\nmod other;\n",
                "store/other.rs": "",
                "store/pool.rs": way,
                "store/runs.rs": "use crate::store::pool;\n",
            }
            self.assertIn("src/store/pool.rs -> src/store/runs.rs", self.breaches(files)[0])

    def test_an_import_that_runs_up_is_found(self):
        """The store knows nothing of the sync."""
        files = {
            "lib.rs": "mod store;\nmod sync;\n",
            "store/mod.rs": "use crate::sync::Slice;\n",
            "sync/mod.rs": "",
        }
        self.assertEqual(self.breaches(files), ["src/store/mod.rs imports src/sync/mod.rs, which is not below it"])

    def test_a_room_has_to_have_its_place(self):
        """A new folder has to be put into the order."""
        files = {"lib.rs": "mod helpers;\nmod store;\n", "helpers.rs": "use crate::store::Pool;\n", "store.rs": ""}
        self.assertEqual(self.breaches(files), ["helpers has no place in LAYERS of dev/limits"])

    def test_lengths(self):
        """Of files and of lines."""
        long = {"lib.rs": "\n" * 501, "main.rs": "// " + "x" * 120 + "\n"}
        lengths = self.breaches(long)
        self.assertIn("501 lines", lengths[0])
        self.assertIn("src/main.rs:1 has 123 columns", lengths[1])


if __name__ == "__main__":
    unittest.main()
