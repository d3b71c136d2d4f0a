"""The smallest cached task: the second call is answered from the cache."""

import time

from motools import cached_task


@cached_task
def slow_square(number: int) -> int:
    time.sleep(1)
    return number * number


if __name__ == "__main__":
    for _ in range(2):
        started = time.monotonic()
        print(f"{slow_square(7)} after {time.monotonic() - started:.2f} s")
