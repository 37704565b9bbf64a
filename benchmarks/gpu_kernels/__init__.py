"""What `bench_gpu_kernels.py` measures, a family of kernels each file."""
