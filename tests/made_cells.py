"""Made cells for tests of data sets: a dark lobed nucleus with grain on a bright ground with red cells."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def made_cell(seed, height=150, width=170):
    """Draw one cell, (H, W, 3) ``uint8``; every seed is another cell."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (235, 220, 205), np.float32)
    for _ in range(6):
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        cv2.circle(image, centre, int(rng.integers(18, 28)), (205, 160, 150), -1)
    middle = np.array([width / 2, height / 2])
    cv2.circle(image, tuple(int(x) for x in middle + rng.normal(0, 3, 2)), 45, (190, 170, 200), -1)
    for _ in range(int(rng.integers(2, 5))):
        centre = tuple(int(x) for x in middle + rng.normal(0, 14, 2))
        axes = (int(rng.integers(12, 24)), int(rng.integers(10, 20)))
        cv2.ellipse(image, centre, axes, float(rng.integers(0, 180)), 0, 360, (95, 50, 130), -1)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.5)
    image += 60 * grain[:, :, np.newaxis]
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 0, 255).astype(np.uint8)


def photographed(image, blur, seed=0):
    """Blur by a Gaussian of ``blur`` pixels and add camera noise of its own."""
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    blurred = cv2.GaussianBlur(image, (0, 0), blur) if blur else image
    return np.clip(blurred + noise, 0, 255).astype(np.uint8)


def save_image(path, image, quality=90):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **({"quality": quality} if path.suffix == ".jpg" else {}))
    return path


def make_dataset(root, fields=4, cells=2, slices=5):
    """Write a small data set of distinct cells with labels -0.4 ... 0.4; return its folder."""
    lines = ["image_path,focus_score"]
    for number in range(fields * cells):
        stack = f"stack_{number // cells + 1:03d}_cell_{number % cells}"
        cell = made_cell(1000 + number)
        for k in range(slices):
            defocus = k - slices // 2
            name = f"cell_stacks/{stack}/{k}.jpg"
            save_image(root / name, photographed(cell, 1.5 * abs(defocus), seed=100 * number + k))
            lines.append(f"{name},{defocus / 5:g}")
    (root / "focus_labels.csv").write_text("\n".join(lines) + "\n")
    return root
