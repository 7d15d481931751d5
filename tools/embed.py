#!/usr/bin/env python3
"""Writes a C file that holds text files as NUL-terminated char arrays (called by meson).

    embed.py OUT.c SYMBOL=FILE ...          const char SYMBOL[] for each file
    embed.py --table SYMBOL OUT.c FILE ...  const struct wa_kernel_source SYMBOL[] and the number
                                            of its entries, SYMBOL_count (core/kernel_sources.h)
"""
import argparse
import os
import re
import sys

PER_LINE = 20
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def fail(message):
    sys.exit(f"embed.py: {message}")


def check_symbol(symbol):
    if not IDENTIFIER.match(symbol):
        fail(f"'{symbol}' is not a C identifier")
    return symbol


def read_text(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    if b"\0" in data:
        fail(f"{path}: holds a NUL byte at {data.index(0)}: a text file was expected")
    return data


def array_body(data):
    """Numbers, not a string literal: ISO C only promises 4095 characters of those. Bytes over 127
    are written as character constants, which have the value that a char has on the target."""
    items = [str(byte) if byte < 128 else f"'\\x{byte:02x}'" for byte in data] + ["0"]
    lines = [", ".join(items[i:i + PER_LINE]) for i in range(0, len(items), PER_LINE)]
    return "{\n    " + ",\n    ".join(lines) + "\n}"


def symbols_source(pairs):
    parts = []
    for pair in pairs:
        symbol, equals, path = pair.partition("=")
        if not equals or not path:
            fail(f"'{pair}': expected SYMBOL=FILE")
        check_symbol(symbol)
        parts.append(f"extern const char {symbol}[];\n"
                     f"const char {symbol}[] = {array_body(read_text(path))};\n")
    return "\n".join(parts)


def table_source(symbol, paths):
    check_symbol(symbol)
    by_name = {}
    for path in paths:
        name = os.path.basename(path)
        if not re.match(r"[A-Za-z0-9_.-]+\Z", name):
            fail(f"{path}: a kernel file's name may hold letters, digits, '_', '.' and '-' only")
        if name in by_name:
            fail(f"{path}: {by_name[name]} has the same name")
        by_name[name] = path
    names = sorted(by_name)
    parts = ['#include "kernel_sources.h"\n']
    for index, name in enumerate(names):
        parts.append(f"/* {name} */\n"
                     f"static const char text_{index}[] = "
                     f"{array_body(read_text(by_name[name]))};\n")
    rows = "".join(f'    {{.name = "{name}", .text = text_{i}}},\n' for i, name in enumerate(names))
    parts.append(f"const struct wa_kernel_source {symbol}[] = {{\n{rows}}};\n"
                 f"const size_t {symbol}_count = sizeof({symbol}) / sizeof({symbol}[0]);\n")
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(prog="embed.py", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", metavar="SYMBOL")
    parser.add_argument("out", metavar="OUT.c")
    parser.add_argument("inputs", nargs="+", metavar="FILE or SYMBOL=FILE")
    arguments = parser.parse_args()
    body = (table_source(arguments.table, arguments.inputs) if arguments.table
            else symbols_source(arguments.inputs))
    with open(arguments.out, "w", encoding="ascii") as file:
        file.write("/* Made by tools/embed.py; do not edit. */\n" + body)


if __name__ == "__main__":
    main()
