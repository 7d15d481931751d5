"""The mlp as a TensorFlow graph: tests/reference/peer.py's network on 1 x 1 images, its products as matrix
products. Called like peer.py: `peer_mlp.py mlp WIDTH RULE [STEPS]`, two hidden layers, batch 100.
"""
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reference"))
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

import peer  # noqa: E402

INPUTS, CLASSES, LAYERS, BATCH = 784, 10, 2, 100


class Dense(peer.Net):
    """As there, with tf.matmul for convolutions of 1 x 1."""

    def conv(self, a, w, i):
        product = tf.matmul(tf.reshape(a, [BATCH, -1]), w[0, 0])
        return tf.reshape(product, [BATCH, 1, 1, -1]) * self.scale[i]


def main():
    width, rule = int(sys.argv[2]), sys.argv[3]
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    random = np.random.RandomState(1)
    run = Dense(INPUTS, 1, [1] * LAYERS, [1] * LAYERS, width, CLASSES, 99, rule).step()
    x = tf.constant(random.random_sample((BATCH, 1, 1, INPUTS)).astype("f"))
    y = tf.constant(np.eye(CLASSES, dtype="f")[random.randint(CLASSES, size=BATCH)] - np.float32(0.1))
    rate = tf.constant(1.0)
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        float(run(x, y, rate)[0])
        times.append((time.perf_counter() - start) * 1e3)
    times = sorted(times[2:])
    print(json.dumps({"tensorflow": tf.__version__, "architecture": "mlp", "width": width, "rule": rule,
                      "ms_per_step": {"median": times[len(times) // 2], "min": times[0],
                                      "max": times[-1]}}))


if __name__ == "__main__":
    main()
