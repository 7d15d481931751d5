#!/usr/bin/env python3
"""Inner loops of the compiled CPU kernels that keep vectors on the stack: where a core lacks registers.

    spills.py PROGRAM CONFIG [--set KEY=VALUE ...]      the walign program; what follows goes to `walign bench`

PoCL compiles the kernels that a step of CONFIG launches anew, objdump (Debian's binutils) shows them. A loop of products
should have none; transforms of whole tiles and batch norm over a large batch have more values than registers."""
import os
import re
import subprocess
import sys
import tempfile

LEAST_PRODUCTS = 4  # fused multiply-adds of a loop worth looking at

FUNCTION = re.compile(r'^[0-9a-f]+ <(.*)>:')
INSTRUCTION = re.compile(r'^\s+([0-9a-f]+):\s+(.*)')
JUMP = re.compile(r'j\w+\s+([0-9a-f]+)')
SPILL = re.compile(r'[xyz]mm\d+.*\(%r[sb]p\)|\(%r[sb]p\).*[xyz]mm')


def functions(library):
    """Name -> [(address, instruction)]."""
    text = subprocess.run(['objdump', '-d', '--no-show-raw-insn', library], check=True, capture_output=True,
                          text=True).stdout
    found, current = {}, None
    for line in text.splitlines():
        name, instruction = FUNCTION.match(line), INSTRUCTION.match(line)
        if name:
            current = found.setdefault(name[1], [])
        elif instruction and current is not None:
            current.append((int(instruction[1], 16), instruction[2]))
    return found


def inner_loops(instructions):
    """What lies between a jump back and its target, if no other loop does."""
    index = {address: i for i, (address, _) in enumerate(instructions)}
    loops = []
    for i, (address, text) in enumerate(instructions):
        jump = JUMP.match(text)
        target = int(jump[1], 16) if jump else address + 1
        if target <= address and target in index:
            loops.append((index[target], i))
    for first, last in loops:
        if not any((a, b) != (first, last) and first <= a and b <= last for a, b in loops):
            yield [text for _, text in instructions[first:last + 1]]


def report(library):
    kernel = os.path.splitext(os.path.basename(library))[0]
    lines = set()
    for name, instructions in functions(library).items():
        if '_workgroup' in name:  # PoCL's copies of the kernel
            continue
        for loop in inner_loops(instructions):
            products = sum('fmadd' in text or 'fnmadd' in text for text in loop)
            spills = sum(bool(SPILL.search(text)) for text in loop)
            if products >= LEAST_PRODUCTS and spills:
                lines.add(f'{kernel}: {name}: {len(loop)} instructions, {products} multiply-adds, {spills} spills')
    return sorted(lines)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ, POCL_CACHE_DIR=cache, XDG_CACHE_HOME=cache)
        subprocess.run([sys.argv[1], 'bench', *sys.argv[2:], '--steps', '1'], check=True, stdout=subprocess.DEVNULL,
                       env=environment)
        libraries = sorted(os.path.join(folder, file) for folder, _, files in os.walk(cache) for file in files
                           if file.endswith('.so'))
        if not libraries:
            sys.exit('spills.py: PoCL compiled no kernel: is WALIGN_DEVICE another device?')
        lines = [line for library in libraries for line in report(library)]
    print('\n'.join(lines) if lines else f'no spills in the inner loops of {len(libraries)} kernels')


if __name__ == '__main__':
    main()
