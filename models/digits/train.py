#!/usr/bin/env python3
"""Train the digits CNN and write everything in this folder but the README: model.onnx, manifest.yaml, samples/.

    pip install -r requirements.txt && python train.py

The network is small enough that plain NumPy trains it in two minutes, so there is no training framework to install,
and the whole of what was computed is on this page. The same layers, with random weights, are `Zoo::Digits` in tests/zoo.
"""

import hashlib
import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = pathlib.Path(__file__).resolve().parent
SEED = 7
HELD_OUT = 0.2
EPOCHS = 80
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
DROPOUT = 0.25
SAMPLES_PER_DIGIT = 2


# --- data ---------------------------------------------------------------------------------------------------------


def load_split():
    """1797 images [n, 1, 8, 8], 0 to 16, split by label so that both parts have the same share of each digit."""
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    return train_test_split(images, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels)


def augment(images, random):
    """Each image turned, scaled, and moved a little: what another hand does to the same digit."""
    result = np.empty_like(images)
    center = np.array([3.5, 3.5])
    for index, image in enumerate(images):
        angle = np.deg2rad(random.uniform(-12, 12))
        scale = random.uniform(0.9, 1.1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        move = center - turn @ (center + random.uniform(-0.8, 0.8, 2))
        result[index, 0] = ndimage.affine_transform(image[0], turn, move, order=1)
    return result


# --- layers: each returns its output and a function from the output's gradient to the input's ---------------------


def conv3x3(x, weight, bias, gradients, name):
    """A convolution that keeps the size."""
    n, channels, height, width = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    columns = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n * height * width, channels * 9)
    matrix = weight.reshape(len(weight), -1)
    y = (columns @ matrix.T + bias).reshape(n, height, width, -1).transpose(0, 3, 1, 2)

    def backward(dy):
        flat = dy.transpose(0, 2, 3, 1).reshape(n * height * width, -1)
        gradients[f"{name}.weight"] = (flat.T @ columns).reshape(weight.shape)
        gradients[f"{name}.bias"] = flat.sum(0)
        parts = (flat @ matrix).reshape(n, height, width, channels, 3, 3)
        dx = np.zeros_like(padded)
        for row in range(3):
            for column in range(3):
                part = parts[..., row, column].transpose(0, 3, 1, 2)
                dx[:, :, row : row + height, column : column + width] += part
        return dx[:, :, 1:-1, 1:-1]

    return y, backward


def relu(x):
    return np.maximum(x, 0), lambda dy: dy * (x > 0)


