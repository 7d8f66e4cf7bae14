#!/usr/bin/python3
"""What a packet costs each role of the packet path, against what the tree expects: instructions, system calls, and
messages in these (a frame of the TUN, a datagram, a run of datagrams).

  gate.py PROGRAM             count, show, compare with expected.txt; fails when one is beyond 3 %, more or fewer
  gate.py --renew PROGRAM     count, and write expected.txt anew
  gate.py --keep FOLDER PROGRAM    also keep callgrind's profiles there, for callgrind_annotate
  gate.py --self-test         what is judged how

PROGRAM is tests/gate of a build folder made as scripts/build makes it. It counts what Debian 12's compiler made and
Debian 12's libc does; with another compiler or system there is nothing to compare with, and the gate is skipped.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
EXPECTED = os.path.join(HERE, "expected.txt")
COMPILER = "gcc 12.2"
MACHINE = "x86_64"
TOLERANCE = 0.03
SKIPPED = 77
RENEW = "tests/gate/gate.py --renew build/tests/gate"
# The libc chooses its memcpy() by the CPU. Without these it takes what every x86-64 has.
TUNABLES = ("glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-SSSE3,"
            "-SSE4_1,-SSE4_2,-Fast_Unaligned_Copy,-Fast_Copy_Backward")
COLUMNS = ("instructions", "calls", "messages")
HEAD = f"""# What one packet costs, by role and shape of traffic: instructions, as callgrind counts them without the cipher
# (gate.c), system calls, and messages in them. {COMPILER} of Debian 12, {MACHINE}, release flags. One that is more
# than {TOLERANCE:.0%} off fails, also when it got fewer. Renew it with: {RENEW}
"""


def is_debian_12():
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            text = file.read()
    except OSError:
        return False
    return bool(re.search(r"^ID=debian$", text, re.M) and re.search(r'^VERSION_ID="12"$', text, re.M))


def cannot(why):
    """Nothing to compare with: elsewhere that is no fault, but on Debian 12 there is no excuse."""
    print(f"gate: {why}")
    if is_debian_12():
        return 1
    print("gate: SKIPPED, since this is not Debian 12")
    return SKIPPED


def reason_not_to(program):
    if os.uname().machine != MACHINE:
        return f"the numbers are for {MACHINE}, this is {os.uname().machine}"
    if not shutil.which("valgrind") or not os.path.exists(program):
        return f"no valgrind, or no {program}: scripts/build --install-packages gets the one and makes the other"
    compiler = subprocess.run([program, "--compiler"], check=True, capture_output=True, text=True).stdout.strip()
    if compiler != COMPILER:
        return f"the numbers are for {COMPILER}, this was built by {compiler}"
    return None


def read_dumps(folder):
    """What callgrind counted: {name: instructions}."""
    counts = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        trigger = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
        if trigger:
            counts[trigger.group(1)] = int(re.search(r"^totals: (\d+)$", text, re.M).group(1))
    return counts


def count(program, folder):
    """Run it. {(name, column): so many per packet}, in the program's order."""
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--callgrind-out-file={folder}/out",
         f"--log-file={folder}/log", program],
        env={"PATH": os.environ.get("PATH", ""), "GLIBC_TUNABLES": TUNABLES}, capture_output=True, text=True)
    if run.returncode:
        with open(os.path.join(folder, "log"), encoding="utf-8", errors="replace") as file:
            raise SystemExit(f"gate: {program} failed:\n{run.stderr}{file.read()}")
    instructions = read_dumps(folder)
    found = {}
    for name, packets, *asked in (line.split() for line in run.stdout.splitlines()):
        for column, number in zip(COLUMNS, (instructions[name], *asked)):
            found[name, column] = int(number) / int(packets)
    return found


def parse_expected(text):
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {(name, column): float(number) for name, *numbers in lines for column, number in zip(COLUMNS, numbers)}


def judge(expected, found):
    """Yields (line to show, whether it is good)."""
    for key in {**found, **expected}:
        title = f"{key[0]:20} {key[1]:12}"
        if key not in found or key not in expected:
            yield f"{title} {'was not counted' if key not in found else 'is not expected'}", False
            continue
        change = found[key] / expected[key] - 1
        good = abs(change) <= TOLERANCE
        verdict = "" if good else "  MORE" if change > 0 else "  fewer"
        yield (f"{title} {found[key]:10.4f}  expected {expected[key]:10.4f}  {round(change, 3) + 0.0:+6.1%}{verdict}",
               good)


def compare(expected, found):
    verdicts = list(judge(expected, found))
    for line, good in verdicts:
        if not good or "instructions" in line:
            print(line)
    if all(good for _, good in verdicts):
        return 0
    print(f"gate: not what tests/gate/expected.txt says. If it is meant to be so, renew it with: {RENEW}")
    return 1


def write_expected(found):
    with open(EXPECTED, "w", encoding="utf-8") as file:
        file.write(HEAD)
        for name in dict.fromkeys(name for name, _ in found):
            numbers = [found[name, column] for column in COLUMNS]
            file.write(f"{name:22} {numbers[0]:9.1f} {numbers[1]:9.5f} {numbers[2]:9.5f}\n")


def self_test():
    a, b = ("a", "instructions"), ("a", "calls")
    cases = (
        ({a: 100.0}, {a: 100.0}, True),
        ({a: 100.0}, {a: 102.9}, True),
        ({a: 100.0}, {a: 103.1}, False),
        ({a: 100.0}, {a: 97.1}, True),
        ({a: 100.0}, {a: 96.9}, False),
        ({a: 100.0, b: 5.0}, {a: 100.0}, False),
        ({a: 100.0}, {a: 100.0, b: 5.0}, False),
        ({a: 100.0, b: 100.0}, {a: 96.0, b: 104.0}, False),
        ({a: 100.0, b: 0.0222}, {a: 100.0, b: 0.0444}, False),
    )
    for expected, found, good in cases:
        if all(verdict for _, verdict in judge(expected, found)) != good:
            print(f"gate: self test: {expected} and {found} should be {'good' if good else 'bad'}")
            return 1
    if parse_expected(HEAD + "a 12.5 2 3\n") != {a: 12.5, b: 2.0, ("a", "messages"): 3.0}:
        print("gate: self test: expected.txt is read wrong")
        return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="?", metavar="PROGRAM")
    parser.add_argument("--renew", action="store_true")
    parser.add_argument("--keep", metavar="FOLDER")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        return self_test()
    if not options.program:
        parser.error("which PROGRAM?")
    program = os.path.realpath(options.program)
    why = reason_not_to(program)
    if why:
        return cannot(why)
    with tempfile.TemporaryDirectory() as folder:
        found = count(program, folder)
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
    if options.renew:
        write_expected(found)
    with open(EXPECTED, encoding="utf-8") as file:
        return compare(parse_expected(file.read()), found)


if __name__ == "__main__":
    sys.exit(main())
