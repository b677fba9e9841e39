"""What frameworks really say about fallbacks, with where each text is from. Standard library only."""

from __future__ import annotations

#: roboflow/rf-detr#29, torch 2.5 on a Mac: the warning as Python shows it.
MPS_2_5 = (
    "UserWarning: The operator 'aten::_upsample_bilinear2d_aa.out' is not currently supported on the MPS backend and "
    "will fall back to run on the CPU. This may have performance implications. (Triggered internally at "
    "/Users/runner/work/_temp/anaconda/conda-bld/pytorch_1729646995093/work/aten/src/ATen/mps/MPSFallback.mm:13.)"
)
#: invoke-ai/InvokeAI#262, torch 1.13 nightly: an operator without an overload's name.
MPS_1_13 = (
    "The operator 'aten::nonzero' is not currently supported on the MPS backend and will fall back to run on the CPU. "
    "This may have performance implications. (Triggered internally at  /Users/runner/miniforge3/conda-bld/"
    "pytorch-recipe_1660136240338/work/aten/src/ATen/mps/MPSFallback.mm:11.)"
)
#: pytorch#77764: what torch raises, and does not do, where the fallback is off. No fallback happened.
MPS_REFUSED = (
    "NotImplementedError: The operator 'aten::hardsigmoid.out' is not currently implemented for the MPS device. If you "
    "want this op to be added in priority during the prototype phase of this feature, please comment on "
    "https://github.com/pytorch/pytorch/issues/77764. As a temporary fix, you can set the environment variable "
    "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op."
)
#: TensorFlow 2.21 on Linux, as it was heard here; of three lines the device is replaced by a GPU (synthetic), for there
#: was none. The first line of each pair goes to standard output, the second is the log's.
TF_LOG = """\
value: (_Arg): /job:localhost/replica:0/task:0/device:CPU:0
I0000 00:00:1795390493.126154   15592 placer.cc:162] value: (_Arg): /job:localhost/replica:0/task:0/device:CPU:0
MatMul: (MatMul): /job:localhost/replica:0/task:0/device:GPU:0
I0000 00:00:1795390493.235882   15592 placer.cc:162] MatMul: (MatMul): /job:localhost/replica:0/task:0/device:GPU:0
Cumsum: (Cumsum): /job:localhost/replica:0/task:0/device:CPU:0
I0000 00:00:1795390493.235900   15592 placer.cc:162] Cumsum: (Cumsum): /job:localhost/replica:0/task:0/device:CPU:0
add: (AddV2): /job:localhost/replica:0/task:0/device:GPU:0
I0000 00:00:1795390493.235914   15592 placer.cc:162] add: (AddV2): /job:localhost/replica:0/task:0/device:GPU:0
I0000 00:00:1795390493.235959   15592 placer.cc:162] Cumsum/axis: (Const): /job:localhost/replica:0/task:0/device:CPU:0
I0000 00:00:1795390493.136922   15592 execute.cc:1775] Executing op Cumsum in device /job:localhost/replica:0/task:0/device:CPU:0
I0000 00:00:1795390493.240673   15592 execute.cc:1775] Executing op __inference_f_12 in device /job:localhost/replica:0/task:0/device:GPU:0
"""  # noqa: E501