def max_pool(x):
    """Maximum over squares of 2."""
    n, channels, height, width = x.shape
    squares = x.reshape(n, channels, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    squares = squares.reshape(n, channels, height // 2, width // 2, 4)
    winner = squares.argmax(-1)[..., None]

    def backward(dy):
        dx = np.zeros_like(squares)
        np.put_along_axis(dx, winner, dy[..., None], -1)
        dx = dx.reshape(n, channels, height // 2, width // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
        return dx.reshape(x.shape)

    return np.take_along_axis(squares, winner, -1)[..., 0], backward


def flatten(x):
    return x.reshape(len(x), -1), lambda dy: dy.reshape(x.shape)


def fully_connected(x, weight, bias, gradients, name):
    def backward(dy):
        gradients[f"{name}.weight"] = dy.T @ x
        gradients[f"{name}.bias"] = dy.sum(0)
        return dy @ weight

    return x @ weight.T + bias, backward


def dropout(x, random):
    keep = (random.random(x.shape) >= DROPOUT).astype(np.float32) / (1 - DROPOUT)
    return x * keep, lambda dy: dy * keep


# --- the network --------------------------------------------------------------------------------------------------


def initial_weights(random):
    def layer(*shape):
        fan_in = int(np.prod(shape[1:]))
        return random.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32), np.zeros(shape[0], np.float32)

    shapes = {"conv1": (16, 1, 3, 3), "conv2": (32, 16, 3, 3), "conv3": (64, 32, 3, 3), "fc1": (64, 256), "fc2": (10, 64)}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"], weights[f"{name}.bias"] = layer(*shape)
    return weights


def forward(weights, images, random=None):
    """Logits, and a function from their gradient to the gradients of the weights. Drops out if `random` is given."""
    gradients = {}
    steps = []

    def apply(result):
        steps.append(result[1])
        return result[0]

    def parameters(name):
        return weights[f"{name}.weight"], weights[f"{name}.bias"], gradients, name

    x = images * np.float32(1 / 16)
    x = apply(relu(apply(conv3x3(x, *parameters("conv1")))))
    x = apply(max_pool(apply(relu(apply(conv3x3(x, *parameters("conv2")))))))
    x = apply(max_pool(apply(relu(apply(conv3x3(x, *parameters("conv3")))))))
    x = apply(flatten(x))
    x = apply(relu(apply(fully_connected(x, *parameters("fc1")))))
    if random is not None:
        x = apply(dropout(x, random))
    logits = apply(fully_connected(x, *parameters("fc2")))

    def backward(gradient):
        for step in reversed(steps):
            gradient = step(gradient)
        return gradients

    return logits, backward


def cross_entropy_gradient(logits, labels):
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = shifted / shifted.sum(1, keepdims=True)
    probabilities[np.arange(len(labels)), labels] -= 1
    return (probabilities / len(labels)).astype(np.float32)


def accuracy(weights, images, labels):
    return float((forward(weights, images)[0].argmax(1) == labels).mean())


def train(images, labels):
    """Adam with decoupled weight decay and a cosine schedule. The held-out images are not seen here, so they choose nothing."""
    random = np.random.default_rng(SEED)
    weights = initial_weights(random)
    first = {name: np.zeros_like(weight) for name, weight in weights.items()}
    second = {name: np.zeros_like(weight) for name, weight in weights.items()}
    steps = EPOCHS * (len(images) // BATCH)
    step = 0
    for epoch in range(EPOCHS):
        order = random.permutation(len(images))
        seen = augment(images, random)
        for at in range(0, len(images) - BATCH + 1, BATCH):
            chosen = order[at : at + BATCH]
            logits, backward = forward(weights, seen[chosen], random)
            gradients = backward(cross_entropy_gradient(logits, labels[chosen]))
            step += 1
            rate = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            for name, gradient in gradients.items():
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                mean = first[name] / (1 - 0.9**step)
                square = second[name] / (1 - 0.999**step)
                update = mean / (np.sqrt(square) + 1e-8) + WEIGHT_DECAY * weights[name]
                weights[name] = (weights[name] - rate * update).astype(np.float32)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: accuracy on the training images {accuracy(weights, images, labels):.4f}")
    return weights


# --- what is written ----------------------------------------------------------------------------------------------


def write_model(weights, path):
    def conv(name, x):
        pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
        return [
            helper.make_node("Conv", [x, f"{name}.weight", f"{name}.bias"], [name], name=name, **pads),
            helper.make_node("Relu", [name], [f"{name}_relu"], name=f"{name}_relu"),
        ]

    def pool(name):
        shape = {"kernel_shape": [2, 2], "strides": [2, 2]}
        return [helper.make_node("MaxPool", [f"{name}_relu"], [f"{name}_pool"], name=f"{name}_pool", **shape)]

    def fc(name, x, y):
        return helper.make_node("Gemm", [x, f"{name}.weight", f"{name}.bias"], [y], name=name, transB=1)

    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"], name="scale_pixels"),
        *conv("conv1", "scaled"),
        *conv("conv2", "conv1_relu"),
        *pool("conv2"),
        *conv("conv3", "conv2_pool"),
        *pool("conv3"),
        helper.make_node("Flatten", ["conv3_pool"], ["flat"], name="flatten", axis=1),
        fc("fc1", "flat", "fc1"),
        helper.make_node("Relu", ["fc1"], ["fc1_relu"], name="fc1_relu"),
        fc("fc2", "fc1_relu", "logits"),
        helper.make_node("ArgMax", ["logits"], ["digit"], name="argmax", axis=1, keepdims=0),
    ]
    tensors = [numpy_helper.from_array(np.float32(1 / 16), "scale")]
    tensors += [numpy_helper.from_array(weight, name) for name, weight in weights.items()]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10]),
            helper.make_tensor_value_info("digit", TensorProto.INT64, ["N"]),
        ],
        tensors,
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="models/digits/train.py")
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def file_accuracy(path, images, labels):
    """Accuracy of the written file, run by the reference implementation of ONNX: what is shipped is what is measured."""
    _, digit = ReferenceEvaluator(str(path)).run(["logits", "digit"], {"image": images})
    return float((digit == labels).mean())


