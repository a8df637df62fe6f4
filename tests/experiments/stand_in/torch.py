"""A stand-in for PyTorch, which takes over a second to import, in jobs that compute nothing."""

threads = 1


def set_num_threads(count: int) -> None:
    global threads
    threads = count


def get_num_threads() -> int:
    return threads
