"""Define the names of settings and of keys in metrics.json that the checks use."""

N_JOBS = "sweep.n_jobs"  # trials at a time
JOBS_PER_GPU = "sweep.jobs_per_gpu"
START_METHOD = "hydra.launcher.start_method"

HARDWARE = "hardware"
PRECISION = "precision"
EFFECTIVE_BATCH = "effective_batch_size"
PEAK_GPU_MB = "peak_gpu_mb"
MICRO_BATCH = "micro_batch"

CLI = "src.train"  # python -m
PRELOAD = ("torch", "torchvision", "lightning", "torchmetrics", "alexlab.training.run")
