"""Write numbers of PIL's bilinear resizing for tests/unit/test_images.c: make_pil_resize.py FILE (needs python3-pil).

The source is a formula, so that only results need to be kept. A case: crop, resize to `out`, keep `part`."""
import json, sys
from PIL import Image
import numpy as np

def source(width, height):
    y, x, c = np.mgrid[0:height, 0:width, 0:3]
    return ((x * x * 3 + y * 29 + x * y * 5 + c * 71) % 256).astype(np.uint8)

CASES = [((37, 29), (0, 0, 37, 29), (9, 7), (0, 0, 9, 7)),       # shrinking both
         ((37, 29), (5, 3, 20, 23), (8, 8), (0, 0, 8, 8)),       # crop, then shrinking
         ((37, 29), (30, 20, 4, 5), (9, 9), (0, 0, 9, 9)),       # enlarging
         ((37, 29), (2, 1, 8, 25), (8, 8), (0, 0, 8, 8)),        # one direction only
         ((37, 29), (0, 0, 37, 29), (16, 12), (4, 2, 8, 8)),     # a part of the result
         ((1, 29), (0, 0, 1, 29), (4, 3), (0, 0, 4, 3)),         # a single column
         ((8, 8), (0, 0, 8, 8), (8, 8), (0, 0, 8, 8))]           # unchanged

cases = []
for size, (x, y, w, h), out, (px, py, pw, ph) in CASES:
    image = Image.fromarray(source(*size)).crop((x, y, x + w, y + h)).resize(out, Image.BILINEAR)
    pixels = np.asarray(image)[py:py + ph, px:px + pw]
    cases.append(dict(size=size, crop=[x, y, w, h], out=out, part=[px, py, pw, ph], pixels=[int(v) for v in pixels.ravel()]))
with open(sys.argv[1], 'w') as file:
    json.dump(dict(source='(3 x x + 29 y + 5 x y + 71 c) mod 256', cases=cases), file)
    file.write('\n')