MANIFEST = """\
# Written by train.py.
apiVersion: axon.mlos.io/v1
kind: Model
metadata:
  name: digits
  namespace: mlos
  version: 1.0.0
  description: A small convolutional network that reads handwritten digits from images of 8x8 pixels.
  license: MIT OR Apache-2.0
  tags: [vision, classification, digits]
spec:
  framework:
    name: onnx
    version: "{onnx_version}"
  format:
    type: onnx
    execution_format: onnx
    files:
      - path: model.onnx
        size: {size}
        sha256: {sha256}
    execution_files:
      - path: model.onnx
        format: onnx
        type: single
  io:
    inputs:
      - name: image
        dtype: float32
        shape: [-1, 1, 8, 8]
        description: Brightness of each pixel from 0 (paper) to 16 (ink), row by row.
        preprocessing:
          type: image
          config:
            width: 8
            height: 8
            grayscale: true
            layout: nchw
            # A grey value of 0 to 255 becomes 0 to 16.
            scale: {scale}
    outputs:
      - name: logits
        dtype: float32
        shape: [-1, 10]
        description: One score for each digit; softmax makes probabilities of them.
      - name: digit
        dtype: int64
        shape: [-1]
        description: The digit with the highest score.
  serving:
    splittable: true
  requirements:
    compute:
      cpu: {{min_cores: 1, recommended_cores: 1}}
      memory: {{min_gb: 0.01, recommended_gb: 0.05}}
    storage: {{min_gb: 0.001, recommended_gb: 0.001}}
  performance:
    accuracy: {{held_out: {accuracy:.4f}}}
    dataset: Optical Recognition of Handwritten Digits, {held_out} held-out images
"""


def write_manifest(path, model_path, accuracy, held_out):
    data = model_path.read_bytes()
    text = MANIFEST.format(
        onnx_version=onnx.__version__,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        scale=16 / 255,
        accuracy=accuracy,
        held_out=held_out,
    )
    path.write_text(text)


def write_samples(folder, images, labels, weights):
    """The first held-out images of each digit, whether the model gets them right or not."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    entries = []
    for digit in range(10):
        for count, index in enumerate(np.flatnonzero(labels == digit)[:SAMPLES_PER_DIGIT]):
            pixels = images[index, 0]
            name = f"{digit}-{count}.png"
            Image.fromarray(np.rint(pixels * 255 / 16).astype(np.uint8)).save(folder / name, optimize=True)
            predicted = int(forward(weights, images[index : index + 1])[0].argmax())
            flat = [int(pixel) for pixel in pixels.ravel()]
            entries.append({"file": name, "label": digit, "predicted": predicted, "image": flat})
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    (folder / "samples.json").write_text(f"[\n{lines}\n]\n")


def main():
    train_images, held_images, train_labels, held_labels = load_split()
    weights = train(train_images, train_labels)
    model = HERE / "model.onnx"
    write_model(weights, model)
    result = file_accuracy(model, held_images, held_labels)
    right = round(result * len(held_labels))
    print(f"held-out accuracy {result:.4f} ({right} of {len(held_labels)})")
    write_manifest(HERE / "manifest.yaml", model, result, len(held_labels))
    write_samples(HERE / "samples", held_images, held_labels, weights)


if __name__ == "__main__":
    main()
