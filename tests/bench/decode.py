#!/usr/bin/python3
"""Images decoded per second and core: walign's imagefolder and torchvision's ImageFolder pipeline, same files, same run.

    decode.py PROGRAM FOLDER      the walign program; a folder with train/<class>/<image> (needs python3-torchvision)

Both make the training items of ImageNet: random resized crop to 224, mirroring, normalisation. Each is timed on one
core by the processor's time of the thread that works, in turns, so that what else runs disturbs both alike."""
import json, os, subprocess, sys, tempfile, time
import torch
import torchvision
from torchvision import transforms as T

TURNS, SECONDS = 5, 2.0

def peer(folder):
    torch.set_num_threads(1)
    data = torchvision.datasets.ImageFolder(os.path.join(folder, 'train'), T.Compose([
        T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize([.485, .456, .406], [.229, .224, .225])]))
    def turn():
        start = time.thread_time(); count = 0
        while time.thread_time() - start < SECONDS:
            data[count % len(data)]; count += 1
        return count / (time.thread_time() - start)
    return turn, len(data)

def walign(program, folder, items):
    config = {'dataset': {'plugin': 'imagefolder', 'dir': os.path.abspath(folder)}, 'architecture': {'plugin': 'cnn', 'width': 1, 'kernels': [3], 'strides': [16]},
              'rule': {'plugin': 'last-layer'}, 'batch': min(items, 8), 'evaluate': []}
    file = tempfile.NamedTemporaryFile('w', suffix='.json'); json.dump(config, file); file.flush()
    def turn():
        output = subprocess.run([program, 'bench', file.name, '--steps', '1', '--json'], check=True, capture_output=True, text=True).stdout
        return json.loads(output)['decoded_images_per_second_per_core']
    return turn, file

if __name__ == '__main__':
    program, folder = sys.argv[1:]
    theirs, items = peer(folder); ours, file = walign(program, folder, items)
    theirs(), ours()
    rates = [(ours(), theirs()) for _ in range(TURNS)]
    middle = lambda values: sorted(values)[len(values) // 2]
    a, b = middle([r[0] for r in rates]), middle([r[1] for r in rates])
    print(json.dumps({'images_per_second_per_core': {'walign': round(a, 1), 'torchvision': round(b, 1)}, 'ratio': round(a / b, 3), 'items': items, 'torchvision': torchvision.__version__}))
    sys.exit(a < b)
