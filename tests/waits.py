"""Count operations that would make the CPU wait for a GPU, on a machine without a GPU."""

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten
GPU = torch.device("cuda:0")
SIZE_DEPENDS_ON_VALUES = {
    *(aten.nonzero.default, aten.masked_select.default, aten._unique2.default),
    *(aten.repeat_interleave.Tensor, aten.bincount.default),
}


class Waits(TorchDispatchMode):
    """Give tensors on "cuda:0" shapes without values inside the block; list the waits in `found`.

    Waits are reads of a value, copies to the CPU, copies from CPU memory that is not pinned, and
    results whose size depends on values, as in torch.cuda.set_sync_debug_mode.
    """

    def __init__(self):
        super().__init__()
        self.found = []
        self.pinned = []
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)

    def __enter__(self):
        self.fake.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.fake.__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if func is aten._pin_memory.default:  # it pins nothing without a GPU
            self.pinned.append(args[0].clone())
            return self.pinned[-1]
        device = kwargs.get("device")
        to_gpu = device is not None and torch.device(device).type == "cuda"
        if not to_gpu and not any(isinstance(tensor, FakeTensor) for tensor in tensors):
            with unset_fake_temporarily():  # CPU tensors have values
                return func(*args, **kwargs)
        if self._waits(func, args, kwargs):
            self.found.append(str(func))
        return func(*args, **kwargs)

    def _waits(self, func, args, kwargs):
        if func is aten._to_copy.default:
            target = torch.device(kwargs.get("device") or args[0].device)
            return self._copy_waits(args[0], target, kwargs.get("non_blocking"))
        if func is aten.copy_.default:
            return self._copy_waits(args[1], args[0].device, len(args) > 2 and args[2])
        if func is aten._local_scalar_dense.default or func in SIZE_DEPENDS_ON_VALUES:
            return True
        if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            masked = any(i is not None and i.dtype == torch.bool for i in args[1])
            fills = func is not aten.index.Tensor and args[2].numel() == 1  # like masked_fill
            return masked and not fills
        return False

    def _copy_waits(self, tensor, target, non_blocking):
        if tensor.device.type == target.type:
            return False
        pinned = any(tensor is one for one in self.pinned)
        return not (target.type == "cuda" and non_blocking and pinned)
