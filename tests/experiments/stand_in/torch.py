"""Stands for PyTorch in jobs that compute nothing: it takes more than a second to import."""

threads = 1


def set_num_threads(count: int) -> None:
    global threads
    threads = count


def get_num_threads() -> int:
    return threads
