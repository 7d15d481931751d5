#!/usr/bin/env python3
"""Step times of walign beside the fastest peer, a TensorFlow graph (tests/reference/peer.py), measured
in one run and interleaved: each round times the one, then the other; medians over the rounds.

    tests/bench/compare.py [--build DIR] [--device SEL] [--architectures A,..] [--widths W,..] [--rules R,..]
                           [--rounds N] [--seconds S]

Architectures: kmnist-cnn, cifar-cnn, mlp (two hidden layers), rnn (the Add task's). Prints a Markdown table.
Makes a virtual environment for the peer in the user's cache folder at first use (about 1 GB). Batch 100, the
rnn's 50; the peer's images are random, walign's are glyphs of the same size.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
RULES = "backprop,align-zero,align-ada,align-prop,fa,dfa,last-layer"
# The networks that the peer has another program for, or that have no layerwise feedback.
PEERS = {"mlp": HERE / "peer_mlp.py"}
OTHER_PEER = HERE.parent / "reference" / "peer.py"
WIDTH_OPTIONS = {"mlp": "architecture.widths=[{0},{0}]"}
NOT_DEFINED = {"rnn": ("align-prop", "fa", "dfa")}


def fail(message):
    sys.exit(f"compare.py: {message}")


def peer_python():
    """The interpreter of the peer's virtual environment, made where it is missing."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "walign" / "peer"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"compare.py: installing TensorFlow into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "tensorflow-cpu==2.15.1", "numpy<2"],
                       check=True)
        (folder / "ready").touch()
    return python


def run_json(command, environment=None):
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode != 0:
        fail(f"{' '.join(map(str, command))} failed: {result.stderr.strip()[-300:]}")
    return json.loads(result.stdout[result.stdout.index("{"):])


class Cell:
    """One network, width and rule: both programs, a few rounds."""

    def __init__(self, arguments, architecture, width, rule):
        self.walign = [arguments.build / "walign", "bench", HERE / "configs" / f"{architecture}.json",
                       "--set", WIDTH_OPTIONS.get(architecture, "architecture.width={0}").format(width),
                       "--set", f"rule.plugin={rule}", "--json"]
        if arguments.device:
            self.walign += ["--device", arguments.device]
        self.peer = [arguments.peer, PEERS.get(architecture, OTHER_PEER), architecture, str(width), rule]
        self.seconds = arguments.seconds
        self.ours, self.theirs, self.last = [], [], None

    def steps(self, milliseconds):
        return str(max(5, min(400, int(1e3 * self.seconds / milliseconds))))

    def round(self):
        guess = statistics.median(self.theirs) if self.theirs else 200
        theirs = run_json(self.peer + [self.steps(guess)])
        guess = statistics.median(self.ours) if self.ours else guess
        self.last = run_json(self.walign + ["--steps", self.steps(guess)])
        self.theirs.append(theirs["ms_per_step"]["median"])
        self.ours.append(self.last["ms_per_step"]["median"])

    def row(self):
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        ratio = statistics.median(a / b for a, b in zip(self.ours, self.theirs))
        return (f"{ours:.2f} | {theirs:.2f} | {ratio:.2f} | {100 * self.last['peak_fraction']:.0f} % | "
                f"{self.last['launches_per_step']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parents[1] / "build")
    parser.add_argument("--device")
    parser.add_argument("--architectures", default="kmnist-cnn,cifar-cnn")
    parser.add_argument("--widths", default="8,32,64,128")
    parser.add_argument("--rules", default=RULES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one program in one round")
    arguments = parser.parse_args()
    if not (arguments.build / "walign").exists():
        fail(f"no program in {arguments.build}: build it first, or name the folder with --build")
    arguments.peer = peer_python()
    print("| network | width | rule | walign ms | peer ms | ratio | of peak | launches |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for architecture in arguments.architectures.split(","):
        for width in arguments.widths.split(","):
            for rule in arguments.rules.split(","):
                if rule in NOT_DEFINED.get(architecture, ()):
                    continue
                cell = Cell(arguments, architecture, width, rule)
                for _ in range(arguments.rounds):
                    cell.round()
                print(f"| {architecture} | {width} | {rule} | {cell.row()} |", flush=True)


if __name__ == "__main__":
    main()
