"""List the checks in their order: the cheapest and most decisive first."""

from benchmarks.gpu_check.context import Check

GPU = ("cuda",)

CHECKS = [
    Check("env", "machine:environment", limit_s=60, alone=True),
    Check("noise", "machine:noise_images", limit_s=150, background=True),
    Check("train", "runs:default", limit_s=110, alone=True),
    Check("waits", "waits:waits_per_step", limit_s=90, alone=True),
    Check("kernels", "speed:kernels", limit_s=90, devices=GPU, alone=True, after="noise"),
    Check("speed", "speed:epochs", limit_s=90, alone=True, after="noise"),
    Check("small_batches", "speed:small_batches", limit_s=60, alone=True, after="noise"),
    Check("ema", "runs:averaging", limit_s=60, alone=True, after="noise"),
    # not about speed: several at a time
    Check("clipping", "runs:clipping", limit_s=60),
    Check("deterministic", "exact:deterministic", limit_s=100),
    Check("resume", "exact:resume", limit_s=80),
    Check("ranks", "ranks:two_ranks", limit_s=90),
    Check("resident", "runs:resident", devices=GPU),
    Check("precision", "runs:precisions"),
    Check("scaled", "runs:scaled_gradients", devices=GPU),
    Check("rerun", "exact:repeat"),
    Check("against_cpu", "exact:against_cpu", devices=GPU),
    Check("device", "runs:missing_gpu", limit_s=90),
    Check("serve", "exact:serve", limit_s=120),
    Check("features", "runs:features", limit_s=120),
    Check("nccl", "ranks:nccl", limit_s=90, devices=GPU),
    Check("pytest.gpu", "suites:on_gpu", limit_s=120),
    Check("accuracy", "runs:accuracy", limit_s=100, devices=GPU),
    # the whole device again
    Check("sweep.default", "sweeps:one_at_a_time", limit_s=120, alone=True),
    Check("sweep.shared", "sweeps:several_at_a_time", limit_s=120, alone=True),
    Check("sweep.limited", "sweeps:limited", limit_s=100, devices=GPU, alone=True),
    Check("sweep.interrupted", "sweeps:interrupted", limit_s=150, alone=True),
    Check("memory.large", "memory:too_large", limit_s=60, alone=True),
    Check("memory.crowded", "memory:crowded", limit_s=60, devices=GPU, alone=True),
    Check("compile.cold", "runs:compile_default_cold", 90, devices=GPU, alone=True, after="noise"),
    Check("compile.warm", "runs:compile_default_warm", 60, devices=GPU, alone=True, after="noise"),
    Check("compile.graphs", "runs:compile_graphs", 90, devices=GPU, alone=True, after="noise"),
    Check("paper.64", "speed:paper_64", 95, 25, devices=GPU, alone=True, after="noise"),
    Check("paper.128", "speed:paper_128", 200, 60, devices=GPU, alone=True, after="noise"),
    Check("sweep.spawn", "sweeps:spawned", limit_s=120, alone=True),
    Check("sweep.mps", "sweeps:with_mps", limit_s=90, devices=GPU, alone=True),
    Check("pytest.quick", "suites:ordinary", 300, 60, devices=GPU, alone=True),
]

MODULES = sorted({f"{__package__}.{check.function.split(':')[0]}" for check in CHECKS})
