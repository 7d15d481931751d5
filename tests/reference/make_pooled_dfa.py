"""Write the golden case of dfa with pooled feedback: make_pooled_dfa.py FOLDER, with the images of make_golden.py there.

B_l [classes, C] acts on the pooled relu(h_l), standard deviation 1/sqrt(C), drawn after W_l in the order class, channel.
It is the definition, written with autograd: the gradient of sum(B_l . pool(relu(h_l))) times the output error."""
import json, math, os, sys
import numpy as np, torch, torch.nn.functional as F
from reference import KMNIST, bn, same_conv
from make_golden import tensor

def draw(arch, width, classes, seed):
    r = np.random.RandomState(seed); layers, c = [], arch['channels']
    for i in range(len(arch['kernels']) + 1):
        last = i == len(arch['kernels']); o, k = (classes, 1) if last else (width, arch['kernels'][i])
        w = torch.tensor(r.normal(size=(o, k, k, c)).transpose(0, 3, 1, 2).copy()).requires_grad_()
        B = None if last else torch.tensor(r.normal(scale=1 / math.sqrt(o), size=(classes, o)))
        layers.append((w, torch.zeros(o, dtype=torch.float64, requires_grad=True), B, 1 / math.sqrt(k * k * c))); c = o
    return layers

def step(layers, strides, x, y):
    """The loss, and one gradient for each weight and bias."""
    h, pooled = x, []
    for (w, b, _, scale), s in zip(layers[:-1], strides):
        h = bn(same_conv((F.relu(h) if pooled else h).detach(), w, s) * scale + b.view(1, -1, 1, 1))
        pooled.append(F.relu(h).mean((2, 3)))
    w, b, _, scale = layers[-1]
    out = pooled[-1].detach() @ w.flatten(1).T * scale + b
    loss = ((out - y) ** 2).mean(); error = torch.autograd.grad(loss, out, retain_graph=True)[0]
    direct = sum((p @ B.T * error).sum() for p, (_, _, B, _) in zip(pooled, layers))
    flat = [p for w, b, _, _ in layers for p in (w, b)]
    return loss.item(), (out.argmax(1) == y.argmax(1)).double().mean().item(), torch.autograd.grad(loss + direct, flat), flat

if __name__ == '__main__':
    folder, width, seed, batch, steps, lr = sys.argv[1], 16, 99, 20, 5, 2.0
    other = json.load(open(os.path.join(folder, 'kmnist-cnn-w16-dfa-sgd.json')))
    u8 = np.fromfile(os.path.join(folder, other['images']), np.uint8).reshape(-1, 28, 28, 1); labels = other['labels']
    layers = draw(KMNIST, width, 10, seed); before = [(w.detach().clone(), b.detach().clone()) for w, b, _, _ in layers]; L, A = [], []
    for k in range(steps):
        s = slice(k * batch, (k + 1) * batch); x = torch.tensor((u8[s].astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2).copy(), dtype=torch.float64)
        y = F.one_hot(torch.tensor(labels[s]), 10).double() - .1
        loss, accuracy, gradients, flat = step(layers, KMNIST['strides'], x, y); L.append(loss); A.append(accuracy)
        with torch.no_grad():
            for p, g in zip(flat, gradients): p -= lr * g
    P = {}
    for i, ((w, b, _, _), (w0, b0)) in enumerate(zip(layers, before)):
        n = 'readout' if i == len(layers) - 1 else 'conv%d' % (i + 1)
        P[n + '.weight'] = tensor(w, w0, True); P[n + '.bias'] = tensor(b, b0, False)
    case = {k: other[k] for k in ('architecture', 'kernels', 'strides', 'input', 'width', 'classes', 'seed', 'rule', 'optimizer', 'parameterization', 'learning_rate', 'batch', 'steps', 'images', 'labels', 'weight_order')}
    case.update(case='kmnist-cnn-w16-dfa-pooled-sgd', rule_options=dict(feedback='pooled'), loss=L, accuracy=A, parameters=P)
    with open(os.path.join(folder, case['case'] + '.json'), 'w') as file: json.dump(case, file, indent=1)
    print(case['case'], L)
