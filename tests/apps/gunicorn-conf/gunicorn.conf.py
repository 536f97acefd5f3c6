import multiprocessing

bind = "0.0.0.0:8080"
workers = min(2, multiprocessing.cpu_count())
accesslog = "-"
worker_tmp_dir = "/dev/shm"
