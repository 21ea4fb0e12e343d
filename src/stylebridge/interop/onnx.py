"""Export segmenters to ONNX: any batch size and image size, images in [0, 1], independent of this package."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from stylebridge.errors import WeightsError, one_line
from stylebridge.networks.segmenters.build import Segmenter

OPSET = 18
_MISSING = "ONNX export needs onnx, onnxscript and onnxruntime: `pip install 'stylebridge[export]'`."

#: Pads images [B, 3, H, W] at the bottom and right, by reflection, to multiples of the network's stride.
_PAD = """
<ir_version: 10, opset_import: ["" : 18]>
pad (float[batch, 3, height, width] image)
    => (float[batch, 3, canvas_height, canvas_width] padded_image, int64[2] image_size)
{{
    shape = Shape (image)
    two = Constant <value_ints = [2]> ()
    four = Constant <value_ints = [4]> ()
    stride = Constant <value_ints = [{stride}]> ()
    almost = Constant <value_ints = [{almost}]> ()
    smallest = Constant <value_ints = [{smallest}]> ()
    begin = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
    image_size = Slice (shape, two, four)
    over = Add (image_size, almost)
    pieces = Div (over, stride)
    multiple = Mul (pieces, stride)
    canvas = Max (multiple, smallest)
    extra = Sub (canvas, image_size)
    pads = Concat <axis = 0> (begin, extra)
    padded_image = Pad <mode = "reflect"> (image, pads)
}}
"""

#: Crops logits to the image's size.
_CUT = """
<ir_version: 10, opset_import: ["" : 18]>
cut (float[batch, classes, canvas_height, canvas_width] padded_logits, int64[2] size)
    => (float[batch, classes, height, width] logits)
{
    zeros = Constant <value_ints = [0, 0]> ()
    axes = Constant <value_ints = [2, 3]> ()
    logits = Slice (padded_logits, zeros, size, axes)
}
"""


def export_onnx(segmenter: Segmenter, path: Path, facts: Mapping[str, str]) -> None:
    """Write a segmenter as an ONNX file: ``image`` float [B, 3, H, W] RGB in [0, 1] → ``logits`` [B, K, H, W].

    The network itself is exported for sides that are multiples of its stride; padding and cropping are separate nodes
    before and after it.

    Args:
        facts: the file's metadata.

    Raises:
        WeightsError: the packages are missing, or the network cannot be exported.
    """
    with _packages():
        import onnx
        from onnx import compose, parser, version_converter
    stride, smallest = getattr(segmenter, "stride", 1), getattr(segmenter, "smallest", 1)
    core = _core(segmenter.eval(), stride, smallest)
    if stride > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = next(o.version for o in core.opset_import if o.domain == "")
            if found != OPSET:
                core = version_converter.convert_version(core, OPSET)
            core.ir_version = 10
            pad = parser.parse_model(_PAD.format(stride=stride, almost=stride - 1, smallest=smallest))
            joined = compose.merge_models(
                pad, core, io_map=[("padded_image", "core_image")], outputs=["core_logits", "image_size"]
            )
            core = compose.merge_models(
                joined,
                parser.parse_model(_CUT),
                io_map=[("core_logits", "padded_logits"), ("image_size", "size")],
            )
    for key, value in facts.items():
        entry = core.metadata_props.add()
        entry.key, entry.value = key, value
    core.producer_name = "stylebridge"
    onnx.checker.check_model(core)
    onnx.save(core, path)


def _core(segmenter: Segmenter, stride: int, smallest: int) -> Any:
    """The network as an ONNX model; with a stride, its input and output are ``core_image`` and ``core_logits``."""
    names = ("core_image", "core_logits") if stride > 1 else ("image", "logits")

    def side(name: str) -> Any:
        if stride == 1:
            return torch.export.Dim(name, min=16, max=16384)
        return stride * torch.export.Dim(name, min=max(1, smallest // stride), max=16384 // stride)

    dynamic = {"image": {0: torch.export.Dim("batch", min=1, max=256), 2: side("h"), 3: side("w")}}
    # Example sizes: two images, different sides that are nowhere 1 inside the network.
    segmenter = copy.deepcopy(segmenter)
    _fix_padding(segmenter, stride)
    example = torch.rand(2, 3, max(smallest, 4 * stride, 64), max(smallest, 6 * stride, 96))
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                segmenter, (example,), dynamo=True, dynamic_shapes=dynamic, opset_version=OPSET,
                input_names=[names[0]], output_names=[names[1]], verbose=False,
            )  # fmt: skip
    except Exception as error:
        reason = one_line(error)[:160]
        raise WeightsError(
            f"{segmenter.config.arch} with {segmenter.config.encoder} cannot be exported to ONNX ({reason}): choose "
            f"another architecture."
        ) from error
    assert program is not None
    return program.model_proto


def _fix_padding(network: nn.Module, stride: int) -> None:
    """Replace the dynamic padding of TensorFlow-style convolutions by a fixed one.

    If the sides are multiples of the network's stride, the padding of each strided convolution is always the same; as a
    formula of the size, it takes the exporter minutes.
    """
    for name, child in list(network.named_children()):
        module: Any = child
        if not isinstance(child, Conv2dSame) or stride % module.stride[0]:
            _fix_padding(module, stride)
            continue
        pads = []
        for kernel, step, dilation in zip(module.kernel_size, module.stride, module.dilation, strict=True):
            total = max((kernel - 1) * dilation + 1 - step, 0)
            pads = [total // 2, total - total // 2, *pads]
        plain = nn.Conv2d(
            module.in_channels, module.out_channels, module.kernel_size, module.stride,
            dilation=module.dilation, groups=module.groups, bias=module.bias is not None,
        )  # fmt: skip
        plain.load_state_dict(module.state_dict())
        setattr(network, name, nn.Sequential(nn.ZeroPad2d(tuple(pads)), plain))  # type: ignore[arg-type]


class OnnxSegmenter:
    """An exported file, run by onnxruntime on the CPU.

    Raises:
        WeightsError: onnxruntime is missing, or the file cannot be run.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        with _packages():
            import onnxruntime
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or torch.get_num_threads()
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            reason = one_line(error)[:160]
            raise WeightsError(f"{path} cannot be run by onnxruntime ({reason}): export it again.") from error

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata: classes, label space, input format."""
        return self.session.get_modelmeta().custom_metadata_map

    def __call__(self, image: Tensor) -> Tensor:
        """RGB [B, 3, H, W] in [0, 1] to logits [B, K, H, W]."""
        (logits,) = self.session.run(["logits"], {"image": np.ascontiguousarray(image.numpy())})
        return torch.from_numpy(logits)


@contextlib.contextmanager
def _packages() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise WeightsError(_MISSING) from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence the exporter's output, logs and warnings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


__all__ = ["OPSET", "OnnxSegmenter", "export_onnx"]
