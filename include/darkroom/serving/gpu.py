"""GPUs as NVML sees them; nothing where there is no driver.

Source: https://docs.nvidia.com/deploy/nvml-api/
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable

import pynvml  # type: ignore[import-untyped]

from darkroom.serving.status import GpuStatus

log = logging.getLogger(__name__)
_EVENT_WAIT_MS = 1000
_MB = 1 << 20


def gpu_count() -> int:
    """GPUs that the driver shows; 0 where there is none."""
    try:
        pynvml.nvmlInit()
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return 0


class Gpu:
    """One GPU: what it is, how warm and how full, and which Xid errors it reported."""

    def __init__(self, gpu: str) -> None:
        """A GPU by its index or its UUID (`GPU-...`), as `CUDA_VISIBLE_DEVICES` takes it.

        Raises:
            ValueError: there is no such GPU; the message says which there are.
        """
        count = gpu_count()
        try:
            self._handle = (
                pynvml.nvmlDeviceGetHandleByIndex(int(gpu))
                if gpu.isdigit()
                else pynvml.nvmlDeviceGetHandleByUUID(gpu)
            )
        except pynvml.NVMLError as error:
            there = ", ".join(str(index) for index in range(count)) or "none"
            raise ValueError(f"no GPU {gpu!r} ({error}); there are: {there}") from error
        self._xids: deque[int] = deque(maxlen=16)

    def watch_errors(self) -> None:
        """Note Xid errors from now on, until the process ends."""
        threading.Thread(target=self._watch_xids, daemon=True, name="xid").start()

    @property
    def index(self) -> int:
        """Its number on this machine."""
        return int(pynvml.nvmlDeviceGetIndex(self._handle))

    @property
    def memory_total_mb(self) -> int:
        """All of its memory."""
        return int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).total) // _MB

    def look(self) -> GpuStatus | None:
        """One look; None when the driver has lost the GPU."""
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
            return GpuStatus(
                index=self.index,
                uuid=pynvml.nvmlDeviceGetUUID(self._handle),
                name=pynvml.nvmlDeviceGetName(self._handle),
                temperature_c=pynvml.nvmlDeviceGetTemperature(self._handle, pynvml.NVML_TEMPERATURE_GPU),
                memory_used_mb=int(memory.used) // _MB,
                memory_total_mb=int(memory.total) // _MB,
                xid_errors=list(self._xids),
            )
        except pynvml.NVMLError as error:
            log.warning("GPU not seen: %s", error)
            return None

    def memory_mb(self, pids: Iterable[int]) -> int | None:
        """What processes take of its memory; None where the driver does not say (in some containers)."""
        ours = set(pids)
        try:
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except pynvml.NVMLError:
            return None
        used = [process.usedGpuMemory for process in running if process.pid in ours]
        return sum(used) // _MB if used and None not in used else None

    def _watch_xids(self) -> None:
        try:
            events = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(self._handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError as error:
            log.info("no Xid errors are reported: %s", error)
            return
        while True:
            try:
                event = pynvml.nvmlEventSetWait_v2(events, _EVENT_WAIT_MS)
            except pynvml.NVMLError_Timeout:
                continue
            except pynvml.NVMLError as error:
                log.warning("Xid errors are no longer reported: %s", error)
                return
            log.error("GPU error Xid %d", event.eventData)
            self._xids.append(int(event.eventData))
