"""python3 tests/release/lines.py PROGRAM: do addresses in a stripped program lead to lines of its source?

Asks addr2line about addresses all over its code; it finds the symbols by the link that the program holds. A panic's
backtrace, gdb and perf find them in the same way.
"""

import re
import subprocess
import sys

SAMPLES = 4000
# Of some addresses nobody knows a line: what the C library brought, and padding between functions.
ENOUGH = 0.5


def main() -> int:
    """Of the command line."""
    program = sys.argv[1]
    sections = subprocess.run(["readelf", "--sections", "--wide", program], check=True, capture_output=True, text=True)
    found = re.search(r" \.text +PROGBITS +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+)", sections.stdout)
    if not found:
        print("no section .text")
        return 1
    start, size = (int(part, 16) for part in found.groups())
    addresses = "\n".join(hex(start + size * i // SAMPLES) for i in range(SAMPLES))
    answer = subprocess.run(
        ["addr2line", f"--exe={program}"], check=True, capture_output=True, text=True, input=addresses
    )
    lines = answer.stdout.splitlines()
    known = [line for line in lines if re.search(r"\.(rs|c|S|h):\d+", line)]
    own = [line for line in known if "/usr/src/teamleader2db/" in line]
    print(
        f"{len(known)} of {len(lines)} addresses have a line, such as {own[0].split()[0] if own else 'none of its own'}"
    )
    return 0 if len(known) > ENOUGH * len(lines) and own else 1


if __name__ == "__main__":
    sys.exit(main())
