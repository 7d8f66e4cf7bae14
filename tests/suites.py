#!/usr/bin/python3
"""Gathers tests of several build folders into one, build/suites, so that one ctest runs and sums up all.

  suites.py TOP SUITE...

A test keeps its properties, and gets its suite as label and, where two suites share it, in its name.
"""
import json
import os
import platform
import subprocess
import sys

NO_RANDOM_ADDRESSES = ["setarch", platform.machine(), "-R"]  # TSan wants its own places in memory
SUITES = {  # suite: build folder, labels of the tests in it, what runs them
    "unit": ("build", "unit|tree", []),
    "gate": ("build", "gate", []),
    "sim": ("build", "sim", []),
    "daemon": ("build", "daemon", []),
    "asan": ("build-asan", "unit|sim|daemon|netns", []),
    "tsan": ("build-tsan", "unit|netns", NO_RANDOM_ADDRESSES),
    "fuzz": ("build-fuzz", "fuzz", []),
    "netns": ("build", "netns", []),
}
SANITIZED = ("asan", "tsan")
# Under a sanitizer only those of netns that go through most code, and no checks that read the tree.
SANITIZED_NETNS = ("netns/basic", "netns/recovery", "netns/two_clients")
TREE_CHECKS = ("unit/check-includes", "unit/check-includes-self-test", "tree/shellcheck")
NOT_COPIED = ("LABELS", "DEPENDS")


def tests_of(folder, labels):
    out = subprocess.run(["ctest", "--test-dir", folder, "--show-only=json-v1", "-L", f"^({labels})$"],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)["tests"]


def quoted(value):
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, list):
        value = ";".join(str(item).replace(";", "\\;") for item in value)
    return f"[==[{value}]==]"


def lines_of(suite, test, runner):
    name = f"{suite}/{test['name']}" if suite in SANITIZED else test["name"]
    if "command" not in test:
        raise SystemExit(f"suites: {name} was not built")
    command = " ".join(quoted(word) for word in runner + test["command"])
    properties = " ".join(f"{item['name']} {quoted(item['value'])}" for item in test.get("properties", [])
                          if item["name"] not in NOT_COPIED)
    return [f"add_test({quoted(name)} {command})",
            f"set_tests_properties({quoted(name)} PROPERTIES LABELS {suite} {properties})"]


def is_sanitized(name):
    return name not in TREE_CHECKS and (not name.startswith("netns/") or name in SANITIZED_NETNS)


def main(top, suites):
    lines = []
    for suite in dict.fromkeys(suites):
        folder, labels, runner = SUITES[suite]
        for test in tests_of(os.path.join(top, folder), labels):
            if suite not in SANITIZED or is_sanitized(test["name"]):
                lines += lines_of(suite, test, runner)
    os.makedirs(os.path.join(top, "build", "suites"), exist_ok=True)
    with open(os.path.join(top, "build", "suites", "CTestTestfile.cmake"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
