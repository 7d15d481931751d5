#!/usr/bin/env python3
"""Counts the tests in a log that meson wrote (meson-logs/NAME.json, one JSON object a line).

A cmocka program counts as the tests that it ran, any other program as one. A program that failed
without a failed test (a crash, a sanitizer's report, a time-out) counts one failure. Prints a line
for each failed or skipped test, then `PASSED FAILED SKIPPED`.
"""
import json
import re
import sys

GOOD = {"OK", "EXPECTEDFAIL"}
PASSED = re.compile(r"\[       OK \] (\S+)")
# Not the summary's "[  FAILED  ] 2 test(s), listed below:".
FAILED = re.compile(r"\[  FAILED  \] (?!\d+ test)(\S+)")
SKIPPED = re.compile(r"\[  SKIPPED \] (?!\d+ test)(\S+)")


def count(record):
    """Returns the numbers passed, failed and skipped of one program, and prints what stands out."""
    name, result, output = record["name"], record["result"], record.get("stdout", "")
    if result == "SKIP":
        print(f"skipped: {name}")
        return 0, 0, 1
    passed = len(PASSED.findall(output))
    failed = FAILED.findall(output)
    skipped = SKIPPED.findall(output)
    if result not in GOOD and not failed:
        failed = [f"({result.lower()}, exit status {record.get('returncode')})"]
    if result in GOOD and not (passed or failed or skipped):
        passed = 1
    for test in failed:
        print(f"failed: {name}: {test}")
    for test in skipped:
        print(f"skipped: {name}: {test}")
    return passed, len(failed), len(skipped)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: count_tests.py LOG.json")
    totals = (0, 0, 0)
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
            for line in log:
                totals = tuple(a + b for a, b in zip(totals, count(json.loads(line))))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"count_tests.py: {sys.argv[1]}: not a log of meson test: {error}")
    print(*totals)


if __name__ == "__main__":
    main()
