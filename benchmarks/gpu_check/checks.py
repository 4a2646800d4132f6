"""List the checks in their order: the fastest and most important first."""

from benchmarks.gpu_check.context import Check

GPU = ("cuda",)

CHECKS = [
    Check("env", "machine:environment", limit_s=60, alone=True, required=True),
    Check("noise", "machine:noise_images", limit_s=180, background=True, after="env"),
    Check("train", "runs:default", limit_s=110, alone=True),
    Check("waits", "waits:waits_per_step", limit_s=60, alone=True),
    Check("kernels", "speed:kernels", limit_s=80, devices=GPU, alone=True, after="noise"),
    Check("speed", "speed:epochs", limit_s=80, alone=True, after="noise"),
    Check("small_batches", "speed:small_batches", limit_s=60, alone=True, after="noise"),
    Check("ema", "runs:averaging", limit_s=50, alone=True, after="noise"),
    # checks that do not measure speed run several at a time
    Check("pytest.quick", "suites:ordinary", limit_s=200, needs_s=60, devices=GPU),
    Check("pytest.gpu", "suites:on_gpu", limit_s=150),
    Check("deterministic", "exact:deterministic", limit_s=110),
    Check("clipping", "runs:clipping", limit_s=60),
    Check("resume", "exact:resume", limit_s=80),
    Check("ranks", "ranks:two_ranks", limit_s=90),
    Check("precision", "runs:precisions"),
    Check("scaled", "runs:scaled_gradients", devices=GPU),
    Check("against_cpu", "exact:against_cpu", devices=GPU),
    Check("resident", "runs:resident", devices=GPU),
    Check("rerun", "exact:repeat", limit_s=90),
    Check("serve", "exact:serve", limit_s=120),
    Check("features", "runs:features", limit_s=120),
    Check("device", "runs:missing_gpu", limit_s=90),
    Check("nccl", "ranks:nccl", limit_s=90, devices=GPU),
    Check("accuracy", "runs:accuracy", limit_s=100, devices=GPU),
    # again one check at a time
    Check("sweep.default", "sweeps:one_at_a_time", limit_s=100, needs_s=20, alone=True),
    Check("sweep.shared", "sweeps:several_at_a_time", limit_s=90, needs_s=20, alone=True),
    Check("memory.large", "memory:too_large", limit_s=60, alone=True),
    Check("memory.crowded", "memory:crowded", limit_s=60, devices=GPU, alone=True),
    Check("paper.64", "speed:paper_64", 95, 25, devices=GPU, alone=True, after="noise"),
    Check("paper.128", "speed:paper_128", 150, 45, devices=GPU, alone=True, after="noise"),
    Check("sweep.interrupted", "sweeps:interrupted", limit_s=150, needs_s=30, alone=True),
    Check("compile.graphs", "runs:compile_graphs", 90, devices=GPU, alone=True, after="noise"),
    Check("compile.cold", "runs:compile_default_cold", 90, devices=GPU, alone=True, after="noise"),
    Check("compile.warm", "runs:compile_default_warm", 60, devices=GPU, alone=True, after="noise"),
    Check("sweep.limited", "sweeps:limited", limit_s=90, needs_s=20, devices=GPU, alone=True),
    Check("sweep.spawn", "sweeps:spawned", limit_s=120, needs_s=20, alone=True),
    Check("waits.others", "waits:others", limit_s=90, devices=GPU, alone=True),
    Check("sweep.mps", "sweeps:with_mps", limit_s=90, needs_s=30, devices=GPU, alone=True),
]

MODULES = sorted({f"{__package__}.{check.function.split(':')[0]}" for check in CHECKS})
