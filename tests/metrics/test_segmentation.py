import json
import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from stylebridge.errors import DataError
from stylebridge.metrics import ConfusionMatrix, SegmentationScores

NAMES = ("sky", "road", "car", "tree")


def brute_force(prediction: list[int], target: list[int], num_classes: int) -> dict:
    """The scores by counting each class in plain Python, without a confusion matrix."""
    pairs = [(p, t) for p, t in zip(prediction, target, strict=True) if t != 255]
    iou, accuracy = [], []
    for k in range(num_classes):
        both = sum(1 for p, t in pairs if p == k and t == k)
        either = sum(1 for p, t in pairs if p == k or t == k)
        truth = sum(1 for _, t in pairs if t == k)
        iou.append(both / either if either else None)
        accuracy.append(both / truth if truth else None)
    present = [i for i, a in zip(iou, accuracy, strict=True) if a is not None]
    return {
        "iou": iou,
        "accuracy": accuracy,
        "miou_present": sum(present) / len(present),
        "miou_all": sum(i or 0.0 for i in iou) / num_classes,
        "pixel_accuracy": sum(p == t for p, t in pairs) / len(pairs),
        "pixels": len(pairs),
    }


def same(got: tuple, expected: list) -> bool:
    return len(got) == len(expected) and all(
        g is e if g is None or e is None else math.isclose(g, e) for g, e in zip(got, expected, strict=True)
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_scores_agree_with_counting_by_hand(seed, dtype):
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(1, 24))
    # Few draws from many classes, so that classes are often absent from truth, prediction or both.
    target = rng.integers(0, num_classes, (2, 3, 4))
    target[rng.random(target.shape) < 0.3] = 255
    target[0, 0, 0] = 0
    prediction = rng.integers(0, num_classes, target.shape)
    matrix = ConfusionMatrix(num_classes)
    matrix.update(torch.as_tensor(prediction).to(dtype), torch.as_tensor(target).to(dtype))
    scores = matrix.scores([f"class {k}" for k in range(num_classes)])
    expected = brute_force(prediction.ravel().tolist(), target.ravel().tolist(), num_classes)
    assert same(scores.iou, expected["iou"])
    assert same(scores.accuracy, expected["accuracy"])
    assert scores.pixels == expected["pixels"]
    for field in ("miou_present", "miou_all", "pixel_accuracy"):
        assert getattr(scores, field) == pytest.approx(expected[field], abs=1e-12)


def test_miou_agrees_with_torchmetrics_when_no_class_is_absent():
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 6, (4, 32, 32), generator=generator)
    prediction = torch.where(torch.rand(target.shape, generator=generator) < 0.6, target, target.flip(0))
    target[:, :4] = 255
    reference = MulticlassJaccardIndex(6, ignore_index=255, average="none")
    matrix = ConfusionMatrix(6)
    for p, t in zip(prediction, target, strict=True):
        matrix.update(p, t)
        reference.update(p[None], t[None])
    per_class = reference.compute()
    scores = matrix.scores("abcdef")
    assert scores.iou == pytest.approx(per_class.tolist(), abs=1e-6)
    assert scores.miou_present == scores.miou_all == pytest.approx(float(per_class.mean()), abs=1e-6)
    assert scores.protocol == "mIoU over 6 classes"


def test_rows_are_truth_and_columns_prediction():
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([1, 1, 2]), torch.tensor([0, 0, 2]))
    assert matrix.matrix.dtype == torch.int64
    assert matrix.matrix.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]


def test_absent_classes():
    matrix = ConfusionMatrix(4)
    # sky right, road never true but predicted once, car all missed, tree nowhere.
    matrix.update(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 0, 2]))
    scores = matrix.scores(NAMES)
    assert scores.iou == (0.5, 0.0, 0.0, None)
    assert scores.accuracy == (pytest.approx(2 / 3), None, 0.0, None)
    assert scores.miou_present == 0.25
    assert scores.miou_all == 0.125
    assert scores.protocol == "mIoU over the 2 of 4 classes present in the truth"


@pytest.mark.slow
def test_counts_beyond_float32_and_int32_are_exact():
    one = ConfusionMatrix(2)
    for _ in range(3):
        one.update(torch.zeros(2**23 + 1, dtype=torch.uint8), torch.zeros(2**23 + 1, dtype=torch.uint8))
    one.update(torch.tensor([1]), torch.tensor([0]))
    assert one.matrix.tolist() == [[3 * 2**23 + 3, 1], [0, 0]]  # 2**24 + 1 is no float32
    total = ConfusionMatrix(2)
    for _ in range(100):
        total.merge(one)
    scores = total.scores(["a", "b"])
    assert scores.pixels == 100 * (3 * 2**23 + 4) > 2**31
    assert scores.confusion[0] == (100 * (3 * 2**23 + 3), 100)


def test_merging_equals_counting_all_at_once():
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randint(0, 5, (2, 6, 7, 9), generator=generator)
    parts = [ConfusionMatrix(5) for _ in range(2)]
    for part, p, t in zip(parts, prediction.split(3), target.split(3), strict=True):
        part.update(p, t)
    whole = ConfusionMatrix(5)
    whole.update(prediction, target)
    parts[0].merge(parts[1])
    assert torch.equal(parts[0].matrix, whole.matrix)


def test_scores_survive_json():
    matrix = ConfusionMatrix(4)
    matrix.update(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 0, 2]))
    scores = matrix.scores(NAMES)
    assert SegmentationScores.from_dict(json.loads(json.dumps(scores.as_dict()))) == scores


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.long), torch.zeros(3, 2, dtype=torch.long), "differ in shape"),
        (torch.tensor([4]), torch.tensor([0]), r"prediction holds \[4\]"),
        (torch.tensor([-1]), torch.tensor([0]), r"prediction holds \[-1\]"),
        (torch.tensor([255]), torch.tensor([255]), r"prediction holds \[255\]"),
        (torch.tensor([0, 0]), torch.tensor([0, 7]), r"target holds \[7\]"),
        (torch.tensor([0.5]), torch.tensor([0]), "integer"),
        (torch.tensor([0]), torch.tensor([True]), "integer"),
    ],
)
def test_wrong_input_is_refused_and_counts_nothing(prediction, target, message):
    matrix = ConfusionMatrix(4)
    with pytest.raises(ValueError, match=message):
        matrix.update(prediction, target)
    assert int(matrix.matrix.sum()) == 0


def test_nothing_labelled_is_a_data_error():
    matrix = ConfusionMatrix(4)
    matrix.update(torch.tensor([1, 2]), torch.tensor([255, 255]))
    with pytest.raises(DataError, match="no labelled pixel"):
        matrix.scores(NAMES)


def test_wrong_numbers_of_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="merge"):
        ConfusionMatrix(3).merge(ConfusionMatrix(4))
    with pytest.raises(ValueError, match="2 class names for 3 classes"):
        ConfusionMatrix(3).scores(["a", "b"])
